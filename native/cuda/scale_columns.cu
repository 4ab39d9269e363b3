// scale_columns.cu: each column times a number of its own, and the gradient of those numbers.
#include "cuda/column_sums.cuh"
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
// Eights that a lane reads before it writes them.
constexpr int kAtOnce = 4;
// Columns of a row that a warp works on.
constexpr int64_t kStripe = kAtOnce * 8 * kWarp;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    scaleColumns(int64_t stripes, int64_t works, int64_t columns, float factor, const T *x, const T *scale, T *out) {
  int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (work >= works) return;
  int64_t row = work / stripes, first = work % stripes * kStripe + 8 * (threadIdx.x % kWarp);
  x += row * columns;
  out += row * columns;
  Packed<T, 8> given[kAtOnce], scales[kAtOnce];
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    int64_t column = first + i * 8 * kWarp, count = columns - column;
    given[i] = loadPacked<8>(x + column, count);
    scales[i] = loadPacked<8>(scale + column, count);
  }
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    int64_t column = first + i * 8 * kWarp;
    float values[8], factors[8];
    given[i].unpack(values);
    scales[i].unpack(factors);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] = factor * values[j] * factors[j];
    storeElements(out + column, columns - column, values);
  }
}

template <typename T>
struct Scale {
  float factor;
  const T *x;
  T *out;

  __device__ void operator()(int64_t i, int count) const {
    float values[8];
    loadEight(x + i, count, values);
#pragma unroll
    for (float &value : values) value *= factor;
    storeEight(out + i, count, values);
  }
};

template <typename T>
struct Products {
  static constexpr int kAtOnce = 2;
  const T *x, *dout;

  __device__ void operator()(int64_t at, int count, float (&values)[8]) const {
    float upper[8];
    loadEight(x + at, count, values);
    loadEight(dout + at, count, upper);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] *= upper[j];
  }
};

}  // namespace

sn_status scale_columns(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor, const void *x,
                        const void *scale, void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(x), *scales = static_cast<const T *>(scale);
    auto *target = static_cast<T *>(out);
    if (scales == nullptr) {
      return check(launchEights(handleOf(stream), rows * columns, Scale<T>{factor, source, target}), "scale_columns");
    }
    int64_t stripes = (columns + kStripe - 1) / kStripe, works = rows * stripes;
    dim3 blocks(static_cast<unsigned>((works + kWarps - 1) / kWarps));
    return check(launch(scaleColumns<T>, blocks, dim3(kThreads), 0, handleOf(stream), stripes, works, columns, factor,
                        source, scales, target),
                 "scale_columns");
  });
}

sn_status scale_columns_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor,
                                 const void *x, const void *dout, int32_t accumulate, float *dscale) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Products<T> products{static_cast<const T *>(x), static_cast<const T *>(dout)};
    return check(launchSumColumns(handleOf(stream), rows, columns, columns, factor, products, accumulate != 0, dscale),
                 "scale_columns_backward");
  });
}

}  // namespace sn::cuda
