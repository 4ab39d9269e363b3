// bias_backward.cu: the gradient of a bias is the sum of the rows.
#include "cuda/column_sums.cuh"
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

template <typename T>
struct Rows {
  // Eight loads of 16 bytes under way.
  static constexpr int kAtOnce = 16 / static_cast<int>(sizeof(T));
  const T *dout;

  __device__ void operator()(int64_t at, int count, float (&x)[8]) const { loadEight(dout + at, count, x); }
};

}  // namespace

sn_status bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                        const void *dout, int32_t accumulate, float *dbias) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    return check(launchSumColumns(handleOf(stream), rows, columns, stride, 1.0f, Rows<T>{static_cast<const T *>(dout)},
                                  accumulate != 0, dbias),
                 "bias_backward");
  });
}

}  // namespace sn::cuda
