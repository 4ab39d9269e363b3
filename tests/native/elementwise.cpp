#include "activation.h"
#include "common/philox.h"

using namespace sn::testing;

namespace {

constexpr int64_t kCounts[] = {1, 3, 15, 16, 17, 63, 1000, 40001};
constexpr sn_dtype kDtypes[] = {SN_F32, SN_BF16};

template <typename F>
std::vector<double> each(const Tensor &x, F &&f) {
  auto values = x.values();
  for (auto &value : values) value = f(value);
  return values;
}

// From -12 to 12 in steps that are no round numbers, and what is special.
std::vector<double> manyNumbers() {
  std::vector<double> values{0.0, -0.0, 1e-30, -1e-30, 1e-6, -1e-6, 50, -50, 3e4, -3e4, INFINITY};
  for (int i = 0; i < 30000; ++i) values.push_back(-12 + 24.0 * i / 29999.3);
  return values;
}

}  // namespace

TEST_CASE("cast rounds to nearest even, widens exactly, and keeps NaN and infinities") {
  everywhere([](Machine &on) {
    for (int64_t count : kCounts) {
      auto values = Numbers(1).normal(count);
      values[0] = NAN;
      if (count > 2) values[1] = INFINITY, values[2] = 3.4028234e38;  // the largest float rounds to infinity
      if (count > 9) values[7] = 1 + 0x1p-8, values[8] = 1 + 3 * 0x1p-8, values[9] = -1 - 0x1p-8;  // ties
      Tensor wide(SN_F32, values), narrow(SN_BF16, count), back(SN_F32, count);
      REQUIRE(sn_cast(on.stream, count, SN_F32, wide, SN_BF16, narrow) == SN_OK);
      checkClose(narrow, Tensor(SN_BF16, wide.values()).values(), -0x1p-8, 0);
      REQUIRE(sn_cast(on.stream, count, SN_BF16, narrow, SN_F32, back) == SN_OK);
      checkClose(back, narrow.values(), 0, 0);
      on.same(back);
    }
  });
}

TEST_CASE("add is the sum, also in the place of an operand") {
  everywhere([](Machine &on) {
    for (auto dtype : kDtypes) {
      for (int64_t count : kCounts) {
        Tensor a(dtype, Numbers(1).normal(count)), b(dtype, Numbers(2).normal(count)), out(dtype, count);
        auto expected = a.values();
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += b[i];
        REQUIRE(sn_add(on.stream, dtype, count, a, b, out) == SN_OK);
        checkClose(out, expected, 1e-7, 1e-7);
        REQUIRE(sn_add(on.stream, dtype, count, a, b, b) == SN_OK);
        CHECK(b.bytes() == out.bytes());
        on.same(out);
      }
    }
  });
}

TEST_CASE("activation forward equals the formula in double to 1e-6, far below zero too, also in x's place") {
  everywhere([](Machine &on) {
    for (auto activation : kActivations) {
      CAPTURE(activation);
      for (auto dtype : kDtypes) {
        Tensor x(dtype, manyNumbers());
        auto count = static_cast<int64_t>(x.size());
        Tensor out(dtype, count);
        auto expected = each(x, [&](double value) { return activationValue(activation, value); });
        REQUIRE(sn_activation_forward(on.stream, activation, dtype, count, x, out) == SN_OK);
        checkClose(out, expected, 1e-6, 1e-9);
        REQUIRE(sn_activation_forward(on.stream, activation, dtype, count, x, x) == SN_OK);
        CHECK(x.bytes() == out.bytes());
        on.same(out);
      }
    }
  });
}

TEST_CASE("activation backward is dout times the derivative, also in dout's place") {
  everywhere([](Machine &on) {
    for (auto activation : kActivations) {
      CAPTURE(activation);
      for (auto dtype : kDtypes) {
        auto numbers = manyNumbers();
        numbers[10] = 0;  // the derivative of infinity is of no use
        Tensor x(dtype, numbers);
        auto count = static_cast<int64_t>(x.size());
        Tensor dout(dtype, Numbers(2).normal(count)), dx(dtype, count);
        auto expected = each(x, [&](double value) { return activationSlope(activation, value); });
        for (size_t i = 0; i < expected.size(); ++i) expected[i] *= dout[i];
        REQUIRE(sn_activation_backward(on.stream, activation, dtype, count, x, dout, dx) == SN_OK);
        checkClose(dx, expected, 1e-6, 1e-6);
        REQUIRE(sn_activation_backward(on.stream, activation, dtype, count, x, dout, dout) == SN_OK);
        CHECK(dout.bytes() == dx.bytes());
        on.same(dx);
      }
    }
  });
}

TEST_CASE("an activation keeps NaN") {
  everywhere([](Machine &on) {
    for (auto activation : kActivations) {
      Tensor x(SN_F32, std::vector<double>{NAN, 1}), out(SN_F32, 2);
      REQUIRE(sn_activation_forward(on.stream, activation, SN_F32, 2, x, out) == SN_OK);
      CHECK(std::isnan(out[0]));
    }
  });
}

