// gemv.h: products with few rows of a, as in decoding: b is read once, at the speed of memory, and never packed.
#pragma once

#include "cpu/device.h"
#include "cpu/kernels/gemm.h"

namespace sn::cpu::SN_ISA {

constexpr int64_t kFewRows = 8;

inline bool fewRows(const sn_gemm_shape &s) { return s.m <= kFewRows && !s.transpose_a && s.batch == 1; }

// How many rows of b one part takes where b is [k, n]: sixteen parts, so that any number of threads finds work and the
// order of the sums is given by the shape.
inline int64_t fewRowsDepth(const sn_gemm_shape &s) { return ((s.k + 15) / 16 + 7) / 8 * 8; }

inline int64_t fewRowsWorkspace(const sn_gemm_shape &s) {
  int64_t parts = (s.k + fewRowsDepth(s) - 1) / fewRowsDepth(s);
  return s.transpose_b ? 0 : parts * s.m * s.n * static_cast<int64_t>(sizeof(float));
}

// Both orders of b are read as memory has them, few streams at a time: that is what the prefetchers can follow, and
// what they cannot (the next page) is asked for in time.
template <typename T>
inline void prefetch(const T *p) {
  __builtin_prefetch(reinterpret_cast<const char *>(p) + 2048);
}

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
      for (int k = 0; k < Depth; ++k) {
        prefetch(b + k * bStride + j);
        sum = fma(broadcast(factors[k]), loadUpTo(b + k * bStride + j, n), sum);
      }
      storeUpTo(out + j, sum, n);
    });
  }
}

// total[j] = a times row j of b, lane by lane, for `Rows` rows.
template <int Rows, typename T>
inline void multiplyLanes(const T *a, const T *b, int64_t bStride, int64_t depth, Vec *total) {
  Vec even[Rows] = {}, odd[Rows] = {};
  int64_t k = 0;
  for (; k + 2 * kLanes <= depth; k += 2 * kLanes) {
    Vec first = load(a + k), second = load(a + k + kLanes);
#pragma GCC unroll 4
    for (int j = 0; j < Rows; ++j) {
      const T *row = b + j * bStride + k;
      prefetch(row);
      prefetch(row + kLanes);
      even[j] = fma(first, load(row), even[j]);
      odd[j] = fma(second, load(row + kLanes), odd[j]);
    }
  }
  forVectors(depth - k, [&](int64_t rest, int64_t n) {
    Vec left = loadUpTo(a + k + rest, n);
    for (int j = 0; j < Rows; ++j) even[j] = fma(left, loadUpTo(b + j * bStride + k + rest, n), even[j]);
  });
  for (int j = 0; j < Rows; ++j) total[j] = even[j] + odd[j];
}

// c = a b with b [k, n]: each part takes rows of b, whole and in order, and the parts' sums are added in their order.
template <typename T, typename C>
void multiplyDown(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux,
                  float *partial) {
  constexpr int kDepth = 8;
  int64_t rowsPerPart = fewRowsDepth(s), parts = (s.k + rowsPerPart - 1) / rowsPerPart;
  int64_t strip = 4096 / s.m;  // of columns: what the first cache holds of the sums
  parallel(poolOf(stream), parts, [&](int64_t part, int32_t) {
    float *sums = partial + part * s.m * s.n;
    std::memset(static_cast<void *>(sums), 0, static_cast<size_t>(s.m * s.n) * sizeof(float));
    int64_t end = (part + 1) * rowsPerPart < s.k ? (part + 1) * rowsPerPart : s.k;
    for (int64_t j = 0; j < s.n; j += strip) {
      int64_t count = s.n - j < strip ? s.n - j : strip, k = part * rowsPerPart;
      for (; k + kDepth <= end; k += kDepth) {
        addRows<kDepth>(a + k, s.a_stride, b + k * s.b_stride + j, s.b_stride, s.m, count, sums + j, s.n);
      }
      for (; k < end; ++k) {
        addRows<1>(a + k, s.a_stride, b + k * s.b_stride + j, s.b_stride, s.m, count, sums + j, s.n);
      }
    }
  });
  parallelRange(poolOf(stream), s.n, 512, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < s.m; ++i) {
      float *sums = partial + i * s.n + begin;
      forVectors(end - begin, [&](int64_t j, int64_t n) {
        Vec total = loadUpTo(sums + j, n);
        for (int64_t part = 1; part < parts; ++part) total += loadUpTo(sums + part * s.m * s.n + j, n);
        storeUpTo(sums + j, total, n);
      });
      int64_t at = i * s.c_stride + begin;
      finishBlock(s, sums, 0, 1, end - begin, c + at, bias == nullptr ? nullptr : bias + begin,
                  aux == nullptr ? nullptr : aux + at);
    }
  });
}

// c = a b^T with b [n, k]: dot products with rows of b, four at a time.
template <typename T, typename C>
void multiplyAcross(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux) {
  constexpr int64_t kColumns = 256;
  constexpr int kTogether = 4;
  parallel(poolOf(stream), (s.n + kColumns - 1) / kColumns, [&](int64_t part, int32_t worker) {
    int64_t first = part * kColumns, count = s.n - first < kColumns ? s.n - first : kColumns;
    auto *sums = static_cast<float *>(deviceOf(stream).scratch(worker));
    const T *rows = b + first * s.b_stride;
    int64_t j = 0;
    for (; j + kTogether <= count; j += kTogether) {
      for (int64_t i = 0; i < s.m; ++i) {
        Vec total[kTogether];
        multiplyLanes<kTogether>(a + i * s.a_stride, rows + j * s.b_stride, s.b_stride, s.k, total);
        for (int row = 0; row < kTogether; ++row) sums[i * kColumns + j + row] = sum(total[row]);
      }
    }
    for (; j < count; ++j) {
      for (int64_t i = 0; i < s.m; ++i) {
        Vec total;
        multiplyLanes<1>(a + i * s.a_stride, rows + j * s.b_stride, s.b_stride, s.k, &total);
        sums[i * kColumns + j] = sum(total);
      }
    }
    for (int64_t i = 0; i < s.m; ++i) {
      int64_t at = i * s.c_stride + first;
      finishBlock(s, sums + i * kColumns, 0, 1, count, c + at, bias == nullptr ? nullptr : bias + first,
                  aux == nullptr ? nullptr : aux + at);
    }
  });
}

template <typename T, typename C>
void multiplyFewRows(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux,
                     void *workspace) {
  if (s.transpose_b) {
    multiplyAcross(stream, s, a, b, c, bias, aux);
  } else {
    multiplyDown(stream, s, a, b, c, bias, aux, static_cast<float *>(workspace));
  }
}

}  // namespace sn::cpu::SN_ISA
