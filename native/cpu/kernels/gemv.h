// gemv.h: products with few rows of a, as in decoding: b is read once, at the speed of memory, and never packed.
//
// Both orders of b are read as memory has them. The sum over k of each element has an order of its own that neither the
// number of threads nor the other rows of a change: a sequence gets the same bits alone and in a batch.
#pragma once

#include "cpu/device.h"
#include "cpu/kernels/gemm.h"

namespace sn::cpu::SN_ISA {

constexpr int64_t kFewRows = 8;

inline bool fewRows(const sn_gemm_shape &s) { return s.m <= kFewRows && !s.transpose_a && s.batch == 1; }

// What hardware cannot foresee, the next rows, is asked for in time: one line at a time.
template <typename T>
inline void prefetchLine(const T *p) {
  __builtin_prefetch(reinterpret_cast<const char *>(p));
}

// ---- numbers that a dot product takes at once ----------------------------------------------------------------------

// A step is what one instruction multiplies: `kNumbers` of a and of b along k.
template <typename T>
struct DotStep {
  static constexpr int kNumbers = kLanes;
  using Numbers = Vec;

  static Numbers read(const T *p, int64_t count) { return loadUpTo(p, count); }
  static Vec add(Numbers a, Numbers b, Vec sum) { return fma(a, b, sum); }
};

#if defined(__AVX512BF16__)
template <>
struct DotStep<bf16> {
  static constexpr int kNumbers = 2 * kLanes;
  using Numbers = __m512bh;

  static Numbers read(const bf16 *p, int64_t count) {
    Numbers numbers{};
    if (count >= kNumbers) {
      std::memcpy(&numbers, p, sizeof numbers);
    } else {
      std::memcpy(&numbers, p, static_cast<size_t>(count) * sizeof(bf16));
    }
    return numbers;
  }
  static Vec add(Numbers a, Numbers b, Vec sum) { return _mm512_dpbf16_ps(sum, a, b); }
};
#endif

// sums[i * sumsStride + j * gap] = row i of a times row j * gap of b, for `Rows` rows of a and `Columns` of b, all of
// `depth`. The rows are `gap` apart so that memory is read in several places at once; those behind them are asked for.
template <int Rows, int Columns, typename T>
inline void multiplyDots(const T *a, int64_t aStride, const T *b, int64_t bStride, int64_t gap, int64_t depth,
                         float *sums, int64_t sumsStride) {
  using Step = DotStep<T>;
  constexpr int kNumbers = Step::kNumbers;
  constexpr int kSums = 2;  // side by side: one chain of additions would wait for itself
  Vec total[kSums][Rows][Columns] = {};
  auto step = [&](int64_t k, int64_t count, Vec(&into)[Rows][Columns]) {
    typename Step::Numbers left[Rows];
#pragma GCC unroll 2
    for (int i = 0; i < Rows; ++i) left[i] = Step::read(a + i * aStride + k, count);
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) {
      const T *row = b + j * gap * bStride + k;
      prefetchLine(row + bStride);
      auto right = Step::read(row, count);
#pragma GCC unroll 2
      for (int i = 0; i < Rows; ++i) into[i][j] = Step::add(left[i], right, into[i][j]);
    }
  };
  int64_t k = 0;
  for (; k + kSums * kNumbers <= depth; k += kSums * kNumbers) {
#pragma GCC unroll 2
    for (int part = 0; part < kSums; ++part) step(k + part * kNumbers, kNumbers, total[part]);
  }
  for (; k < depth; k += kNumbers) step(k, depth - k, total[0]);
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Columns; ++j) sums[i * sumsStride + j * gap] = sum(total[0][i][j] + total[1][i][j]);
  }
}

// The same for all rows of a, two at a time.
template <int Columns, typename T>
inline void multiplyAllDots(const sn_gemm_shape &s, const T *a, const T *b, int64_t gap, float *sums,
                            int64_t sumsStride) {
  int64_t i = 0;
  for (; i + 2 <= s.m; i += 2) {
    multiplyDots<2, Columns>(a + i * s.a_stride, s.a_stride, b, s.b_stride, gap, s.k, sums + i * sumsStride,
                             sumsStride);
  }
  if (i < s.m) {
    multiplyDots<1, Columns>(a + i * s.a_stride, s.a_stride, b, s.b_stride, gap, s.k, sums + i * sumsStride,
                             sumsStride);
  }
}