TEST_CASE("the double activations that the tests use are the papers', and their derivatives are their slopes") {
  for (double x = -6; x < 6; x += 0.37) {
    CHECK(activationValue(SN_GELU_TANH, x) ==
          doctest::Approx(0.5 * x * (1 + std::tanh(tanhArgument(x)))).epsilon(1e-8));
    CHECK(activationValue(SN_GELU, x) == doctest::Approx(0.5 * x * (1 + std::erf(x / std::sqrt(2)))).epsilon(1e-8));
    for (auto activation : kActivations) {
      double h = 1e-5, slope = (activationValue(activation, x + h) - activationValue(activation, x - h)) / (2 * h);
      CHECK(activationSlope(activation, x) == doctest::Approx(slope).epsilon(1e-7));
    }
  }
}

TEST_CASE("dropout keeps or drops by Philox, scales what it keeps, and adds the residual") {
  everywhere([](Machine &on) {
    const sn_random_key key{12345678901, 7, 3, nullptr};
    for (auto dtype : kDtypes) {
      for (int64_t count : kCounts) {
        for (float p : {0.0f, 0.1f, 0.9f}) {
          Tensor x(dtype, Numbers(1).normal(count, 1, 5)), residual(dtype, Numbers(2).normal(count));
          Tensor out(dtype, count), alone(dtype, count);
          std::vector<double> kept(x.size()), sums(x.size());
          for (size_t i = 0; i < x.size(); ++i) {
            auto word = sn::Philox::of(key, static_cast<int64_t>(i / 4)).word[i % 4];
            kept[i] = sn::uniform(word) >= p ? x[i] / (1 - static_cast<double>(p)) : 0;
            sums[i] = residual[i] + kept[i];
          }
          REQUIRE(sn_dropout(on.stream, dtype, count, p, key, x, residual, out) == SN_OK);
          checkClose(out, sums, 1e-6, 1e-6);
          REQUIRE(sn_dropout(on.stream, dtype, count, p, key, x, nullptr, alone) == SN_OK);
          checkClose(alone, kept, 1e-6, 0);
          REQUIRE(sn_dropout(on.stream, dtype, count, p, key, x, residual, x) == SN_OK);
          CHECK(x.bytes() == out.bytes());
          on.same(out);
        }
      }
    }
  });
}

TEST_CASE("dropout drops the share that it was asked to") {
  everywhere([](Machine &on) {
    int64_t count = 100000;
    Tensor x(SN_F32, std::vector<double>(static_cast<size_t>(count), 1.0)), out(SN_F32, count);
    REQUIRE(sn_dropout(on.stream, SN_F32, count, 0.2f, {1, 2, 3, nullptr}, x, nullptr, out) == SN_OK);
    int64_t dropped = 0;
    for (size_t i = 0; i < out.size(); ++i) dropped += out[i] == 0;
    CHECK(std::abs(static_cast<double>(dropped) - 20000) < 5 * std::sqrt(100000 * 0.2 * 0.8));
  });
}

TEST_CASE("random normal numbers are Box and Muller's, have their mean and deviation, and depend on the key alone") {
  everywhere([](Machine &on) {
    for (int64_t count : {1, 2, 3, 5, 17, 40001}) {
      const sn_random_key key{42, 0, 9, nullptr};
      Tensor out(SN_F32, count);
      REQUIRE(sn_random_normal(on.stream, count, 2, 3, key, out.floats()) == SN_OK);
      std::vector<double> expected(out.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        auto words = sn::Philox::of(key, static_cast<int64_t>(i / 4));
        size_t pair = i % 4 / 2 * 2;
        double radius = std::sqrt(-2 * std::log(static_cast<double>(sn::uniform(words.word[pair]))));
        double angle = 2 * M_PI * static_cast<double>(sn::uniform(words.word[pair + 1]));
        expected[i] = 2 + 3 * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
      }
      checkClose(out, expected, 1e-5, 2e-5);
      on.same(out);
    }
  });
}

TEST_CASE("random normal numbers have the moments of a normal distribution") {
  Machine::Record record;
  Machine on("baseline", 1, &record);
  int64_t count = 1 << 20;
  Tensor out(SN_F32, count);
  REQUIRE(sn_random_normal(on.stream, count, 0, 1, {1, 0, 0, nullptr}, out.floats()) == SN_OK);
  double moments[5] = {};
  for (size_t i = 0; i < out.size(); ++i) {
    double power = 1;
    for (double &moment : moments) moment += power, power *= out[i];
  }
  double n = static_cast<double>(count);
  CHECK(std::abs(moments[1] / n) < 5 / std::sqrt(n));
  CHECK(std::abs(moments[2] / n - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::abs(moments[3] / n) < 5 * std::sqrt(15 / n));
  CHECK(std::abs(moments[4] / n - 3) < 5 * std::sqrt(96 / n));
}

TEST_CASE("an activation that is none is refused") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, 1);
    int32_t number = 4;
    sn_activation unknown;
    static_assert(sizeof unknown == sizeof number);
    std::memcpy(&unknown, &number, sizeof unknown);
    CHECK(sn_activation_forward(on.stream, unknown, SN_F32, 1, x, x) == SN_BAD_ARGUMENT);
    CHECK(sn_activation_backward(on.stream, unknown, SN_F32, 1, x, x, x) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "activation_backward: unknown activation 4");
  });
}
