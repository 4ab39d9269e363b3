#include "common/philox.h"
#include "testing.h"

using namespace sn::testing;

namespace {

// Parameters, moments and their double-precision twins (PyTorch's AdamW: decay first, then the step).
struct Reference {
  std::vector<double> p, m, v;

  void update(const sn_adamw_step &s, const Tensor &gradient, double norm, const Bytes *decays) {
    double beta1 = s.beta1, beta2 = s.beta2, rate = s.learning_rate;
    double clip = s.clip != 0 && norm > s.clip ? s.clip / norm : 1;
    for (size_t i = 0; i < p.size(); ++i) {
      double g = gradient[i] * clip;
      if (decays != nullptr && (*decays)[i / 256]) p[i] *= 1 - rate * s.weight_decay;
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      double first = m[i] / (1 - std::pow(beta1, s.step)), second = v[i] / (1 - std::pow(beta2, s.step));
      p[i] -= rate * first / (std::sqrt(second) + s.epsilon);
    }
  }
};

sn_adamw_step stepOf(int64_t number, float clip) {
  return {1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, clip, number, 99, nullptr, nullptr, nullptr};
}

std::vector<double> zeros(int64_t count) { return std::vector<double>(static_cast<size_t>(count)); }

}  // namespace

TEST_CASE("AdamW: ten steps with decay, masks and clipping follow the double-precision reference") {
  everywhere([](Machine &on) {
    for (int64_t count : {1, 17, 255, 256, 257, 1000, 40003}) {
      for (float clip : {0.0f, 1.0f, 1e6f}) {
        for (bool masked : {false, true}) {
          CAPTURE(count);
          CAPTURE(clip);
          Tensor master(SN_F32, Numbers(1).normal(count)), m(SN_F32, zeros(count)), v(SN_F32, zeros(count));
          Bytes decays(static_cast<size_t>((count + 255) / 256));
          for (size_t i = 0; i < decays.size(); ++i) decays[i] = i % 3 != 1;
          Reference reference{master.values(), m.values(), v.values()};
          for (int64_t number = 1; number <= 10; ++number) {
            auto step = stepOf(number, clip);
            Tensor gradient(SN_F32, Numbers(static_cast<uint32_t>(number)).normal(count, 0.1)), norm(SN_F32, 1);
            auto workspace = reduceWorkspace(on.device, count);
            REQUIRE(sn_global_norm(on.stream, count, gradient.floats(), norm.floats(), workspace.data()) == SN_OK);
            reference.update(step, gradient, norm[0], masked ? &decays : nullptr);
            REQUIRE(sn_adamw(on.stream, &step, count, gradient.floats(), norm.floats(),
                             masked ? decays.data() : nullptr, master.floats(), m.floats(), v.floats(), 0,
                             nullptr) == SN_OK);
          }
          checkClose(m, reference.m, 1e-5, 1e-8);
          checkClose(v, reference.v, 1e-5, 1e-12);
          checkClose(master, reference.p, 1e-5, 1e-5);
          on.same(master);
          on.same(m);
          on.same(v);
        }
      }
    }
  });
}

TEST_CASE("AdamW: step and learning rate may lie on the device") {
  everywhere([](Machine &on) {
    int64_t count = 700;
    for (int64_t number : {1, 2, 10, 1000, 1000000}) {
      CAPTURE(number);
      auto update = [&](const sn_adamw_step &step) {
        Tensor master(SN_F32, Numbers(1).normal(count)), m(SN_F32, Numbers(2).normal(count, 0.1));
        Tensor v(SN_F32, std::vector<double>(static_cast<size_t>(count), 0.02)),
            gradient(SN_F32, Numbers(3).normal(count));
        Tensor copy(SN_BF16, count), norm(SN_F32, std::vector{2.0});
        Bytes decays{1, 0, 1};
        REQUIRE(sn_adamw(on.stream, &step, count, gradient.floats(), norm.floats(), decays.data(), master.floats(),
                         m.floats(), v.floats(), 1, copy) == SN_OK);
        return std::vector{master.bytes(), m.bytes(), v.bytes(), copy.bytes()};
      };
      auto given = stepOf(number, 1.0f);
      Bytes clock(sizeof(int64_t));
      int64_t behind = number - 7;
      std::memcpy(clock.data(), &behind, sizeof behind);
      Tensor rate(SN_F32, std::vector{0.5});
      auto read = stepOf(7, 1.0f);
      read.learning_rate = 2 * given.learning_rate;
      read.clock = reinterpret_cast<const int64_t *>(clock.data());
      read.rate = rate.floats();
      CHECK(update(read) == update(given));
    }
  });
}

