// bias_backward.cpp: the gradient of a bias is the sum of the rows. Each thread owns a strip of columns, so that the
// rows are always added in their order.
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

sn_status bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, const void *dout,
                        int32_t accumulate, float *dbias) {
  constexpr int64_t kStrip = 4 * kLanes;
  int64_t strips = (columns + kStrip - 1) / kStrip;
  int64_t stripsPerPart = kGrain / (rows * kStrip) + 1;
  withType(dtype, [&](auto t) {
    auto *source = static_cast<const decltype(t) *>(dout);
    parallelRange(poolOf(stream), strips, stripsPerPart, [&](int64_t begin, int64_t end) {
      for (int64_t strip = begin; strip < end; ++strip) {
        int64_t first = strip * kStrip;
        if (first + kStrip <= columns) {
          Vec sums[4] = {};
          for (int64_t i = 0; i < rows; ++i) {
            for (int j = 0; j < 4; ++j) sums[j] += load(source + i * columns + first + j * kLanes);
          }
          for (int j = 0; j < 4; ++j) {
            float *out = dbias + first + j * kLanes;
            store(out, accumulate ? load(out) + sums[j] : sums[j]);
          }
        } else {
          forVectors(columns - first, [&](int64_t j, int64_t n) {
            Vec total{};
            for (int64_t i = 0; i < rows; ++i) total += loadUpTo(source + i * columns + first + j, n);
            float *out = dbias + first + j;
            storeUpTo(out, accumulate ? loadUpTo(out, n) + total : total, n);
          });
        }
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
