// column_sums.cuh: sums over the rows of a matrix.
//
// A block owns sixteen columns, the 32 bytes that memory gives at once in bf16, and walks all rows: two lanes side by
// side read eight columns each, all others further rows. So no block waits for another, and the order of the sum is
// fixed: within a thread, then by shuffles, then over the warps. Two blocks fit a multiprocessor, so that no stripe of
// a wide matrix waits for others to end.
#pragma once

#include "cuda/vector.h"

namespace sn::cuda {

constexpr int kSumThreads = 512, kSumWarps = kSumThreads / kWarp;
constexpr int kSumLanes = 2, kSumColumns = 8 * kSumLanes, kSumRows = kSumThreads / kSumLanes;

// sums[j] = factor * the sum over rows i of the elements that read(i * stride + j, count, x) gives, `count` of the
// eight from column j on; plus sums[j] where accumulate. A thread reads F::kAtOnce rows before it adds them.
template <typename F>
__global__ void __launch_bounds__(kSumThreads)
    sumColumns(int64_t rows, int64_t columns, int64_t stride, float factor, F read, bool accumulate, float *sums) {
  int lane = static_cast<int>(threadIdx.x) % kSumLanes;
  int64_t stripe = int64_t{blockIdx.x} * kSumColumns, column = stripe + lane * 8;
  auto present = static_cast<int>(min(int64_t{8}, columns - column));
  float mine[8] = {};
  int64_t row = threadIdx.x / kSumLanes;
  for (; row + (F::kAtOnce - 1) * kSumRows < rows; row += F::kAtOnce * kSumRows) {
    float x[F::kAtOnce][8];
#pragma unroll
    for (int i = 0; i < F::kAtOnce; ++i) read((row + i * kSumRows) * stride + column, present, x[i]);
#pragma unroll
    for (int i = 0; i < F::kAtOnce; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) mine[j] += x[i][j];
    }
  }
  for (; row < rows; row += kSumRows) {
    float x[8];
    read(row * stride + column, present, x);
#pragma unroll
    for (int j = 0; j < 8; ++j) mine[j] += x[j];
  }

  SN_SHARED(float, parts, kSumWarps *kSumColumns);
  int first = spreadSums<kWarp / 2, kSumLanes, 8>(mine);
  if (first >= 0) parts[static_cast<int>(threadIdx.x) / kWarp * kSumColumns + lane * 8 + first] = mine[0];
  __syncthreads();
  int64_t own = stripe + threadIdx.x;
  if (threadIdx.x >= kSumColumns || own >= columns) return;
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kSumWarps; ++warp) total += parts[warp * kSumColumns + threadIdx.x];
  sums[own] = accumulate ? fmaf(factor, total, sums[own]) : factor * total;
}

// Launches it.
template <typename F>
cudaError_t launchSumColumns(cudaStream_t stream, int64_t rows, int64_t columns, int64_t stride, float factor,
                             const F &read, bool accumulate, float *sums) {
  auto blocks = static_cast<unsigned>((columns + kSumColumns - 1) / kSumColumns);
  return launch(sumColumns<F>, dim3(blocks), dim3(kSumThreads), 0, stream, rows, columns, stride, factor, read,
                accumulate, sums);
}

}  // namespace sn::cuda
