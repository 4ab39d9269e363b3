// scale_columns.cpp: each column times a number of its own, and the gradient of those numbers.
#include "cpu/kernels/column_sums.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

sn_status scale_columns(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor, const void *x,
                        const void *scale, void *out) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(x), *scales = static_cast<const T *>(scale);
    auto *target = static_cast<T *>(out);
    if (scales == nullptr) {
      parallelRange(poolOf(stream), rows * columns, kGrain, [&](int64_t begin, int64_t end) {
        forVectors(end - begin, [&](int64_t i, int64_t n) {
          storeUpTo(target + begin + i, factor * loadUpTo(source + begin + i, n), n);
        });
      });
      return;
    }
    parallelRange(poolOf(stream), rows, rowsPerPart(columns), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T *from = source + row * columns;
        T *to = target + row * columns;
        forVectors(columns, [&](int64_t j, int64_t n) {
          storeUpTo(to + j, factor * loadUpTo(from + j, n) * loadUpTo(scales + j, n), n);
        });
      }
    });
  });
  return SN_OK;
}

sn_status scale_columns_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor,
                                 const void *x, const void *dout, int32_t accumulate, float *dscale) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(x), *upper = static_cast<const T *>(dout);
    sumColumns(stream, rows, columns, factor, accumulate != 0, dscale, [&](int64_t i, int64_t j, int64_t n) {
      int64_t at = i * columns + j;
      return loadUpTo(source + at, n) * loadUpTo(upper + at, n);
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
