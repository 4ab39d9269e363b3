#include "testing.h"

using namespace sn::testing;

namespace {

double lossOf(sn_error error, double x, double target) {
  if (error == SN_SQUARED_ERROR) return (x - target) * (x - target);
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))) - target * x;
}

double slopeOf(sn_error error, double x, double target) {
  if (error == SN_SQUARED_ERROR) return 2 * (x - target);
  return 1 / (1 + std::exp(-x)) - target;
}

}  // namespace

TEST_CASE("element loss: losses and the gradient in the numbers' place equal the double-precision reference") {
  everywhere([](Machine &on) {
    for (auto error : {SN_SQUARED_ERROR, SN_BINARY_CROSS_ENTROPY}) {
      for (auto dtype : {SN_F32, SN_BF16}) {
        for (int64_t count : {1, 7, 33, 129, 10001}) {
          for (bool weighted : {false, true}) {
            Tensor x(dtype, Numbers(1).normal(count, 8)), weights(SN_F32, Numbers(3).normal(count, 1, 2));
            Tensor targets(SN_F32, count), losses(SN_F32, count);
            auto chance = Numbers(2).below(count, 5);
            for (size_t i = 0; i < targets.size(); ++i) targets.set(i, 0.25 * chance[i]);
            std::vector<double> expected(x.size()), gradient(x.size());
            for (size_t i = 0; i < x.size(); ++i) {
              double weight = weighted ? weights[i] : 1;
              expected[i] = weight * lossOf(error, x[i], targets[i]);
              gradient[i] = 0.5 * weight * slopeOf(error, x[i], targets[i]);
            }
            float *factors = weighted ? weights.floats() : nullptr;
            auto before = x.bytes();
            REQUIRE(sn_element_loss(on.stream, error, dtype, count, x, targets.floats(), factors, 0, losses.floats()) ==
                    SN_OK);
            CHECK(x.bytes() == before);
            checkClose(losses, expected, 1e-6, 3e-6);
            REQUIRE(sn_element_loss(on.stream, error, dtype, count, x, targets.floats(), factors, 0.5f,
                                    losses.floats()) == SN_OK);
            checkClose(losses, expected, 1e-6, 3e-6);
            checkClose(x, gradient, 1e-6, 1e-6);
            on.same(x);
            on.same(losses);
          }
        }
      }
    }
  });
}

TEST_CASE("element loss: large logits overflow nothing, and the right one's loss keeps its digits") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, {1e4, -1e4, -30.0, 30.0, -12.0}), targets(SN_F32, {1, 1, 0, 1, 0}), losses(SN_F32, 5);
    REQUIRE(sn_element_loss(on.stream, SN_BINARY_CROSS_ENTROPY, SN_F32, 5, x, targets.floats(), nullptr, 0,
                            losses.floats()) == SN_OK);
    checkClose(losses, {0, 1e4, std::log1p(std::exp(-30)), std::log1p(std::exp(-30)), std::log1p(std::exp(-12))}, 1e-6,
               0);
  });
}
