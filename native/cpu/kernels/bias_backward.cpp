// bias_backward.cpp: the gradient of a bias is the sum of the rows. Each part owns a strip of columns, so that the rows
// are always added in the same order: in groups of eight, then the groups.
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kGroup = 8;
constexpr int64_t kStrip = 8 * kLanes;

// The sum of column `column` .. `column + count` over rows `row` .. `row + kGroup`, or up to the last row.
template <typename T>
Vec sumOfGroup(const T *dout, int64_t row, int64_t rows, int64_t columns, int64_t column, int64_t count) {
  const T *first = dout + row * columns + column;
  Vec total = loadUpTo(first, count);
  int64_t last = rows - row < kGroup ? rows - row : kGroup;
  for (int64_t i = 1; i < last; ++i) total += loadUpTo(first + i * columns, count);
  return total;
}

}  // namespace

sn_status bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, const void *dout,
                        int32_t accumulate, float *dbias) {
  int64_t strips = (columns + kStrip - 1) / kStrip;
  int64_t stripsPerPart = kGrain / (rows * kStrip) + 1;
  withType(dtype, [&](auto t) {
    auto *source = static_cast<const decltype(t) *>(dout);
    parallelRange(poolOf(stream), strips, stripsPerPart, [&](int64_t begin, int64_t end) {
      for (int64_t strip = begin; strip < end; ++strip) {
        int64_t first = strip * kStrip, width = columns - first < kStrip ? columns - first : kStrip;
        float sums[kStrip] = {};
        for (int64_t row = 0; row < rows; row += kGroup) {
          forVectors(width, [&](int64_t j, int64_t n) {
            store(sums + j, load(sums + j) + sumOfGroup(source, row, rows, columns, first + j, n));
          });
        }
        forVectors(width, [&](int64_t j, int64_t n) {
          float *out = dbias + first + j;
          storeUpTo(out, accumulate ? loadUpTo(out, n) + load(sums + j) : load(sums + j), n);
        });
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
