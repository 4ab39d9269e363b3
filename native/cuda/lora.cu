// lora.cu: the low-rank update of each row by an adapter of its own: t = a x, then y += t b.
//
// First a warp sums a number of t: its lanes follow `in`. Then each thread has eight outputs of a row and adds rank
// after rank. So the order of a row's sums is given by its shape alone.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

template <typename T>
struct Lora {
  sn_lora_shape shape;
  const int32_t *which;
  const T *x, *a, *b;
  T *y;
  float *middle;  // [rows, rank]
  Fault *fault;

  __device__ bool known(int32_t adapter) const { return adapter >= 0 && adapter < shape.adapters; }
};

// A warp a row and rank.
template <typename T>
__global__ void __launch_bounds__(kThreads) down(Lora<T> l) {
  const auto &s = l.shape;
  int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, row = work / s.rank,
          rank = work % s.rank;
  if (row >= s.rows) return;
  int32_t adapter = l.which[row];
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (!l.known(adapter)) {
    if (adapter != -1 && rank == 0 && lane == 0) l.fault->note(Fault::kAdapter, adapter, row, s.adapters);
    return;
  }
  const T *x = l.x + row * s.x_stride, *a = l.a + (adapter * s.rank + rank) * s.in;
  float sum = 0;
  for (int64_t k = 8 * lane; k < s.in; k += 8 * kWarp) {
    float inputs[8], weights[8];
    loadPacked<8>(x + k, s.in - k).unpack(inputs);
    loadPacked<8>(a + k, s.in - k).unpack(weights);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(inputs[i], weights[i], sum);
  }
  sum = warpSum(sum);
  if (lane == 0) l.middle[row * s.rank + rank] = sum;
}

// A thread eight outputs of a row.
template <typename T>
__global__ void __launch_bounds__(kThreads) up(Lora<T> l) {
  const auto &s = l.shape;
  int64_t strips = (s.out + 8 * kThreads - 1) / (8 * kThreads);
  int64_t row = blockIdx.x / strips, j = (blockIdx.x % strips * kThreads + threadIdx.x) * 8;
  int32_t adapter = l.which[row];
  if (j >= s.out || !l.known(adapter)) return;
  const T *b = l.b + adapter * s.rank * s.out + j;
  const float *t = l.middle + row * s.rank;
  T *y = l.y + row * s.y_stride + j;
  float sums[8] = {}, outputs[8];
  for (int64_t rank = 0; rank < s.rank; ++rank) {
    float weights[8], factor = t[rank];
    loadPacked<8>(b + rank * s.out, s.out - j).unpack(weights);
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] = fmaf(factor, weights[i], sums[i]);
  }
  loadPacked<8>(y, s.out - j).unpack(outputs);
#pragma unroll
  for (int i = 0; i < 8; ++i) outputs[i] += sums[i];
  storeElements(y, s.out - j, outputs);
}

}  // namespace

sn_status lora_workspace(const sn_device *, const sn_lora_shape *shape, int64_t *bytes) {
  *bytes = shape->rows * shape->rank * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status lora(sn_stream *stream, const sn_lora_shape *shape, const int32_t *which, const void *x, const void *a,
               const void *b, void *y, void *workspace) {
  const auto &s = *shape;
  return withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    Lora<T> work{s,
                 which,
                 static_cast<const T *>(x),
                 static_cast<const T *>(a),
                 static_cast<const T *>(b),
                 static_cast<T *>(y),
                 static_cast<float *>(workspace),
                 faultOf(stream)};
    dim3 downs(static_cast<unsigned>((s.rows * s.rank + kWarps - 1) / kWarps));
    dim3 ups(static_cast<unsigned>((s.out + 8 * kThreads - 1) / (8 * kThreads) * s.rows));
    cudaError_t error = launch(down<T>, downs, dim3(kThreads), 0, handleOf(stream), work);
    if (error == cudaSuccess) error = launch(up<T>, ups, dim3(kThreads), 0, handleOf(stream), work);
    return check(error, "lora");
  });
}

}  // namespace sn::cuda