TEST_CASE("AdamW: a late step has the bias of its moments, in all digits") {
  everywhere([](Machine &on) {
    for (int64_t number : {1, 3, 30, 300, 100000}) {
      auto step = stepOf(number, 0);
      Tensor master(SN_F32, std::vector{1.0}), m(SN_F32, std::vector{0.0}), v(SN_F32, std::vector{0.0});
      Tensor gradient(SN_F32, std::vector{0.25});
      Reference reference{master.values(), m.values(), v.values()};
      reference.update(step, gradient, 0, nullptr);
      REQUIRE(sn_adamw(on.stream, &step, 1, gradient.floats(), nullptr, nullptr, master.floats(), m.floats(),
                       v.floats(), 0, nullptr) == SN_OK);
      // Of the change, not of the weight.
      CHECK(1 - master[0] == doctest::Approx(1 - reference.p[0]).epsilon(2e-5));
    }
  });
}

TEST_CASE("AdamW: a loss that is not finite leaves everything as it was") {
  everywhere([](Machine &on) {
    for (double value : {static_cast<double>(NAN), static_cast<double>(-INFINITY), 3.0}) {
      CAPTURE(value);
      Tensor master(SN_F32, Numbers(1).normal(300)), m(SN_F32, zeros(300)), v(SN_F32, zeros(300));
      Tensor gradient(SN_F32, Numbers(3).normal(300)), loss(SN_F32, std::vector{value});
      auto before = master.bytes();
      auto step = stepOf(1, 0);
      step.loss = loss.floats();
      REQUIRE(sn_adamw(on.stream, &step, 300, gradient.floats(), nullptr, nullptr, master.floats(), m.floats(),
                       v.floats(), 0, nullptr) == SN_OK);
      CHECK((master.bytes() == before) == !std::isfinite(value));
    }
  });
}

TEST_CASE("AdamW: a norm that is not finite leaves everything as it was, whether or not it clips") {
  everywhere([](Machine &on) {
    for (auto [bad, clip] : {std::pair{static_cast<double>(NAN), 1.0f},
                             {static_cast<double>(INFINITY), 1.0f},
                             {static_cast<double>(NAN), 0.0f}}) {
      Tensor master(SN_F32, Numbers(1).normal(300)), m(SN_F32, Numbers(2).normal(300)), v(SN_F32, zeros(300));
      Tensor gradient(SN_F32, Numbers(3).normal(300)), copy(SN_BF16, Numbers(4).normal(300));
      Tensor norm(SN_F32, std::vector{bad});
      auto all = [&] { return std::vector{master.bytes(), m.bytes(), v.bytes(), copy.bytes()}; };
      auto before = all();
      auto step = stepOf(1, clip);
      REQUIRE(sn_adamw(on.stream, &step, 300, gradient.floats(), norm.floats(), nullptr, master.floats(), m.floats(),
                       v.floats(), 1, copy) == SN_OK);
      CHECK(all() == before);
    }
  });
}

TEST_CASE("AdamW: the bf16 copy is the master to nearest even") {
  everywhere([](Machine &on) {
    for (int64_t count : {5, 300, 20001}) {
      Tensor master(SN_F32, Numbers(1).normal(count)), m(SN_F32, zeros(count)), v(SN_F32, zeros(count));
      Tensor gradient(SN_F32, Numbers(3).normal(count)), copy(SN_BF16, count);
      auto step = stepOf(1, 0);
      REQUIRE(sn_adamw(on.stream, &step, count, gradient.floats(), nullptr, nullptr, master.floats(), m.floats(),
                       v.floats(), 0, copy) == SN_OK);
      CHECK(copy.bytes() == Tensor(SN_BF16, master.values()).bytes());
    }
  });
}

TEST_CASE("AdamW: stochastic rounding takes a neighbour in bf16, by Philox, and is right on average") {
  everywhere([](Machine &on) {
    int64_t count = 40003;
    Tensor master(SN_F32, Numbers(1).normal(count)), m(SN_F32, zeros(count)), v(SN_F32, zeros(count));
    Tensor gradient(SN_F32, Numbers(3).normal(count)), copy(SN_BF16, count);
    auto step = stepOf(1, 0);
    REQUIRE(sn_adamw(on.stream, &step, count, gradient.floats(), nullptr, nullptr, master.floats(), m.floats(),
                     v.floats(), 1, copy) == SN_OK);
    double bias = 0;
    int64_t wrong = 0;
    for (size_t i = 0; i < master.size(); ++i) {
      auto value = static_cast<float>(master[i]);
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      uint32_t random = sn::Philox::of({99, 1, 0, nullptr}, static_cast<int64_t>(i / 4)).word[i % 4];
      bits = (bits + (random & 0xffffu)) & 0xffff0000u;
      float expected;
      std::memcpy(&expected, &bits, sizeof expected);
      wrong += copy[i] != static_cast<double>(expected);
      bias += (copy[i] - master[i]) / std::abs(master[i]);
    }
    CHECK(wrong == 0);
    CHECK(std::abs(bias / static_cast<double>(count)) < 5 * 0x1p-8 / std::sqrt(static_cast<double>(count)));
    on.same(copy);
  });
}
