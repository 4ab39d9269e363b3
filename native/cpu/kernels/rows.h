// rows.h: loops over the elements of a row, whole vectors first, and over the rows of a tensor, shared out to threads.
#pragma once

#include "cpu/device.h"
#include "cpu/kernels/simd.h"

namespace sn::cpu::SN_ISA {

// f(first, count) for each whole vector of `count` elements and for the rest of them.
template <typename F>
inline void forVectors(int64_t count, F &&f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, int64_t{kLanes});
  if (i < count) f(i, count - i);
}

// The sum of f(first, count), whose lanes from `count` on must be 0. Eight sums run side by side: a chain of additions
// would wait for each, and lose more digits.
template <typename F>
inline float sumOfVectors(int64_t count, F &&f) {
  constexpr int kSums = 8;
  Vec sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= count; i += kSums * kLanes) {
#pragma GCC unroll 8
    for (int j = 0; j < kSums; ++j) sums[j] += f(i + j * kLanes, int64_t{kLanes});
  }
  for (int j = 0; i + kLanes <= count; i += kLanes, ++j) sums[j] += f(i, int64_t{kLanes});
  if (i < count) sums[kSums - 1] += f(i, count - i);
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sum(sums[0]);
}

template <typename T>
inline Vec loadUpTo(const T *p, int64_t count) {
  return count >= kLanes ? load(p) : loadPart(p, count);
}

// The same with something else than zeros behind the elements.
template <typename T>
inline Vec loadUpToOr(const T *p, int64_t count, float rest) {
  return count >= kLanes ? load(p) : loadPart(p, count, rest);
}

template <typename T>
inline void storeUpTo(T *p, Vec v, int64_t count) {
  if (count >= kLanes) {
    store(p, v);
  } else {
    storePart(p, v, count);
  }
}

// The least work, in elements, that is worth another thread.
constexpr int64_t kGrain = 16384;

// How many rows of `width` make up a part.
inline int64_t rowsPerPart(int64_t width) {
  int64_t rows = kGrain / width;
  return rows < 1 ? 1 : rows;
}

// Calls f(T{}) with the type of `dtype`.
template <typename F>
inline void withType(sn_dtype dtype, F &&f) {
  if (dtype == SN_F32) {
    f(float{});
  } else {
    f(bf16{});
  }
}

}  // namespace sn::cpu::SN_ISA
