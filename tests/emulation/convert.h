// convert.h: conversions and the fast exponential.
#pragma once

#include <cmath>
#include <limits>

#include "emulation/arithmetic.h"
#include "emulation/bfloat16.h"
#include "emulation/matrix.h"

namespace sn::emulation {

inline uint32_t packBf16(float low, float high) { return pack(__nv_bfloat16(low).__x, __nv_bfloat16(high).__x); }

inline uint32_t roundToTf32(float value) {
  uint32_t bits = __float_as_uint(value);
  if (std::isnan(value)) return 0x7fffffffu;
  if (std::isinf(value)) return bits;
  return (bits + 0x1000u) & 0xffffe000u;
}

inline float fastExp2(float x) {
  float power = std::exp2(x);
  return power < std::numeric_limits<float>::min() ? 0.0f : power;
}

}  // namespace sn::emulation
