// reduce.cu: sums over all elements in a fixed order: tiles of a fixed size are dealt out to blocks, whose sums then
// meet in one block. Bound by memory: a thread has four loads of 16 bytes under way.
//
// Sixteen numbers are added in fp32, everything longer in double: a long fp32 sum would lose what is small. How many
// blocks there are depends on the count alone, so that every GPU gives the same bits.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kFours = 4;
constexpr int64_t kTile = int64_t{4} * kFours * kThreads;

// Enough for all multiprocessors of the largest GPU.
constexpr int64_t kMostBlocks = 1024;

int64_t blocksFor(int64_t count) {
  int64_t tiles = (count + kTile - 1) / kTile;
  return tiles < kMostBlocks ? tiles : kMostBlocks;
}

struct Itself {
  __device__ static float of(float x) { return x; }
};

struct Square {
  __device__ static float of(float x) { return x * x; }
};

// partial[block] = the sum of Term::of(x) over the block's tiles.
template <typename Term>
__global__ void __launch_bounds__(kThreads) sumTiles(int64_t count, const float *x, double *partial) {
  SN_SHARED(double, scratch, kThreads / kWarp);
  double total = 0;
  for (int64_t tile = blockIdx.x * kTile; tile < count; tile += gridDim.x * kTile) {
    Packed<float, 4> loaded[kFours];
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      int64_t at = tile + 4 * (i * kThreads + static_cast<int>(threadIdx.x));
      loaded[i] = loadPacked<4>(x + at, count - at);
    }
    float sum = 0;
#pragma unroll
    for (const auto &packed : loaded) {
      float four[4];
      packed.unpack(four);
      sum += (Term::of(four[0]) + Term::of(four[1])) + (Term::of(four[2]) + Term::of(four[3]));
    }
    total += static_cast<double>(sum);
  }
  total = blockSum(total, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

// The sum of all blocks' sums, in every thread.
__device__ __forceinline__ double sumPartial(int count, const double *partial, double *scratch) {
  double total = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) total += partial[i];
  return blockSum(total, scratch);
}

__global__ void __launch_bounds__(kThreads)
    finishSum(int count, const double *partial, float factor, int32_t accumulate, float *out) {
  SN_SHARED(double, scratch, kThreads / kWarp);
  double total = static_cast<double>(factor) * sumPartial(count, partial, scratch);
  if (threadIdx.x != 0) return;
  out[0] = static_cast<float>(accumulate ? static_cast<double>(out[0]) + total : total);
}

__global__ void __launch_bounds__(kThreads) finishNorm(int count, const double *partial, float *out) {
  SN_SHARED(double, scratch, kThreads / kWarp);
  double total = sumPartial(count, partial, scratch);
  if (threadIdx.x == 0) out[0] = static_cast<float>(sqrt(total));
}

template <typename Term>
cudaError_t launchTiles(sn_stream *stream, int64_t count, const float *x, double *partial) {
  auto blocks = static_cast<unsigned>(blocksFor(count));
  return launch(sumTiles<Term>, dim3(blocks), dim3(kThreads), 0, handleOf(stream), count, x, partial);
}

}  // namespace

sn_status reduce_workspace(const sn_device *, int64_t count, int64_t *bytes) {
  *bytes = blocksFor(count) * static_cast<int64_t>(sizeof(double));
  return SN_OK;
}

sn_status sum(sn_stream *stream, int64_t count, float factor, const float *x, int32_t accumulate, float *out,
              void *workspace) {
  if (workspace == nullptr) return fail(SN_BAD_ARGUMENT, "sum: workspace is null");
  auto *partial = static_cast<double *>(workspace);
  if (cudaError_t error = launchTiles<Itself>(stream, count, x, partial)) return check(error, "sum");
  auto blocks = static_cast<int>(blocksFor(count));
  return check(
      launch(finishSum, dim3(1), dim3(kThreads), 0, handleOf(stream), blocks, partial, factor, accumulate, out), "sum");
}

sn_status global_norm(sn_stream *stream, int64_t count, const float *x, float *out, void *workspace) {
  if (workspace == nullptr) return fail(SN_BAD_ARGUMENT, "global_norm: workspace is null");
  auto *partial = static_cast<double *>(workspace);
  if (cudaError_t error = launchTiles<Square>(stream, count, x, partial)) return check(error, "global_norm");
  auto blocks = static_cast<int>(blocksFor(count));
  return check(launch(finishNorm, dim3(1), dim3(kThreads), 0, handleOf(stream), blocks, partial, out), "global_norm");
}

}  // namespace sn::cuda
