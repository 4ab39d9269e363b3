// float8.cu: casts to numbers of 8 bits: the largest number, which gives the scale, and then each by itself.
#include <algorithm>

#include "common/float8.h"
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kBlocksEach = 4;  // of a multiprocessor

// Floats that are not negative are in the order of their bits, and a maximum has no order.
template <typename T>
__global__ void __launch_bounds__(kThreads) findLargest(int64_t count, const T *in, float *most) {
  SN_SHARED(float, scratch, kThreads / kWarp);
  float largest = 0;
  for (int64_t i = 8 * (int64_t{blockIdx.x} * kThreads + threadIdx.x); i < count;
       i += int64_t{8} * kThreads * gridDim.x) {
    float x[8];
    loadEight(in + i, static_cast<int>(min(int64_t{8}, count - i)), x);
#pragma unroll
    for (float each : x) largest = fmaxf(largest, fabsf(each));
  }
  largest = blockMaximum(largest, scratch);
  if (threadIdx.x == 0) atomicMax(reinterpret_cast<int *>(most), __float_as_int(largest));
}

template <typename T>
struct Cast {
  const T *in;
  Float8 type;
  uint8_t *out;
  float *scale;

  __device__ void operator()(int64_t i, int count) const {
    float x[8], divisor = type.scaleOf(scale[1]);
    if (i == 0) scale[0] = divisor;
    loadEight(in + i, count, x);
    uint32_t word[2] = {};
#pragma unroll
    for (int j = 0; j < 8; ++j) word[j / 4] |= uint32_t{type.encode(x[j] / divisor)} << j % 4 * 8;
    if (count == 8 && reinterpret_cast<uintptr_t>(out + i) % sizeof(uint2) == 0) {
      *reinterpret_cast<uint2 *>(out + i) = make_uint2(word[0], word[1]);
    } else {
      for (int j = 0; j < count; ++j) out[i + j] = static_cast<uint8_t>(word[j / 4] >> j % 4 * 8);
    }
  }
};

}  // namespace

sn_status cast_float8(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_float8 to, void *out,
                      float *scale) {
  return withType(from, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(in);
    int64_t most = int64_t{kBlocksEach} * deviceOf(stream).multiprocessors;
    auto blocks = static_cast<unsigned>(std::min(most, (count + 8 * kThreads - 1) / (8 * kThreads)));
    cudaError_t error = cudaMemsetAsync(scale + 1, 0, sizeof(float), handleOf(stream));
    if (error == cudaSuccess) {
      error = launch(findLargest<T>, dim3(blocks), dim3(kThreads), 0, handleOf(stream), count, source, scale + 1);
    }
    if (error == cudaSuccess) {
      error =
          launchEights(handleOf(stream), count, Cast<T>{source, Float8::of(to), static_cast<uint8_t *>(out), scale});
    }
    return check(error, "cast_float8");
  });
}

}  // namespace sn::cuda
