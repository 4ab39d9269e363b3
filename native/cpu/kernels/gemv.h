// gemv.h: products with few rows of a, as in decoding: b is read once, at the speed of memory, and never packed.
#pragma once

#include "cpu/device.h"
#include "cpu/kernels/gemm.h"

namespace sn::cpu::SN_ISA {

constexpr int64_t kFewRows = 8;

inline bool fewRows(const sn_gemm_shape &s) { return s.m <= kFewRows && !s.transpose_a && s.batch == 1; }

// sums[i][..] += a[i][k .. k + Depth) times that many rows of b, for `count` columns from a row's start.
template <int Depth, typename T>
inline void addRows(const T *a, int64_t aStride, const T *b, int64_t bStride, int64_t rows, int64_t count, float *sums,
                    int64_t sumsStride) {
  for (int64_t i = 0; i < rows; ++i) {
    float factors[Depth];
    for (int k = 0; k < Depth; ++k) factors[k] = toFloat(a[i * aStride + k]);
    float *out = sums + i * sumsStride;
    forVectors(count, [&](int64_t j, int64_t n) {
      Vec sum = loadUpTo(out + j, n);
#pragma GCC unroll 8
      for (int k = 0; k < Depth; ++k) sum = fma(broadcast(factors[k]), loadUpTo(b + k * bStride + j, n), sum);
      storeUpTo(out + j, sum, n);
    });
  }
}

// The dot products of kLanes rows of b with each row of a.
template <typename T>
inline void dotRows(const T *a, int64_t aStride, const T *b, int64_t bStride, int64_t rows, int64_t depth, float *sums,
                    int64_t sumsStride) {
  for (int64_t i = 0; i < rows; ++i) {
    Vec total[kLanes] = {};
    forVectors(depth, [&](int64_t k, int64_t n) {
      Vec left = loadUpTo(a + i * aStride + k, n);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) total[j] = fma(left, loadUpTo(b + j * bStride + k, n), total[j]);
    });
    store(sums + i * sumsStride, sumOfEach(total));
  }
}

// The dot product of one row of b with each row of a, in the same order of additions.
template <typename T>
inline void dotRow(const T *a, int64_t aStride, const T *b, int64_t rows, int64_t depth, float *sums,
                   int64_t sumsStride) {
  for (int64_t i = 0; i < rows; ++i) {
    Vec total{};
    forVectors(depth,
               [&](int64_t k, int64_t n) { total = fma(loadUpTo(a + i * aStride + k, n), loadUpTo(b + k, n), total); });
    sums[i * sumsStride] = sum(total);
  }
}

template <typename T, typename C>
void multiplyFewRows(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux) {
  // Wide enough for long reads from memory, narrow enough that the sums stay in the first cache.
  constexpr int64_t kColumns = 512, kDepth = 8;
  int64_t pieces = (s.n + kColumns - 1) / kColumns;
  auto body = [&](int64_t part, int32_t worker) {
    int64_t j = part * kColumns;
    int64_t count = s.n - j < kColumns ? s.n - j : kColumns;
    auto *sums = static_cast<float *>(deviceOf(stream).scratch(worker));
    if (s.transpose_b) {
      int64_t at = 0;
      for (; at + kLanes <= count; at += kLanes) {
        dotRows(a, s.a_stride, b + (j + at) * s.b_stride, s.b_stride, s.m, s.k, sums + at, kColumns);
      }
      for (; at < count; ++at) {
        dotRow(a, s.a_stride, b + (j + at) * s.b_stride, s.m, s.k, sums + at, kColumns);
      }
    } else {
      std::memset(static_cast<void *>(sums), 0, static_cast<size_t>(s.m * kColumns) * sizeof(float));
      int64_t k = 0;
      for (; k + kDepth <= s.k; k += kDepth) {
        addRows<kDepth>(a + k, s.a_stride, b + k * s.b_stride + j, s.b_stride, s.m, count, sums, kColumns);
      }
      for (; k < s.k; ++k) {
        addRows<1>(a + k, s.a_stride, b + k * s.b_stride + j, s.b_stride, s.m, count, sums, kColumns);
      }
    }
    for (int64_t i = 0; i < s.m; ++i) {
      int64_t at = i * s.c_stride + j;
      finishRow(s, sums + i * kColumns, count, c + at, bias == nullptr ? nullptr : bias + j,
                aux == nullptr ? nullptr : aux + at);
    }
  };
  parallel(poolOf(stream), pieces, body);
}

}  // namespace sn::cpu::SN_ISA
