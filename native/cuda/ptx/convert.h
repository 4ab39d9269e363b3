// convert.h: conversions and a fast exponential (PTX ISA, "cvt", "ex2"). sm_80.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

// Two floats to bf16, to nearest even; `low` comes first in memory.
__device__ __forceinline__ uint32_t packBf16(float low, float high) {
#if defined(__CUDACC__)
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return emulation::packBf16(low, high);
#endif
}

// A float with the 10 bits of mantissa that tensor cores read, to nearest, ties away from zero.
__device__ __forceinline__ uint32_t roundToTf32(float value) {
#if defined(__CUDACC__)
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#else
  return emulation::roundToTf32(value);
#endif
}

// 2^x to about 2 units in the last place; denormal results are zero.
__device__ __forceinline__ float fastExp2(float x) {
#if defined(__CUDACC__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
#else
  return emulation::fastExp2(x);
#endif
}

}  // namespace sn::cuda
