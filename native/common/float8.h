// float8.h: numbers of 8 bits (Micikevicius et al. 2022, "FP8 formats for deep learning"): a sign, 4 or 5 bits of
// exponent, 3 or 2 of mantissa. Always inlined: the CPU's kernels are compiled once for each instruction set.
#pragma once

#include <sinter/sinter.h>

#include <cstring>

#include "common/both.h"

namespace sn {

struct Float8 {
  int mantissa, bias;  // bits; what is added to the exponent
  float largest;

  [[gnu::always_inline]] SN_BOTH static Float8 of(sn_float8 type) {
    return type == SN_E4M3 ? Float8{3, 7, 448.0f} : Float8{2, 15, 57344.0f};
  }

  // To nearest even; what is larger becomes the largest, NaN stays NaN.
  [[gnu::always_inline]] SN_BOTH uint8_t encode(float x) const {
    uint32_t bits = bitsOf(x), sign = bits >> 24 & 0x80u;
    if (x != x) return static_cast<uint8_t>(sign | 0x7fu);
    float size = x < 0 ? -x : x;
    if (size > largest) size = largest;
    uint32_t code;
    if (size < floatOf(static_cast<uint32_t>(128 - bias) << 23)) {
      // The sum's unit in the last place is that of denormal numbers: adding rounds.
      code = bitsOf(size * floatOf(static_cast<uint32_t>(126 + bias + mantissa) << 23) + 8388608.0f) & 0xffu;
    } else {
      int dropped = 23 - mantissa;
      bits = bitsOf(size);
      bits += (1u << (dropped - 1)) - 1 + (bits >> dropped & 1u);
      code = (bits >> dropped) - (static_cast<uint32_t>(127 - bias) << mantissa);
    }
    return static_cast<uint8_t>(sign | code);
  }

  [[gnu::always_inline]] SN_BOTH float decode(uint8_t code) const {
    uint32_t size = code & 0x7fu, exponent = size >> mantissa, sign = static_cast<uint32_t>(code & 0x80u) << 24;
    bool special = bias == 7 ? size == 0x7fu : exponent == 31;
    uint32_t bits;
    if (special) {
      bits = bias == 15 && size == 0x7cu ? 0x7f800000u : 0x7fc00000u;
    } else if (exponent == 0) {
      bits = bitsOf(static_cast<float>(size) * floatOf(static_cast<uint32_t>(128 - bias - mantissa) << 23));
    } else {
      bits = (size << (23 - mantissa)) + (static_cast<uint32_t>(127 - bias) << 23);
    }
    return floatOf(sign | bits);
  }

  // What a tensor's numbers are divided by so that its largest becomes the type's; never so small that it is denormal.
  [[gnu::always_inline]] SN_BOTH float scaleOf(float most) const {
    constexpr float kLeast = 1.17549435e-38f;
    if (most == 0) return 1;
    float scale = most / largest;
    return scale < kLeast ? kLeast : scale;
  }

 private:
  [[gnu::always_inline]] SN_BOTH static uint32_t bitsOf(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
  }
  [[gnu::always_inline]] SN_BOTH static float floatOf(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
  }
};

}  // namespace sn
