#include "attention.h"

using namespace sn::testing;

namespace {

void checkBackward(const sn_attention_shape &shape) {
  auto dtype = shape.dtype;
  AttentionLayout at{shape};
  Tensor q(dtype, Numbers(1).normal(at.qSize())), k(dtype, Numbers(2).normal(at.kSize()));
  Tensor v(dtype, Numbers(3).normal(at.vSize())), dout(dtype, Numbers(4).normal(at.outSize()));
  auto forward = attentionForward(at, q, k, v);
  Tensor out(dtype, forward.out), lse(SN_F32, forward.lse);
  // On tensor cores it should be exact but for the rounding of `out`, and near to what has all of their roundings.
  bool onTensorCores = cudaDevice() != nullptr && dtype == SN_BF16;
  auto expected = attentionBackward<Tensor>(at, q, k, v, dout, onTensorCores ? &out : nullptr);
  auto rounded = onTensorCores ? attentionBackward<Tensor>(at, q, k, v, dout, &out, toBf16) : AttentionGradient{};
  CAPTURE(shape.queries);
  CAPTURE(shape.keys);
  CAPTURE(shape.head_size);
  everywhere([&](Machine &on) {
    int64_t bytes = 0;
    REQUIRE(sn_attention_backward_workspace(on.device, &shape, &bytes) == SN_OK);
    Tensor workspace(SN_F32, bytes / 4);
    Tensor dq(dtype, at.qSize()), dk(dtype, at.kSize()), dv(dtype, at.vSize());
    REQUIRE(sn_attention_backward(on.stream, &shape, q, k, v, out, lse.floats(), dout, dq, dk, dv, workspace) == SN_OK);
    if (onTensorCores) {
      checkRounded(dq, expected.dq, expected.dqSize, rounded.dq);
      checkRounded(dk, expected.dk, expected.dkSize, rounded.dk);
      checkRounded(dv, expected.dv, expected.dvSize, rounded.dv);
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

// Shapes of several blocks of keys and tiles of rows, which the kernels of sm_90a deal to several thread blocks or
// leave to one. The emulated GPU has four multiprocessors.
std::vector<sn_attention_shape> dividedShapes() {
  constexpr AttentionCase kCases[] = {
      // One element, and less than a tile.
      {1, 1, 1, 1, 1, 64},
      {2, 7, 7, 3, 3, 128},
      {1, 1, 300, 1, 1, 64},
      {1, 300, 3, 1, 1, 128},
      {1, 200, 140, 1, 1, 40, 0},
      // A thread block a head, one a block of keys, and something between them.
      {1, 300, 300, 4, 4, 64},
      {1, 300, 300, 1, 1, 128},
      {1, 260, 390, 2, 2, 64, 0},
      {1, 129, 520, 2, 1, 128, 0},
      {1, 385, 385, 2, 2, 72},
      {2, 140, 270, 6, 2, 64},
      // Rows that see nothing; windows with tiles that a thread block passes over.
      {1, 300, 140, 1, 1, 64},
      {1, 390, 390, 1, 1, 128, 1, 60},
      {1, 520, 520, 2, 2, 64, 1, 20},
      {1, 300, 200, 2, 1, 64, 0, 150},
      // Padding, of whole sequences too, and packed sequences.
      {5, 33, 300, 2, 1, 128, 0, 0, true},
      {4, 200, 300, 1, 1, 64, 0, 0, true},
      {3, 257, 257, 2, 2, 64, 1, 0, false, true},
      {3, 260, 260, 1, 1, 128, 1, 0, false, true},
      {3, 200, 333, 1, 1, 64, 1, 90, false, true},
  };
  std::vector<sn_attention_shape> shapes;
  for (const auto &c : kCases) {
    auto s = attentionShape(c, SN_BF16);
    // Queries, keys and values are columns of one matrix.
    s.q_stride = s.k_stride = s.v_stride = (c.heads + 2 * c.kvHeads) * c.headSize;
    shapes.push_back(s);
  }
  return shapes;
}

}  // namespace

TEST_CASE("attention backward: dq, dk, dv equal the double-precision reference, and nothing else is written") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (const auto &shape : attentionShapes(dtype)) checkBackward(shape);
  }
}

TEST_CASE("attention backward: the same where many tiles are divided among thread blocks") {
  for (const auto &shape : dividedShapes()) checkBackward(shape);
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
