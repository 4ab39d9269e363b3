// gather.cu: chosen rows of a matrix, and their gradient: a warp a row, eight elements a lane.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/ptx/grid.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

template <typename T>
__device__ __forceinline__ void copyRow(const T *from, T *to, int64_t width) {
  int64_t lane = threadIdx.x % kWarp;
  for (int64_t column = 8 * lane; column < width; column += 8 * kWarp) {
    float x[8] = {};
    if (from != nullptr) loadPacked<8>(from + column, width - column).unpack(x);
    storeElements(to + column, width - column, x);
  }
}

__device__ __forceinline__ int64_t rowOfWarp() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    gather(int64_t rows, int64_t width, int64_t count, const int32_t *indices, const T *in, T *out, Fault *fault) {
  releaseNextGrid();
  waitForPriorGrid();
  int64_t i = rowOfWarp();
  if (i >= count) return;
  int64_t index = indices[i];
  bool known = index >= 0 && index < rows;
  if (!known && index != -1 && threadIdx.x % kWarp == 0) fault->note(Fault::kIndex, indices[i], i, rows);
  copyRow<T>(known ? in + index * width : nullptr, out + i * width, width);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    scatter(int64_t rows, int64_t width, int64_t count, const int32_t *indices, const T *dout, T *din) {
  int64_t i = rowOfWarp();
  if (i >= count) return;
  int64_t index = indices[i];
  if (index >= 0 && index < rows) copyRow<T>(dout + i * width, din + index * width, width);
}

dim3 blocksOf(int64_t count) { return dim3(static_cast<unsigned>((count + kWarps - 1) / kWarps)); }

}  // namespace

sn_status gather_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                         const int32_t *indices, const void *in, void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    return check(launchInStep(stream, gather<T>, blocksOf(count), dim3(kThreads), 0, rows, width, count, indices,
                              static_cast<const T *>(in), static_cast<T *>(out), faultOf(stream)),
                 "gather_forward");
  });
}

sn_status gather_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                          const int32_t *indices, const void *dout, void *din) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto bytes = static_cast<size_t>(rows * width) * sizeof(T);
    cudaError_t error = cudaMemsetAsync(din, 0, bytes, handleOf(stream));
    if (error == cudaSuccess) {
      error = launch(scatter<T>, blocksOf(count), dim3(kThreads), 0, handleOf(stream), rows, width, count, indices,
                     static_cast<const T *>(dout), static_cast<T *>(din));
    }
    return check(error, "gather_backward");
  });
}

}  // namespace sn::cuda
