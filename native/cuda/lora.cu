// lora.cu: the low-rank update of each row by an adapter of its own: t = a x, then y += t b.
//
// First a block sums eight numbers of t, its threads along `in`. Then each thread has eight outputs of a row and adds
// rank after rank. So the order of a row's sums is given by its shape alone, and it makes no difference that four
// neighbours with one adapter go together, so that its numbers are loaded once for all four.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTeam = 4;
// Ranks whose numbers a thread has on their way at once.
constexpr int kRanks = 8;
// What the threads of a block have side by side.
constexpr int64_t kStrip = 8 * kThreads;

template <typename T>
struct Lora {
  sn_lora_shape shape;
  const int32_t *which;
  const T *x, *a, *b;
  T *y;
  float *middle;  // t, [rows, rank]
  Fault *fault;

  __device__ bool known(int32_t adapter) const { return adapter >= 0 && adapter < shape.adapters; }

  // How many rows the blocks of a row work on: where an aligned group of rows has one adapter those of the first on all
  // of them, those of the others on none.
  __device__ int rowsOf(int64_t row) const {
    int64_t first = row - row % kTeam;
    bool together = first + kTeam <= shape.rows;
    for (int64_t i = first; together && i < first + kTeam; ++i) together = which[i] == which[row];
    return !together ? 1 : row == first ? kTeam : 0;
  }
};

template <int Rows, typename T>
__device__ __forceinline__ void downRows(const Lora<T> &l, int64_t row, int64_t rank, float (*parts)[kTeam * kRanks]) {
  const auto &s = l.shape;
  const T *x = l.x + row * s.x_stride, *a = l.a + (l.which[row] * s.rank + rank) * s.in;
  float sums[Rows][kRanks] = {};
  for (int64_t k = 8 * threadIdx.x; k < s.in; k += kStrip) {
    Packed<T, 8> inputs[Rows], weights[kRanks];
#pragma unroll
    for (int i = 0; i < Rows; ++i) inputs[i] = loadPacked<8>(x + i * s.x_stride + k, s.in - k);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) weights[r] = loadPacked<8>(a + r * s.in + k, rank + r < s.rank ? s.in - k : 0);
#pragma unroll
    for (int i = 0; i < Rows; ++i) {
      float input[8];
      inputs[i].unpack(input);
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        float weight[8];
        weights[r].unpack(weight);
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][r] = fmaf(input[j], weight[j], sums[i][r]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < Rows; ++i) {
    int first = spreadSums<kWarp / 2, 1, kRanks>(sums[i]);
    if (first >= 0) parts[threadIdx.x / kWarp][i * kRanks + first] = sums[i][0];
  }
  __syncthreads();
  int i = static_cast<int>(threadIdx.x) / kRanks, r = static_cast<int>(threadIdx.x) % kRanks;
  if (i >= Rows || rank + r >= s.rank) return;
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) total += parts[warp][threadIdx.x];
  l.middle[(row + i) * s.rank + rank + r] = total;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) down(Lora<T> l, int64_t blocks) {
  using Parts = float[kTeam * kRanks];
  SN_SHARED(Parts, parts, kWarps);
  int64_t row = blockIdx.x / blocks, rank = blockIdx.x % blocks * kRanks;
  int rows = l.rowsOf(row);
  int32_t adapter = l.which[row];
  if (!l.known(adapter)) {
    if (adapter != -1 && rank == 0 && threadIdx.x == 0) l.fault->note(Fault::kAdapter, adapter, row, l.shape.adapters);
  } else if (rows == kTeam) {
    downRows<kTeam>(l, row, rank, parts);
  } else if (rows == 1) {
    downRows<1>(l, row, rank, parts);
  }
}

template <int Rows, typename T>
__device__ __forceinline__ void upRows(const Lora<T> &l, int64_t row, int64_t j) {
  const auto &s = l.shape;
  const T *b = l.b + l.which[row] * s.rank * s.out + j;
  const float *t = l.middle + row * s.rank;
  float sums[Rows][8] = {};
  for (int64_t rank = 0; rank < s.rank; rank += kRanks) {
    Packed<T, 8> weights[kRanks];
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      weights[r] = loadPacked<8>(b + (rank + r) * s.out, rank + r < s.rank ? s.out - j : 0);
    }
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      float weight[8];
      weights[r].unpack(weight);
#pragma unroll
      for (int i = 0; i < Rows; ++i) {
        float factor = rank + r < s.rank ? t[i * s.rank + rank + r] : 0;
#pragma unroll
        for (int v = 0; v < 8; ++v) sums[i][v] = fmaf(factor, weight[v], sums[i][v]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < Rows; ++i) {
    T *y = l.y + (row + i) * s.y_stride + j;
    float outputs[8];
    loadPacked<8>(y, s.out - j).unpack(outputs);
#pragma unroll
    for (int v = 0; v < 8; ++v) outputs[v] += sums[i][v];
    storeElements(y, s.out - j, outputs);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) up(Lora<T> l, int64_t strips) {
  int64_t row = blockIdx.x / strips, j = blockIdx.x % strips * kStrip + 8 * threadIdx.x;
  int rows = l.rowsOf(row);
  if (j >= l.shape.out || !l.known(l.which[row])) return;
  if (rows == kTeam) {
    upRows<kTeam>(l, row, j);
  } else if (rows == 1) {
    upRows<1>(l, row, j);
  }
}

}  // namespace

sn_status lora_workspace(const sn_device *, const sn_lora_shape *shape, int64_t *bytes) {
  *bytes = shape->rows * shape->rank * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status lora(sn_stream *stream, const sn_lora_shape *shape, const int32_t *which, const void *x, const void *a,
               const void *b, void *y, void *workspace) {
  const auto &s = *shape;
  int64_t blocks = (s.rank + kRanks - 1) / kRanks, strips = (s.out + kStrip - 1) / kStrip;
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
    dim3 downs(static_cast<unsigned>(s.rows * blocks)), ups(static_cast<unsigned>(s.rows * strips));
    cudaError_t error = launch(down<T>, downs, dim3(kThreads), 0, handleOf(stream), work, blocks);
    if (error == cudaSuccess) error = launch(up<T>, ups, dim3(kThreads), 0, handleOf(stream), work, strips);
    return check(error, "lora");
  });
}

}  // namespace sn::cuda
