// bias_backward.cu: sums of columns.
//
// A block owns sixteen columns, the 32 bytes that memory gives at once in bf16, and walks all rows: two lanes side by
// side read eight columns each, all others further rows. So no block waits for another, and the order of the sum is
// fixed: within a thread, then by shuffles, then over the warps.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 1024, kWarps = kThreads / kWarp;
constexpr int kLanes = 2, kColumns = 8 * kLanes, kRows = kThreads / kLanes;
// Rows that a thread reads before it adds them.
constexpr int kAtOnce = 4;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    sumColumns(int64_t rows, int64_t columns, const T *dout, bool accumulate, float *dbias) {
  int lane = static_cast<int>(threadIdx.x) % kLanes;
  int64_t stripe = int64_t{blockIdx.x} * kColumns, column = stripe + lane * 8;
  auto present = static_cast<int>(min(int64_t{8}, columns - column));
  dout += column;
  float sums[8] = {};
  int64_t row = threadIdx.x / kLanes;
  for (; row + (kAtOnce - 1) * kRows < rows; row += kAtOnce * kRows) {
    float x[kAtOnce][8];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) loadEight(dout + (row + i * kRows) * columns, present, x[i]);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[j] += x[i][j];
    }
  }
  for (; row < rows; row += kRows) {
    float x[8];
    loadEight(dout + row * columns, present, x);
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[j] += x[j];
  }

  SN_SHARED(float, parts, kWarps *kColumns);
  int first = spreadSums<kWarp / 2, kLanes, 8>(sums);
  if (first >= 0) parts[static_cast<int>(threadIdx.x) / kWarp * kColumns + lane * 8 + first] = sums[0];
  __syncthreads();
  int64_t mine = stripe + threadIdx.x;
  if (threadIdx.x >= kColumns || mine >= columns) return;
  float total = accumulate ? dbias[mine] : 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) total += parts[warp * kColumns + threadIdx.x];
  dbias[mine] = total;
}

}  // namespace

sn_status bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, const void *dout,
                        int32_t accumulate, float *dbias) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto blocks = static_cast<unsigned>((columns + kColumns - 1) / kColumns);
    return check(launch(sumColumns<T>, dim3(blocks), dim3(kThreads), 0, handleOf(stream), rows, columns,
                        static_cast<const T *>(dout), accumulate != 0, dbias),
                 "bias_backward");
  });
}

}  // namespace sn::cuda
