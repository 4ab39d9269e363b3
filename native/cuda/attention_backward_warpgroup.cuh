// attention_backward_warpgroup.cuh: how the backward pass on sm_90a divides its work, and what its workspace holds.
//
// dk and dv are sums over rows, dq is one over keys. A block that owns keys keeps dk and dv; its part of dq it has to
// add to those of others, and for the same bits every run the order of additions must be fixed. So the blocks of keys
// of a head are dealt to a few shares, and each share adds to sums of its own: one thread block works on it from first
// to last. What the shares have is added in the end.
#pragma once

#include "cuda/attention_tiles.cuh"
#include "cuda/attention_warpgroup.cuh"

namespace sn::cuda {

constexpr int kConsumers = 2;  // warpgroups
constexpr int kConsumerWarps = kConsumers * kWarpgroup / kWarp;

// Of a tile of dq: a warp has 16 rows by 64 columns of it, in the workspace as in its registers.
constexpr int kPartFloats = 32 * kWarp, kTileFloats = kConsumerWarps * kPartFloats;

// Keys of a block, and rows that come by at once.
template <int HeadSize>
struct BackwardShape {
  static constexpr int kHeadSize = HeadSize, kKeys = kConsumers * kGroupRows;
  static constexpr int kRows = kTileFloats / HeadSize;
  // A warpgroup's half of a tile of dq: 64 of its rows or 64 of its columns.
  static constexpr bool kHalfOfRows = kRows == 2 * kGroupRows;
  static_assert(HeadSize == 64 || HeadSize == 128);
};

// Blocks of keys are dealt to and fro: rows that see only keys before them see the first keys most.
struct Shares {
  int count, blocks;

  // The block of a share's turn, which is none where it is past the last one; so are then those of later turns.
  __host__ __device__ int block(int share, int turn) const {
    return turn * count + (turn % 2 == 0 ? share : count - 1 - share);
  }

  // Whether the share has any of the blocks first .. end.
  __device__ bool hasAny(int share, int first, int end) const {
    int turn = first / count, own = block(share, turn);
    if (own < first) own = block(share, turn + 1);
    return own < end;
  }
};

// Of two neighbouring rows: log-sum-exp of the scores in base 2, infinite where a row sees nothing or is not there, so
// that its powers are 0; and the sum of dout * out over the columns.
struct alignas(16) RowPair {
  float lse[2], sum[2];
};

// The keys that a row sees.
struct RowLimits {
  int first, last;  // exclusive
};

struct WarpgroupBackward {
  AttentionSize size;
  Shares shares;
  int tiles;          // of rows, in a head
  int paddedRows;     // of a head, in the workspace
  float *sums;        // [shares][batch][heads][tiles][kTileFloats]
  RowPair *pairs;     // [batch][heads][paddedRows / 2]
  RowLimits *limits;  // [batch][paddedRows]

  // The number of a tile of one of all heads among the shares' sums.
  __device__ unsigned tileOf(int share, int head, int tile) const {
    return (static_cast<unsigned>(share) * size.batch * size.heads + head) * tiles + tile;
  }
  __device__ float *partOf(unsigned tile, int warp) const {
    return sums + static_cast<int64_t>(tile) * kTileFloats + warp * kPartFloats;
  }
};

// Where results go.
struct Gradients {
  Heads<bf16> dq, dk, dv;
  bool inPieces;
};

inline Gradients gradientsOf(const BackwardArguments<bf16> &arguments) {
  return {arguments.dq, arguments.dk, arguments.dv, arguments.piecesOut};
}

// The kernel between the other two, of a plan whose workspace is laid out.
cudaError_t launchBackwardShares(const sn_stream *stream, const BackwardArguments<bf16> &arguments,
                                 const WarpgroupBackward &work);

#if SN_HOPPER

// Rounds accumulators, 16 rows of a warp, into shared memory, as storeRows takes them.
template <int Columns>
__device__ __forceinline__ void placeWarpRows(bf16 *rows, const float (&sums)[Columns / 2], float factor) {
  int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int step = 0; step < Columns / 16; ++step) {
    uint32_t registers[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      registers[i] = packBf16(sums[8 * step + 2 * i] * factor, sums[8 * step + 2 * i + 1] * factor);
    }
    storeMatrix4(rows + Pieces<Columns>::place(lane % 16, 2 * step + lane / 16), registers);
  }
}

// A warp's part of a tile of dq, from what the shares that have it summed; `rows`: 16 by 64 of the warp's own.
template <typename Shape>
__device__ __forceinline__ void finishPart(const WarpgroupBackward &work, const Gradients &to, int batch, int head,
                                           int tile, int warp, bf16 *rows) {
  const auto &size = work.size;
  const RowLimits *limits = work.limits + static_cast<int64_t>(batch) * work.paddedRows;
  const int firstRow = tile * Shape::kRows, lastRow = min(firstRow + Shape::kRows, size.queries) - 1;
  const int firstBlock = limits[firstRow].first / Shape::kKeys;
  const int endBlock = (limits[lastRow].last + Shape::kKeys - 1) / Shape::kKeys;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  float sums[32] = {};
  for (int share = 0; share < work.shares.count; ++share) {
    if (!work.shares.hasAny(share, firstBlock, endBlock)) continue;
    unsigned number = work.tileOf(share, batch * size.heads + head, tile);
    auto *part = reinterpret_cast<const float4 *>(work.partOf(number, warp));
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float4 four = __ldcg(part + kWarp * i + lane);
      sums[4 * i] += four.x;
      sums[4 * i + 1] += four.y;
      sums[4 * i + 2] += four.z;
      sums[4 * i + 3] += four.w;
    }
  }
  placeWarpRows<kBoxColumns>(rows, sums, size.scale);
  __syncwarp();
  const int row = firstRow + 16 * (Shape::kHalfOfRows ? warp : warp % 4);
  const int column = Shape::kHalfOfRows ? 0 : warp / 4 * kBoxColumns;
  storeRows<kBoxColumns>(to.dq.at(batch, head) + row * to.dq.rowStride + column, to.dq.rowStride, rows,
                         min(16, size.queries - row), size.headSize - column, to.inPieces);
}

#endif

}  // namespace sn::cuda