// c = a b^T with b [n, k]: dot products with rows of b, four at a time.
template <typename T, typename C>
void multiplyAcross(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux) {
  constexpr int64_t kColumns = 256;
  constexpr int kTogether = 4;
  parallel(poolOf(stream), (s.n + kColumns - 1) / kColumns, [&](int64_t part, int32_t worker) {
    int64_t first = part * kColumns, count = s.n - first < kColumns ? s.n - first : kColumns;
    int64_t gap = count / kTogether;
    auto *sums = static_cast<float *>(deviceOf(stream).scratch(worker));
    const T *rows = b + first * s.b_stride;
    for (int64_t j = 0; j < gap; ++j) {
      multiplyAllDots<kTogether>(s, a, rows + j * s.b_stride, gap, sums + j, kColumns);
    }
    for (int64_t j = gap * kTogether; j < count; ++j) {
      multiplyAllDots<1>(s, a, rows + j * s.b_stride, 1, sums + j, kColumns);
    }
    for (int64_t i = 0; i < s.m; ++i) {
      int64_t at = i * s.c_stride + first;
      finishBlock(s, sums + i * kColumns, 0, 1, count, c + at, bias == nullptr ? nullptr : bias + first,
                  aux == nullptr ? nullptr : aux + at);
    }
  });
}

// ---- rows of b, whole and in order ---------------------------------------------------------------------------------

constexpr int kDepth = 8;  // rows of b that are read together

// sums[i][..] += a[i][0 .. Depth) times that many rows of b, for `count` columns from the rows' start. The same columns
// of the next rows are asked for.
template <int Rows, int Depth, typename T>
inline void addRows(const T *a, int64_t aStride, const T *b, int64_t bStride, int64_t count, float *sums,
                    int64_t sumsStride) {
  float factors[Rows][Depth];
  for (int i = 0; i < Rows; ++i) {
    for (int k = 0; k < Depth; ++k) factors[i][k] = toFloat(a[i * aStride + k]);
  }
  forVectors(count, [&](int64_t j, int64_t n) {
    Vec total[Rows];
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) total[i] = loadUpTo(sums + i * sumsStride + j, n);
#pragma GCC unroll 8
    for (int k = 0; k < Depth; ++k) {
      const T *row = b + k * bStride + j;
      prefetchLine(row + Depth * bStride);
      Vec right = loadUpTo(row, n);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) total[i] = fma(broadcast(factors[i][k]), right, total[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) storeUpTo(sums + i * sumsStride + j, total[i], n);
  });
}

#if defined(__AVX512BF16__)
// Pairs of neighbours along k, made of two rows: those of the first and of the last kLanes columns of 2 * kLanes.
struct alignas(64) PairOrder {
  uint16_t first[2 * kLanes], last[2 * kLanes];

  constexpr PairOrder() : first{}, last{} {
    for (int i = 0; i < 2 * kLanes; ++i) {
      first[i] = static_cast<uint16_t>(i / 2 + i % 2 * 2 * kLanes);
      last[i] = static_cast<uint16_t>(first[i] + kLanes);
    }
  }
};

constexpr PairOrder kPairOrder;

// The same for whole pairs of vectors of bf16 columns, on the instruction that multiplies pairs. Returns how many
// columns that were.
template <int Rows>
inline int64_t addPairs(const bf16 *a, int64_t aStride, const bf16 *b, int64_t bStride, int64_t count, float *sums,
                        int64_t sumsStride) {
  constexpr int kPairs = kDepth / 2;
  float factors[Rows][kPairs];
  for (int i = 0; i < Rows; ++i) std::memcpy(factors[i], a + i * aStride, sizeof factors[i]);
  __m512i first = _mm512_load_si512(kPairOrder.first), last = _mm512_load_si512(kPairOrder.last);
  int64_t j = 0;
  for (; j + 2 * kLanes <= count; j += 2 * kLanes) {
    Vec total[Rows][2];
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      total[i][0] = load(sums + i * sumsStride + j);
      total[i][1] = load(sums + i * sumsStride + j + kLanes);
    }
#pragma GCC unroll 4
    for (int k = 0; k < kPairs; ++k) {
      const bf16 *row = b + 2 * k * bStride + j;
      prefetchLine(row + kDepth * bStride);
      prefetchLine(row + (kDepth + 1) * bStride);
      __m512i even = _mm512_loadu_si512(row), odd = _mm512_loadu_si512(row + bStride);
      auto left = reinterpret_cast<__m512bh>(_mm512_permutex2var_epi16(even, first, odd));
      auto right = reinterpret_cast<__m512bh>(_mm512_permutex2var_epi16(even, last, odd));
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        auto pair = reinterpret_cast<__m512bh>(broadcast(factors[i][k]));
        total[i][0] = _mm512_dpbf16_ps(total[i][0], pair, left);
        total[i][1] = _mm512_dpbf16_ps(total[i][1], pair, right);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      store(sums + i * sumsStride + j, total[i][0]);
      store(sums + i * sumsStride + j + kLanes, total[i][1]);
    }
  }
  return j;
}
#endif

