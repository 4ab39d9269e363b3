// column_sums.h: sums over the rows of a matrix. Each part owns a strip of columns, so that the rows are always added
// in the same order: in groups of eight, then the groups.
#pragma once

#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

// sums[j] = factor * the sum over rows i of element(i, j, count), `count` neighbours from column j on; plus sums[j]
// where accumulate.
template <typename F>
inline void sumColumns(sn_stream *stream, int64_t rows, int64_t columns, float factor, bool accumulate, float *sums,
                       F &&element) {
  constexpr int64_t kGroup = 8;
  constexpr int64_t kStrip = 8 * kLanes;
  int64_t strips = (columns + kStrip - 1) / kStrip;
  int64_t stripsPerPart = kGrain / (rows * kStrip) + 1;
  parallelRange(poolOf(stream), strips, stripsPerPart, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      int64_t first = strip * kStrip, width = columns - first < kStrip ? columns - first : kStrip;
      float totals[kStrip] = {};
      for (int64_t row = 0; row < rows; row += kGroup) {
        int64_t last = rows - row < kGroup ? rows : row + kGroup;
        forVectors(width, [&](int64_t j, int64_t n) {
          Vec group = element(row, first + j, n);
          for (int64_t i = row + 1; i < last; ++i) group += element(i, first + j, n);
          store(totals + j, load(totals + j) + group);
        });
      }
      forVectors(width, [&](int64_t j, int64_t n) {
        float *out = sums + first + j;
        Vec total = factor * load(totals + j);
        storeUpTo(out, accumulate ? loadUpTo(out, n) + total : total, n);
      });
    }
  });
}

}  // namespace sn::cpu::SN_ISA
