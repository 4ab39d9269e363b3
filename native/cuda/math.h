// math.h: what kernels share: numbers of both dtypes, functions of one number, sums over warps and blocks.
#pragma once

#include "common/philox.h"
#include "cuda/cuda.h"

namespace sn::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float toFloat(float x) { return x; }
__device__ __forceinline__ float toFloat(bf16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T fromFloat(float x);

template <>
__device__ __forceinline__ float fromFloat<float>(float x) {
  return x;
}

// To nearest even; NaN stays NaN.
template <>
__device__ __forceinline__ bf16 fromFloat<bf16>(float x) {
  return __float2bfloat16_rn(x);
}

// The sum over a warp, in every lane, always added in the same order.
template <typename T>
__device__ __forceinline__ T warpSum(T x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

__device__ __forceinline__ float warpMaximum(float x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, distance));
  return x;
}

// Sums each of `Count` values over the lanes whose numbers differ in the bits Distance, Distance / 2, ... Least. At
// each bit two lanes share the values that they hold: the lane without it goes on with the first half, the other with
// the second, and a single value goes to both. Returns which of the values x[0] and those after it then are; -1 in a
// lane that has a copy of another's.
template <int Distance, int Least, int Count, int Capacity>
__device__ __forceinline__ int spreadSums(float (&x)[Capacity]) {
  if constexpr (Distance < Least) {
    return 0;
  } else {
    bool second = (threadIdx.x & Distance) != 0;
    if constexpr (Count == 1) {
      x[0] += __shfl_xor_sync(kAllLanes, x[0], Distance);
      int first = spreadSums<Distance / 2, Least, 1>(x);
      return second ? -1 : first;
    } else {
      constexpr int kHalf = Count / 2;
#pragma unroll
      for (int i = 0; i < kHalf; ++i) {
        float kept = second ? x[i + kHalf] : x[i], given = second ? x[i] : x[i + kHalf];
        x[i] = kept + __shfl_xor_sync(kAllLanes, given, Distance);
      }
      int first = spreadSums<Distance / 2, Least, kHalf>(x);
      return first < 0 || !second ? first : first + kHalf;
    }
  }
}

// The sum over a block of whole warps, in every thread, always added in the same order. `scratch`: one number a warp in
// shared memory; it is free again on return.
template <typename T>
__device__ __forceinline__ T blockSum(T x, T *scratch) {
  x = warpSum(x);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  T total = threadIdx.x % kWarp < blockDim.x / kWarp ? scratch[threadIdx.x % kWarp] : T(0);
  __syncthreads();
  return warpSum(total);
}

// The sum over the lanes up to this one.
template <typename T>
__device__ __forceinline__ T warpSumUpTo(T x) {
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    T other = __shfl_up_sync(kAllLanes, x, distance);
    if (static_cast<int>(threadIdx.x) % kWarp >= distance) x += other;
  }
  return x;
}

// The sum over the threads of a block of whole warps that come before this one. `scratch` as above.
template <typename T>
__device__ __forceinline__ T blockSumBefore(T x, T *scratch) {
  int warp = static_cast<int>(threadIdx.x) / kWarp;
  T before = warpSumUpTo(x);
  if (threadIdx.x % kWarp == kWarp - 1) scratch[warp] = before;
  __syncthreads();
  before -= x;
  for (int other = 0; other < warp; ++other) before += scratch[other];
  __syncthreads();
  return before;
}

__device__ __forceinline__ float blockMaximum(float x, float *scratch) {
  x = warpMaximum(x);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  float most = threadIdx.x % kWarp < blockDim.x / kWarp ? scratch[threadIdx.x % kWarp] : -INFINITY;
  __syncthreads();
  return warpMaximum(most);
}

// Calls f(T{}) with the type of `dtype`.
template <typename F>
auto withType(sn_dtype dtype, F &&f) {
  return dtype == SN_F32 ? f(float{}) : f(bf16{});
}

}  // namespace sn::cuda
