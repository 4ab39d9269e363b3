#include "attention.h"

using namespace sn::testing;

TEST_CASE("attention backward: dq, dk, dv equal the double-precision reference, and nothing else is written") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (const auto &shape : attentionShapes(dtype)) {
      AttentionLayout at{shape};
      Tensor q(dtype, Numbers(1).normal(at.qSize())), k(dtype, Numbers(2).normal(at.kSize()));
      Tensor v(dtype, Numbers(3).normal(at.vSize())), dout(dtype, Numbers(4).normal(at.outSize()));
      auto forward = attentionForward(at, q, k, v);
      auto expected = attentionBackward(at, q, k, v, dout);
      Tensor out(dtype, forward.out), lse(SN_F32, forward.lse);
      // What tensor cores should give: exact but for the rounding of `out`, and with all roundings.
      auto given = attentionBackward<Tensor>(at, q, k, v, dout, &out);
      auto rounded = attentionBackward<Tensor>(at, q, k, v, dout, &out, toBf16);
      CAPTURE(shape.queries);
      CAPTURE(shape.keys);
      CAPTURE(shape.head_size);
      everywhere([&](Machine &on) {
        int64_t bytes = 0;
        REQUIRE(sn_attention_backward_workspace(on.device, &shape, &bytes) == SN_OK);
        Tensor workspace(SN_F32, bytes / 4);
        Tensor dq(dtype, at.qSize()), dk(dtype, at.kSize()), dv(dtype, at.vSize());
        REQUIRE(sn_attention_backward(on.stream, &shape, q, k, v, out, lse.floats(), dout, dq, dk, dv, workspace) ==
                SN_OK);
        if (on.isCuda() && dtype == SN_BF16) {
          checkRounded(dq, given.dq, given.dqSize, rounded.dq);
          checkRounded(dk, given.dk, given.dkSize, rounded.dk);
          checkRounded(dv, given.dv, given.dvSize, rounded.dv);
        } else {
          // `out` in bf16 is rounded, and so are the row sums of dout * out.
          double absolute = dtype == SN_F32 ? 3e-5 : 5e-2;
          checkClose(dq, expected.dq, 1e-4, absolute);
          checkClose(dk, expected.dk, 1e-4, absolute);
          checkClose(dv, expected.dv, 1e-4, 3e-5);
        }
        on.same(dq);
        on.same(dk);
        on.same(dv);
      });
    }
  }
}

TEST_CASE("the reference gradient of attention is the slope of its forward pass") {
  for (float dropout : {0.0f, 0.4f}) {
    sn_attention_shape shape{1, 4,      5, 2, 1,       3,       6, 3,       3,
                             6, SN_F32, 1, 3, nullptr, nullptr, 0, dropout, {1, 2, 3, nullptr}};
    AttentionLayout at{shape};
    std::vector<double> inputs[] = {Numbers(1).normal(at.qSize()), Numbers(2).normal(at.kSize()),
                                    Numbers(3).normal(at.vSize())};
    auto dout = Numbers(4).normal(at.outSize());
    auto loss = [&] {
      auto out = attentionForward(at, inputs[0], inputs[1], inputs[2]).out;
      double sum = 0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
      return sum;
    };
    auto gradient = attentionBackward(at, inputs[0], inputs[1], inputs[2], dout);
    const std::vector<double> *gradients[] = {&gradient.dq, &gradient.dk, &gradient.dv};
    for (int which = 0; which < 3; ++which) {
      for (size_t i = 0; i < inputs[which].size(); ++i) {
        double value = inputs[which][i];
        inputs[which][i] = value + 1e-5;
        double up = loss();
        inputs[which][i] = value - 1e-5;
        double down = loss();
        inputs[which][i] = value;
        CHECK((*gradients[which])[i] == doctest::Approx((up - down) / 2e-5).epsilon(1e-6));
      }
    }
  }
}
