// lora.cpp: the low-rank update of each row by an adapter of its own: t = a x, then y += t b.
//
// A row's sums run in an order that its shape alone gives: lanes follow `in`, then are added; of an output the ranks
// follow one another. Work is numbered with rows innermost, so that neighbours with the same adapter find the piece of
// it that the one before them read in the cache.
#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

// Ranks whose sums run side by side: one chain of additions would wait for each.
constexpr int kRanks = 8;
// Outputs that are summed side by side, for the same reason.
constexpr int kVectors = 8;
constexpr int64_t kStrip = kVectors * kLanes;

// t[r] = x . a[r] for `Ranks` ranks.
template <int Ranks, typename T>
void down(int64_t in, const T *x, const T *a, float *t) {
  Vec sums[Ranks] = {};
  forVectors(in, [&](int64_t k, int64_t n) {
    Vec input = loadUpTo(x + k, n);
#pragma GCC unroll 8
    for (int r = 0; r < Ranks; ++r) sums[r] = fma(input, loadUpTo(a + r * in + k, n), sums[r]);
  });
  for (int r = 0; r < Ranks; ++r) t[r] = sum(sums[r]);
}

// y[j] += the sum over r of t[r] b[r, j], for a vector of `count` outputs.
template <typename T>
void upVector(int64_t rank, int64_t out, const float *t, const T *b, T *y, int64_t count) {
  Vec total{};
  for (int64_t r = 0; r < rank; ++r) total = fma(broadcast(t[r]), loadUpTo(b + r * out, count), total);
  storeUpTo(y, loadUpTo(y, count) + total, count);
}

template <typename T>
void up(int64_t rank, int64_t out, const float *t, const T *b, T *y, int64_t count) {
  if (count < kStrip) {
    forVectors(count, [&](int64_t j, int64_t n) { upVector(rank, out, t, b + j, y + j, n); });
    return;
  }
  Vec totals[kVectors] = {};
  for (int64_t r = 0; r < rank; ++r) {
    Vec factor = broadcast(t[r]);
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) totals[j] = fma(factor, load(b + r * out + j * kLanes), totals[j]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kVectors; ++j) store(y + j * kLanes, load(y + j * kLanes) + totals[j]);
}

}  // namespace

sn_status lora_workspace(const sn_device *, const sn_lora_shape *shape, int64_t *bytes) {
  *bytes = shape->rows * shape->rank * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status lora(sn_stream *stream, const sn_lora_shape *shape, const int32_t *which, const void *x, const void *a,
               const void *b, void *y, void *workspace) {
  const auto &s = *shape;
  auto *middle = static_cast<float *>(workspace);
  auto known = [&](int64_t row) { return which[row] >= 0 && which[row] < s.adapters; };
  int64_t blocks = (s.rank + kRanks - 1) / kRanks, strips = (s.out + kStrip - 1) / kStrip;
  withType(s.dtype, [&](auto type) {
    using T = decltype(type);
    auto *inputs = static_cast<const T *>(x), *downs = static_cast<const T *>(a), *ups = static_cast<const T *>(b);
    auto *outputs = static_cast<T *>(y);
    parallelRange(poolOf(stream), blocks * s.rows, kGrain / (kRanks * s.in) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t row = i % s.rows, first = i / s.rows * kRanks;
        if (!known(row)) continue;
        const T *from = inputs + row * s.x_stride, *block = downs + (which[row] * s.rank + first) * s.in;
        float *t = middle + row * s.rank + first;
        if (s.rank - first >= kRanks) {
          down<kRanks>(s.in, from, block, t);
        } else {
          for (int64_t r = 0; r < s.rank - first; ++r) down<1>(s.in, from, block + r * s.in, t + r);
        }
      }
    });
    parallelRange(poolOf(stream), strips * s.rows, kGrain / (kStrip * s.rank) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t row = i % s.rows, first = i / s.rows * kStrip;
        if (!known(row)) continue;
        int64_t count = s.out - first < kStrip ? s.out - first : kStrip;
        up(s.rank, s.out, middle + row * s.rank, ups + which[row] * s.rank * s.out + first,
           outputs + row * s.y_stride + first, count);
      }
    });
  });
  for (int64_t row = 0; row < s.rows; ++row) {
    if (known(row) || which[row] == -1) continue;
    return fail(SN_BAD_ARGUMENT, "lora: adapter %d of row %lld; there are %lld adapters", which[row],
                static_cast<long long>(row), static_cast<long long>(s.adapters));
  }
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
