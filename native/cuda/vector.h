// vector.h: a few neighbouring elements at a time, in 16-byte accesses where the address allows it.
#pragma once

#include "cuda/math.h"

namespace sn::cuda {

// 16 bytes of elements.
template <typename T>
struct alignas(16) Vector {
  static constexpr int kCount = 16 / static_cast<int>(sizeof(T));

  T element[kCount];
};

template <typename T>
__host__ __device__ __forceinline__ bool isAligned(const T *p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Vector<T>) == 0;
}

// Eight elements, of which the first `count` exist; the others are `rest`.
template <typename T>
__device__ __forceinline__ void loadEight(const T *p, int count, float (&x)[8], float rest = 0.0f) {
  constexpr int kCount = Vector<T>::kCount;
  if (count >= 8 && isAligned(p)) {
#pragma unroll
    for (int i = 0; i < 8; i += kCount) {
      auto vector = *reinterpret_cast<const Vector<T> *>(p + i);
#pragma unroll
      for (int j = 0; j < kCount; ++j) x[i + j] = toFloat(vector.element[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = i < count ? toFloat(p[i]) : rest;
  }
}

template <typename T>
__device__ __forceinline__ void storeEight(T *p, int count, const float (&x)[8]) {
  constexpr int kCount = Vector<T>::kCount;
  if (count >= 8 && isAligned(p)) {
#pragma unroll
    for (int i = 0; i < 8; i += kCount) {
      Vector<T> vector;
#pragma unroll
      for (int j = 0; j < kCount; ++j) vector.element[j] = fromFloat<T>(x[i + j]);
      *reinterpret_cast<Vector<T> *>(p + i) = vector;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < count) p[i] = fromFloat<T>(x[i]);
    }
  }
}

// The uniform numbers of elements first .. first + 8 of a random tensor; `first` is a multiple of 4.
__device__ __forceinline__ void uniformEight(const sn_random_key &key, int64_t first, float (&x)[8]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    Philox random = Philox::of(key, first / 4 + half);
#pragma unroll
    for (int j = 0; j < 4; ++j) x[4 * half + j] = uniform(random.word[j]);
  }
}

// What one block of forEights works on.
constexpr int kEightThreads = 256;
constexpr int64_t kEightElements = 8 * kEightThreads;

// f(first, count) for eights of elements, `count` of which exist, one a thread.
template <typename F>
__global__ void __launch_bounds__(kEightThreads) forEights(int64_t count, F f) {
  int64_t first = 8 * (static_cast<int64_t>(blockIdx.x) * kEightThreads + threadIdx.x);
  if (first < count) f(first, static_cast<int>(count - first < 8 ? count - first : 8));
}

// Launches it.
template <typename F>
cudaError_t launchEights(cudaStream_t stream, int64_t count, const F &f) {
  auto blocks = static_cast<unsigned>((count + kEightElements - 1) / kEightElements);
  return launch(forEights<F>, dim3(blocks), dim3(kEightThreads), 0, stream, count, f);
}

}  // namespace sn::cuda
