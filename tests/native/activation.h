// activation.h: sn_activation as its formulas have it, in double, in forms that cancel nowhere.
#pragma once

#include "testing.h"

namespace sn::testing {

constexpr sn_activation kActivations[] = {SN_GELU_TANH, SN_GELU, SN_RELU, SN_TANH};

inline double tanhArgument(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

inline double activationValue(sn_activation activation, double x) {
  switch (activation) {
    case SN_GELU_TANH:
      return x / (1 + std::exp(-2 * tanhArgument(x)));
    case SN_GELU:
      return 0.5 * x * std::erfc(-x / std::sqrt(2));
    case SN_RELU:
      return x > 0 ? x : 0;
    case SN_TANH:
      return std::tanh(x);
  }
  return NAN;
}

inline double activationSlope(sn_activation activation, double x) {
  double t;
  switch (activation) {
    case SN_GELU_TANH:
      t = std::tanh(tanhArgument(x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
    case SN_GELU:
      return 0.5 * std::erfc(-x / std::sqrt(2)) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
    case SN_RELU:
      return x > 0 ? 1 : 0;
    case SN_TANH:
      return 1 / (std::cosh(x) * std::cosh(x));
  }
  return NAN;
}

}  // namespace sn::testing