// sums[Rows][count] = `Rows` rows of a times `count` columns of b from b's start.
template <int Rows, typename T>
void multiplyColumns(const sn_gemm_shape &s, const T *a, const T *b, int64_t count, float *sums) {
  std::memset(static_cast<void *>(sums), 0, static_cast<size_t>(Rows * count) * sizeof(float));
  int64_t k = 0;
  for (; k + kDepth <= s.k; k += kDepth) {
    int64_t done = 0;
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == sizeof(bf16)) {
      done = addPairs<Rows>(a + k, s.a_stride, b + k * s.b_stride, s.b_stride, count, sums, count);
      if (done == count) continue;
    }
#endif
    addRows<Rows, kDepth>(a + k, s.a_stride, b + k * s.b_stride + done, s.b_stride, count - done, sums + done, count);
  }
  for (; k < s.k; ++k) addRows<Rows, 1>(a + k, s.a_stride, b + k * s.b_stride, s.b_stride, count, sums, count);
}

template <typename T>
void multiplyColumns(const sn_gemm_shape &s, int64_t rows, const T *a, const T *b, int64_t count, float *sums) {
  switch (rows) {
    case 1:
      return multiplyColumns<1>(s, a, b, count, sums);
    case 2:
      return multiplyColumns<2>(s, a, b, count, sums);
    case 3:
      return multiplyColumns<3>(s, a, b, count, sums);
    case 4:
      return multiplyColumns<4>(s, a, b, count, sums);
    case 5:
      return multiplyColumns<5>(s, a, b, count, sums);
    case 6:
      return multiplyColumns<6>(s, a, b, count, sums);
    case 7:
      return multiplyColumns<7>(s, a, b, count, sums);
    default:
      return multiplyColumns<8>(s, a, b, count, sums);
  }
}

// c = a b with b [k, n]: each part takes some columns of all rows of b. Two parts a thread: as much of each row at a
// time as can be.
template <typename T, typename C>
void multiplyDown(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux) {
  constexpr int64_t kLeast = 64, kMost = 4096;
  ThreadPool &pool = poolOf(stream);
  int64_t columns = (s.n + 2 * pool.threads() - 1) / (2 * pool.threads());
  columns = (columns + kLeast - 1) / kLeast * kLeast;
  if (columns > kMost / s.m / kLeast * kLeast) columns = kMost / s.m / kLeast * kLeast;
  parallel(pool, (s.n + columns - 1) / columns, [&](int64_t part, int32_t worker) {
    int64_t first = part * columns, count = s.n - first < columns ? s.n - first : columns;
    auto *sums = static_cast<float *>(deviceOf(stream).scratch(worker));
    multiplyColumns(s, s.m, a, b + first, count, sums);
    for (int64_t i = 0; i < s.m; ++i) {
      int64_t at = i * s.c_stride + first;
      finishBlock(s, sums + i * count, 0, 1, count, c + at, bias == nullptr ? nullptr : bias + first,
                  aux == nullptr ? nullptr : aux + at);
    }
  });
}

template <typename T, typename C>
void multiplyFewRows(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux) {
  if (s.transpose_b) {
    multiplyAcross(stream, s, a, b, c, bias, aux);
  } else {
    multiplyDown(stream, s, a, b, c, bias, aux);
  }
}

}  // namespace sn::cpu::SN_ISA
