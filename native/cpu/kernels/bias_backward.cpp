// bias_backward.cpp: the gradient of a bias is the sum of the rows.
#include "cpu/kernels/column_sums.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

sn_status bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                        const void *dout, int32_t accumulate, float *dbias) {
  withType(dtype, [&](auto t) {
    auto *source = static_cast<const decltype(t) *>(dout);
    sumColumns(stream, rows, columns, 1.0f, accumulate != 0, dbias,
               [&](int64_t i, int64_t j, int64_t n) { return loadUpTo(source + i * stride + j, n); });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
