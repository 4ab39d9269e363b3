// attention_backward_shares.cu: the backward pass on sm_90a around its kernel: how the work is divided, what is
// computed of each row before, and dq from what the shares have summed.
#include <algorithm>

#include "cuda/attention_backward_warpgroup.cuh"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

namespace {

// ---- before: what the kernel needs to know of each row

constexpr int kRowThreads = 256;

// Of one row: each has eight columns.
template <int HeadSize>
constexpr int kRowLanes = HeadSize / 8;

// All rows of a block are of one head.
template <int HeadSize>
__global__ void __launch_bounds__(kRowThreads)
    prepareRowPairs(WarpgroupBackward work, Heads<const bf16> out, Heads<const bf16> dout, const float *lse) {
  constexpr int kLanes = kRowLanes<HeadSize>, kRows = kRowThreads / kLanes;
  const auto &size = work.size;
  const int blocks = work.paddedRows / kRows, number = static_cast<int>(blockIdx.x);
  const int row = number % blocks * kRows + static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes, batch = number / blocks / size.heads;
  const int own = number / blocks % size.heads;
  const int64_t head = number / blocks;
  const bool there = row < size.queries;
  const int count = min(size.headSize - 8 * lane, 8);
  float sum = 0;
  if (there && count > 0) {
    float outs[8], douts[8];
    loadEight(out.at(batch, own) + row * out.rowStride + 8 * lane, count, outs);
    loadEight(dout.at(batch, own) + row * dout.rowStride + 8 * lane, count, douts);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(outs[i], douts[i], sum);
  }
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
  if (lane != 0) return;
  float ownLse = there ? lse[head * size.queries + row] : -INFINITY;
  RowPair &pair = work.pairs[(head * work.paddedRows + row) / 2];
  pair.lse[row % 2] = ownLse == -INFINITY ? INFINITY : ownLse * kLog2E;
  pair.sum[row % 2] = sum;
  if (own == 0) {
    Sight sight = size.sight(batch);
    work.limits[static_cast<int64_t>(batch) * work.paddedRows + row] =
        there ? RowLimits{sight.first(row), sight.last(row)} : RowLimits{0, 0};
  }
}

// ---- after: dq from the shares' sums

// One tile a block.
template <typename Shape>
__global__ void __launch_bounds__(kConsumerWarps *kWarp)
    addShares([[maybe_unused]] WarpgroupBackward work, [[maybe_unused]] Gradients to) {
#if SN_HOPPER
  SN_SHARED(bf16, rows, kConsumerWarps * 16 * kBoxColumns);
  waitForPriorGrid();
  const int tile = static_cast<int>(blockIdx.x) % work.tiles, head = static_cast<int>(blockIdx.x) / work.tiles;
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  finishPart<Shape>(work, to, head / work.size.heads, head % work.size.heads, tile, warp,
                    rows + warp * 16 * kBoxColumns);
#endif
}

// ---- how the work is divided

// The division that ends first, where a tile of rows by a block of keys takes a unit of time.
Shares sharesOf(const Device &device, const AttentionSize &size, int tileRows) {
  constexpr double kStart = 1;     // of a thread block, until its first products
  constexpr double kChange = 0.5;  // from one block of keys to the next
  constexpr double kAdd = 0.75;    // a tile of a share's sums, written to memory and read again
  constexpr double kFinish = 0.2;  // the same where there is one share, which finds them in the second-level cache
  constexpr int kMost = 32;
  constexpr int kKeys = BackwardShape<64>::kKeys;
  const int blocks = (size.keys + kKeys - 1) / kKeys, tiles = (size.queries + tileRows - 1) / tileRows;
  const int64_t heads = static_cast<int64_t>(size.batch) * size.heads / size.group;
  Shares best{1, blocks};
  double bestTime = INFINITY;
  for (int count = 1; count <= std::min(blocks, kMost); ++count) {
    Shares shares{count, blocks};
    double longest = kStart;  // the first share has the most
    for (int turn = 0; shares.block(0, turn) < blocks; ++turn) {
      double unseen = size.causal ? static_cast<double>(shares.block(0, turn)) / blocks : 0;
      longest += kChange + size.group * tiles * (1 - unseen);
    }
    auto waves = static_cast<double>((heads * count + device.multiprocessors - 1) / device.multiprocessors);
    double sums = static_cast<double>(heads * size.group * tiles * count) / device.multiprocessors;
    double time = waves * longest + (count > 1 ? kAdd : kFinish) * sums;
    if (time < bestTime) {
      bestTime = time;
      best = shares;
    }
  }
  return best;
}

// Without the workspace's address.
WarpgroupBackward planOf(const Device &device, const AttentionSize &size) {
  constexpr int kRowUnit = 128;  // every tile's
  WarpgroupBackward work{};
  int tileRows = size.headSize <= 64 ? BackwardShape<64>::kRows : BackwardShape<128>::kRows;
  work.size = size;
  work.shares = sharesOf(device, size, tileRows);
  work.tiles = (size.queries + tileRows - 1) / tileRows;
  work.paddedRows = (size.queries + kRowUnit - 1) / kRowUnit * kRowUnit;
  return work;
}

// Lays the workspace out from `begin`; returns its bytes.
int64_t place(WarpgroupBackward *work, void *begin) {
  const auto &size = work->size;
  int64_t heads = static_cast<int64_t>(size.batch) * size.heads;
  auto *bytes = static_cast<unsigned char *>(begin);
  int64_t sums = 0, pairs = sums + work->shares.count * heads * work->tiles * kTileFloats * int64_t{sizeof(float)};
  int64_t limits = pairs + heads * work->paddedRows / 2 * int64_t{sizeof(RowPair)};
  int64_t end = limits + size.batch * static_cast<int64_t>(work->paddedRows) * int64_t{sizeof(RowLimits)};
  if (bytes == nullptr) return end;
  work->sums = reinterpret_cast<float *>(bytes + sums);
  work->pairs = reinterpret_cast<RowPair *>(bytes + pairs);
  work->limits = reinterpret_cast<RowLimits *>(bytes + limits);
  return end;
}

template <int HeadSize>
cudaError_t launchAll(const sn_stream *stream, const BackwardArguments<bf16> &arguments,
                      const WarpgroupBackward &work) {
  using Shape = BackwardShape<HeadSize>;
  const int64_t heads = static_cast<int64_t>(work.size.batch) * work.size.heads;
  const int64_t rowBlocks = heads * (work.paddedRows / (kRowThreads / kRowLanes<HeadSize>));
  auto grid = [](int64_t count) { return dim3(static_cast<unsigned>(count)); };
  cudaError_t error = launch(prepareRowPairs<HeadSize>, grid(rowBlocks), dim3(kRowThreads), 0, handleOf(stream), work,
                             arguments.out, arguments.dout, arguments.lse);
  if (error == cudaSuccess) error = launchBackwardShares(stream, arguments, work);
  if (error != cudaSuccess || work.shares.count == 1) return error;
  return launchOverlapping(addShares<Shape>, grid(heads * work.tiles), dim3(kConsumerWarps * kWarp), 0,
                           handleOf(stream), work, gradientsOf(arguments));
}

}  // namespace

bool suitsWarpgroups(const BackwardArguments<bf16> &arguments) {
  int headSize = arguments.size.headSize;
  return headSize > 32 && headSize <= 128 && arguments.dropout.p == 0 && arguments.piecesIn;
}

int64_t warpgroupBackwardBytes(const Device &device, const AttentionSize &size) {
  WarpgroupBackward work = planOf(device, size);
  return place(&work, nullptr);
}

cudaError_t launchBackwardWarpgroups(const sn_stream *stream, const BackwardArguments<bf16> &arguments,
                                     void *workspace) {
  WarpgroupBackward work = planOf(deviceOf(stream), arguments.size);
  place(&work, workspace);
  return arguments.size.headSize <= 64 ? launchAll<64>(stream, arguments, work)
                                       : launchAll<128>(stream, arguments, work);
}

}  // namespace sn::cuda
