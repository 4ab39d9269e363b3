// layer_norm.h: a row normalised, scaled and shifted, for those that do more with it than store it.
#pragma once

#include <cmath>

#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

struct RowNumbers {
  float mean, rstd;
};

// `at(j, n)`: the n elements of the row from j on, zeros behind them. gain and bias (null: none) [width].
template <typename T, typename Out, typename F>
inline RowNumbers normalize(int64_t width, float epsilon, const T *gain, const T *bias, F &&at, Out *out) {
  float mean = sumOfVectors(width, at) / static_cast<float>(width);
  float squares = sumOfVectors(width, [&](int64_t j, int64_t n) {
    Vec difference = at(j, n) - mean;
    for (int64_t lane = n; lane < kLanes; ++lane) difference[lane] = 0;
    return difference * difference;
  });
  float rstd = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
  forVectors(width, [&](int64_t j, int64_t n) {
    Vec v = (at(j, n) - mean) * rstd * loadUpTo(gain + j, n);
    if (bias != nullptr) v += loadUpTo(bias + j, n);
    storeUpTo(out + j, v, n);
  });
  return {mean, rstd};
}

}  // namespace sn::cpu::SN_ISA
