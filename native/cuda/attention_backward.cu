// attention_backward.cu: dq, dk and dv from the saved log-sum-exp of each row (Dao 2023, algorithm 2), in bf16 on
// mma.sync.
//
// Two kernels, each of which owns what it sums: one a block of keys and its dk and dv, the other a block of rows and
// its dq. Both compute the probabilities anew, so seven products are made where one kernel would make five; but that
// one has to add up dq across blocks: by atomics, in an order that no two runs share, or in turns, one block waiting
// for another. Here sums stay in registers, their order is fixed by the shape, and the workspace is two numbers a row.
//
// A block's own rows are left operands: with keys as rows the scores are transposed, so that probabilities and their
// gradients are left operands of the second products straight from the registers of the first, in both kernels.
#include <algorithm>

#include "cuda/attention_tiles.cuh"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

template <int HeadSize, int Warps, int RowBlocks, int Streamed, int Chunk>
struct GradientTile {
  static constexpr int kHeadSize = HeadSize;
  static constexpr int kThreads = Warps * kWarp;
  static constexpr int kRowBlocks = RowBlocks;  // of 16 own rows, a warp
  static constexpr int kWarpRows = 16 * RowBlocks;
  static constexpr int kRows = Warps * kWarpRows;
  static constexpr int kStreamed = Streamed;  // rows that come by in a stage
  static constexpr int kChunk = Chunk;        // and of them, in a product
  static constexpr int kOwnElements = kRows * HeadSize;
  static constexpr int kStageElements = Streamed * HeadSize;
  // Two tiles of own rows and two stages of two streamed ones.
  static constexpr size_t kTileBytes = (2 * kOwnElements + 4 * kStageElements) * sizeof(bf16);
  static_assert(Streamed <= kThreads && Streamed % Chunk == 0);
};

// The rows that see a block of keys.
struct RowRange {
  int first, end;
};

// Where the sums of dk and dv are too wide for registers, several blocks share their columns.
template <typename Tile, int Parts>
struct KeyGradientTile : Tile {
  static constexpr int kParts = Parts;
  static constexpr int kColumns = Tile::kHeadSize / Parts;
  static constexpr size_t kSharedBytes = Tile::kTileBytes + 2 * Tile::kStreamed * sizeof(RowNumbers) + sizeof(RowRange);
  static_assert(kSharedBytes <= (99u << 10));
};

template <typename Tile>
struct QueryGradientTile : Tile {
  static constexpr size_t kSharedBytes = Tile::kTileBytes + Tile::kRows * sizeof(int);
  static_assert(kSharedBytes <= (99u << 10) && Tile::kRows <= Tile::kThreads);
};

constexpr int kRowWarps = 8;

// The numbers of every row, one row a warp.
template <typename T>
__global__ void __launch_bounds__(kRowWarps *kWarp) prepareRows(BackwardArguments<T> arguments) {
  const auto &size = arguments.size;
  int64_t row = static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / kWarp;
  if (row >= static_cast<int64_t>(size.batch) * size.heads * size.queries) return;
  int64_t index = row / size.queries, query = row % size.queries;
  auto batch = static_cast<int>(index / size.heads), head = static_cast<int>(index % size.heads);
  int column = 8 * static_cast<int>(threadIdx.x % kWarp), count = size.headSize - column;
  float sum = 0;
  if (count > 0) {
    float out[8], dout[8];
    loadEight(arguments.out.at(batch, head) + query * arguments.out.rowStride + column, count, out);
    loadEight(arguments.dout.at(batch, head) + query * arguments.dout.rowStride + column, count, dout);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(out[i], dout[i], sum);
  }
  sum = warpSum(sum);
  if (threadIdx.x % kWarp == 0) {
    float lse = arguments.lse[row];
    int first = size.sight(batch).first(static_cast<int>(query));
    arguments.rows[row] = {lse == -INFINITY ? INFINITY : lse * kLog2E, sum, first};
  }
}

// From a score and the product dout v^T to the probability and its gradient (Dao 2023, algorithm 2, lines 11 to 14).
// `factor`: what dropout made of the probability.
__device__ __forceinline__ void softmaxGradient(float *score, float *product, float factor, float scale,
                                                RowNumbers row) {
  float p = fastExp2(fmaf(*score, scale, -row.lse));
  *product = p * fmaf(*product, factor, -row.sum);
  *score = factor == 0 ? 0.0f : p;
}

// dk and dv of a block of keys: every row that sees them comes by, of each query head that shares them in turn.
template <typename Tile, bool Drops>
__global__ void __launch_bounds__(Tile::kThreads) keyGradients(BackwardArguments<bf16> arguments) {
  constexpr int kHeadSize = Tile::kHeadSize, kStage = Tile::kStageElements, kM = Tile::kRowBlocks;
  constexpr int kRows = Tile::kStreamed, kChunk = Tile::kChunk, kN = kChunk / 8, kColumns = Tile::kColumns;
  SN_DYNAMIC_SHARED(memory);
  auto *keyTile = reinterpret_cast<bf16 *>(memory);
  bf16 *valueTile = keyTile + Tile::kOwnElements, *queryTiles = valueTile + Tile::kOwnElements;
  bf16 *doutTiles = queryTiles + 2 * kStage;
  auto *rowTiles = reinterpret_cast<RowNumbers *>(doutTiles + 2 * kStage);
  auto *range = reinterpret_cast<RowRange *>(rowTiles + 2 * kRows);  // registers are for products

  const auto &size = arguments.size;
  auto [batch, headAndPart, block] = arguments.order.turn(blockIdx.x);
  const int shared = headAndPart / Tile::kParts, firstColumn = headAndPart % Tile::kParts * kColumns;
  const Sight sight = size.sight(batch);
  const int blockKey = block * Tile::kRows, warpKey = static_cast<int>(threadIdx.x / kWarp) * Tile::kWarpRows;
  const int key = blockKey + warpKey, keys = min(Tile::kWarpRows, size.keys - key);  // of the warp, that there are
  bf16 *warpKeys = keyTile + warpKey * kHeadSize, *warpValues = valueTile + warpKey * kHeadSize;

  const int firstRow = sight.firstRow(blockKey) / kRows * kRows;
  const int lastRow = sight.lastRow(blockKey, min(Tile::kRows, size.keys - blockKey), size.queries);
  if (threadIdx.x == 0) *range = {firstRow, lastRow};
  // The rows of one query head of the group, then those of the next.
  const int endHead = (shared + 1) * size.group;
  auto next = [&](int *head, int *row) {
    *row += kRows;
    if (*row < range->end) return;
    *row = range->first;
    ++*head;
  };
  auto numberOf = [&](int head, int row) {
    return (static_cast<int64_t>(batch) * size.heads + head) * size.queries + row;
  };
  auto copyQueries = [&](int head, int row, int stage) {
    copyRows<kRows, kHeadSize, Tile::kThreads>(queryTiles + stage * kStage, arguments.q.at(batch, head),
                                               arguments.q.rowStride, row, size.queries, size.headSize,
                                               arguments.piecesIn);
    copyRows<kRows, kHeadSize, Tile::kThreads>(doutTiles + stage * kStage, arguments.dout.at(batch, head),
                                               arguments.dout.rowStride, row, size.queries, size.headSize,
                                               arguments.piecesIn);
    auto own = static_cast<int>(threadIdx.x);
    if (own < kRows) {
      copyAsync<16>(rowTiles + stage * kRows + own, arguments.rows + numberOf(head, row) + own,
                    row + own < size.queries);
    }
  };
  copyRows<Tile::kRows, kHeadSize, Tile::kThreads>(keyTile, arguments.k.at(batch, shared), arguments.k.rowStride,
                                                   blockKey, size.keys, size.headSize, arguments.piecesIn);
  copyRows<Tile::kRows, kHeadSize, Tile::kThreads>(valueTile, arguments.v.at(batch, shared), arguments.v.rowStride,
                                                   blockKey, size.keys, size.headSize, arguments.piecesIn);
  int head = firstRow < lastRow ? shared * size.group : endHead, tileRow = firstRow;
  if (head < endHead) copyQueries(head, tileRow, 0);
  commitCopies();
  waitForCopies<0>();
  __syncthreads();

  auto keyRows = [&](uint32_t(&a)[4], int m, int step) { loadLeft<kHeadSize>(a, warpKeys + 16 * m * kHeadSize, step); };
  auto valueRows = [&](uint32_t(&a)[4], int m, int step) {
    loadLeft<kHeadSize>(a, warpValues + 16 * m * kHeadSize, step);
  };
  float dk[kM][kColumns / 8][4] = {}, dv[kM][kColumns / 8][4] = {};
  const float scale = size.scale * kLog2E, left = Drops ? 1.0f / (1.0f - arguments.dropout.p) : 1.0f;
  const auto dropout = Drops ? arguments.dropout.now() : ProbabilityDropout{};
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll 1
  for (int stage = 0; head < endHead; next(&head, &tileRow), stage ^= 1) {
    int nextHead = head, nextRow = tileRow;
    next(&nextHead, &nextRow);
    if (nextHead < endHead) copyQueries(nextHead, nextRow, stage ^ 1);
    commitCopies();
#pragma unroll 1
    for (int first = 0; first < kRows; first += kChunk) {
      const int row = tileRow + first, there = min(kChunk, size.queries - row);
      const RowNumbers *rows = rowTiles + stage * kRows + first;
      const TileSight seen{sight, [=](int of) { return rows[of - row].first; }};
      if (keys <= 0 || there <= 0 || seen.none(row, row + there - 1, key, keys)) continue;
      const bf16 *queries = queryTiles + stage * kStage + first * kHeadSize;
      const bf16 *douts = doutTiles + stage * kStage + first * kHeadSize;
      uint32_t kept[kM];  // drawn before the products, which need all registers
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        kept[m] = Drops ? keptByKey<kN>(dropout, numberOf(head, row), key + 16 * m) : 0;
      }
      float p[kM][kN][4], dp[kM][kN][4];
      multiplyTransposed<kHeadSize>(p, keyRows, queries);
      if (!seen.all(row, row + there - 1, key, Tile::kWarpRows)) maskQueries(p, seen, row, key);
      multiplyTransposed<kHeadSize>(dp, valueRows, douts);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int n = 0; n < kN; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float factor = !Drops || (kept[m] >> (4 * n + i) & 1u) != 0 ? left : 0.0f;
            softmaxGradient(&p[m][n][i], &dp[m][n][i], factor, scale, rows[8 * n + 2 * (lane % 4) + i % 2]);
          }
        }
      }
      multiplyRounded<kHeadSize>(dv, p, douts, firstColumn / 8);
      multiplyRounded<kHeadSize>(dk, dp, queries, firstColumn / 8);
    }
    waitForCopies<0>();
    __syncthreads();  // the next stage has landed, and no warp reads this one any more
  }

  // Through the warp's own rows of both tiles, which nobody needs any more, out in whole pieces.
  if (keys <= 0) return;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    placeRows<kHeadSize>(warpKeys + 16 * m * kHeadSize, 0, dk[m], size.scale, size.scale);
    placeRows<kHeadSize>(warpValues + 16 * m * kHeadSize, 0, dv[m], left, left);
  }
  __syncwarp();
  const int columns = min(size.headSize - firstColumn, kColumns);
  storeRows<kHeadSize>(arguments.dk.at(batch, shared) + key * arguments.dk.rowStride + firstColumn,
                       arguments.dk.rowStride, warpKeys, keys, columns, arguments.piecesOut);
  storeRows<kHeadSize>(arguments.dv.at(batch, shared) + key * arguments.dv.rowStride + firstColumn,
                       arguments.dv.rowStride, warpValues, keys, columns, arguments.piecesOut);
}

// dq of a block of rows: every key that they see comes by.
template <typename Tile, bool Drops>
__global__ void __launch_bounds__(Tile::kThreads) queryGradients(BackwardArguments<bf16> arguments) {
  constexpr int kHeadSize = Tile::kHeadSize, kStage = Tile::kStageElements, kM = Tile::kRowBlocks;
  constexpr int kKeys = Tile::kStreamed, kChunk = Tile::kChunk, kN = kChunk / 8;
  SN_DYNAMIC_SHARED(memory);
  auto *queryTile = reinterpret_cast<bf16 *>(memory);
  bf16 *doutTile = queryTile + Tile::kOwnElements, *keyTiles = doutTile + Tile::kOwnElements;
  bf16 *valueTiles = keyTiles + 2 * kStage;
  auto *firsts = reinterpret_cast<int *>(valueTiles + 2 * kStage);

  const auto &size = arguments.size;
  auto [batch, head, block] = arguments.order.turn(blockIdx.x);
  const int shared = head / size.group;
  const Sight sight = size.sight(batch);
  const int blockRow = block * Tile::kRows, blockEnd = min(blockRow + Tile::kRows, size.queries);
  const int firstKey = sight.first(blockRow) / kKeys * kKeys, lastKey = sight.last(blockEnd - 1);
  const int warpRow = static_cast<int>(threadIdx.x / kWarp) * Tile::kWarpRows, row = blockRow + warpRow;
  const int rows = min(Tile::kWarpRows, size.queries - row);  // of the warp, that there are
  bf16 *warpQueries = queryTile + warpRow * kHeadSize, *warpDouts = doutTile + warpRow * kHeadSize;

  auto copyKeys = [&](int key, int stage) {
    copyRows<kKeys, kHeadSize, Tile::kThreads>(keyTiles + stage * kStage, arguments.k.at(batch, shared),
                                               arguments.k.rowStride, key, size.keys, size.headSize,
                                               arguments.piecesIn);
    copyRows<kKeys, kHeadSize, Tile::kThreads>(valueTiles + stage * kStage, arguments.v.at(batch, shared),
                                               arguments.v.rowStride, key, size.keys, size.headSize,
                                               arguments.piecesIn);
  };
  copyRows<Tile::kRows, kHeadSize, Tile::kThreads>(queryTile, arguments.q.at(batch, head), arguments.q.rowStride,
                                                   blockRow, size.queries, size.headSize, arguments.piecesIn);
  copyRows<Tile::kRows, kHeadSize, Tile::kThreads>(doutTile, arguments.dout.at(batch, head), arguments.dout.rowStride,
                                                   blockRow, size.queries, size.headSize, arguments.piecesIn);
  if (firstKey < lastKey) copyKeys(firstKey, 0);
  commitCopies();
  if (threadIdx.x < Tile::kRows) firsts[threadIdx.x] = sight.first(blockRow + static_cast<int>(threadIdx.x));

  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t rowNumber = (static_cast<int64_t>(batch) * size.heads + head) * size.queries + row;
  RowNumbers numbers[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int own = 16 * m + 8 * half + lane / 4;
      numbers[m][half] = own < rows ? arguments.rows[rowNumber + own] : RowNumbers{};
    }
  }
  waitForCopies<0>();
  __syncthreads();

  auto queryRows = [&](uint32_t(&a)[4], int m, int step) {
    loadLeft<kHeadSize>(a, warpQueries + 16 * m * kHeadSize, step);
  };
  auto doutRows = [&](uint32_t(&a)[4], int m, int step) {
    loadLeft<kHeadSize>(a, warpDouts + 16 * m * kHeadSize, step);
  };
  const TileSight seen{sight, [=](int of) { return firsts[warpRow + of - row]; }};
  float dq[kM][kHeadSize / 8][4] = {};
  const float scale = size.scale * kLog2E, left = Drops ? 1.0f / (1.0f - arguments.dropout.p) : 1.0f;
  const auto dropout = Drops ? arguments.dropout.now() : ProbabilityDropout{};
#pragma unroll 1
  for (int tileKey = firstKey, stage = 0; tileKey < lastKey; tileKey += kKeys, stage ^= 1) {
    if (tileKey + kKeys < lastKey) copyKeys(tileKey + kKeys, stage ^ 1);
    commitCopies();
#pragma unroll 1
    for (int first = 0; first < kKeys; first += kChunk) {
      const int key = tileKey + first;
      if (rows <= 0 || seen.none(row, row + rows - 1, key, kChunk)) continue;
      const bf16 *keys = keyTiles + stage * kStage + first * kHeadSize;
      const bf16 *values = valueTiles + stage * kStage + first * kHeadSize;
      uint32_t kept[kM];
#pragma unroll
      for (int m = 0; m < kM; ++m) kept[m] = Drops ? keptByQuery<kN>(dropout, rowNumber + 16 * m, key) : 0;
      float p[kM][kN][4], dp[kM][kN][4];
      multiplyTransposed<kHeadSize>(p, queryRows, keys);
      if (!seen.all(row, row + rows - 1, key, kChunk)) maskKeys(p, seen, row, key);
      multiplyTransposed<kHeadSize>(dp, doutRows, values);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int n = 0; n < kN; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float factor = !Drops || (kept[m] >> (4 * n + i) & 1u) != 0 ? left : 0.0f;
            softmaxGradient(&p[m][n][i], &dp[m][n][i], factor, scale, numbers[m][i / 2]);
          }
        }
      }
      multiplyRounded<kHeadSize>(dq, dp, keys);
    }
    waitForCopies<0>();
    __syncthreads();  // the next stage has landed, and no warp reads this one any more
  }

  if (rows <= 0) return;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    placeRows<kHeadSize>(warpQueries + 16 * m * kHeadSize, 0, dq[m], size.scale, size.scale);
  }
  __syncwarp();
  storeRows<kHeadSize>(arguments.dq.at(batch, head) + row * arguments.dq.rowStride, arguments.dq.rowStride, warpQueries,
                       rows, size.headSize, arguments.piecesOut);
}

// The tiles of each size: as large as registers let them be without spilling (dropout takes some), and the 99 KB of
// shared memory that a block has on every GPU.
template <int HeadSize, bool Drops>
auto keyTileOf() {
  if constexpr (HeadSize == 32) return KeyGradientTile<GradientTile<HeadSize, 4, 1, 64, 32>, 1>{};
  if constexpr (HeadSize == 64) return KeyGradientTile<GradientTile<HeadSize, 4, 2, 64, Drops ? 16 : 32>, 1>{};
  if constexpr (HeadSize == 96 || HeadSize == 128) return KeyGradientTile<GradientTile<HeadSize, 8, 1, 32, 32>, 1>{};
  if constexpr (HeadSize == 256) return KeyGradientTile<GradientTile<HeadSize, 4, 1, 16, 16>, 2>{};
}

template <int HeadSize, bool Drops>
auto queryTileOf() {
  if constexpr (HeadSize == 32) return GradientTile<HeadSize, 4, 1, 64, 32>{};
  if constexpr (HeadSize == 64) return GradientTile<HeadSize, 4, 2, 64, 32>{};
  if constexpr (HeadSize == 96) return GradientTile < HeadSize, 4, 2, 32, Drops ? 16 : 32 > {};
  if constexpr (HeadSize == 128) return GradientTile<HeadSize, 4, 2, 32, 16>{};
  if constexpr (HeadSize == 256) return GradientTile<HeadSize, 4, 1, 16, 16>{};
}

template <int HeadSize, bool Drops>
cudaError_t launchTiles(const sn_stream *stream, BackwardArguments<bf16> arguments) {
  using KeyTile = decltype(keyTileOf<HeadSize, Drops>());
  using QueryTile = QueryGradientTile<decltype(queryTileOf<HeadSize, Drops>())>;
  const auto &size = arguments.size;
  const Device &device = deviceOf(stream);
  int64_t rowBytes = size.headSize * 2 * static_cast<int64_t>(sizeof(bf16));
  // A key is seen from its own row on: the first keys by most.
  arguments.order = Order::of(device, size.batch, size.heads / size.group * KeyTile::kParts, size.keys, KeyTile::kRows,
                              size.queries * rowBytes * size.group, false);
  cudaError_t error = launch(keyGradients<KeyTile, Drops>, dim3(static_cast<unsigned>(arguments.order.count())),
                             dim3(KeyTile::kThreads), KeyTile::kSharedBytes, handleOf(stream), arguments);
  if (error != cudaSuccess) return error;
  arguments.order =
      Order::of(device, size.batch, size.heads, size.queries, QueryTile::kRows, size.keys * rowBytes, size.causal);
  return launch(queryGradients<QueryTile, Drops>, dim3(static_cast<unsigned>(arguments.order.count())),
                dim3(QueryTile::kThreads), QueryTile::kSharedBytes, handleOf(stream), arguments);
}

template <typename T>
cudaError_t launchRows(const sn_stream *stream, const BackwardArguments<T> &arguments) {
  const auto &size = arguments.size;
  int64_t rows = static_cast<int64_t>(size.batch) * size.heads * size.queries;
  return launch(prepareRows<T>, dim3(static_cast<unsigned>((rows + kRowWarps - 1) / kRowWarps)),
                dim3(kRowWarps * kWarp), 0, handleOf(stream), arguments);
}

}  // namespace

cudaError_t launchBackward(const sn_stream *stream, BackwardArguments<bf16> arguments) {
  return withHeadSize<32, 64, 96, 128, 256>(arguments.size.headSize, [&](auto headSize) {
    return withFlag(arguments.dropout.p > 0, [&](auto drops) {
      return launchTiles<decltype(headSize)::value, decltype(drops)::value>(stream, arguments);
    });
  });
}

sn_status attention_backward_workspace(const sn_device *device, const sn_attention_shape *shape, int64_t *bytes) {
  const auto &s = *shape;
  sn_status status = checkAttentionSize(s.batch, s.queries, s.keys, s.heads, "attention_backward_workspace");
  if (status != SN_OK) return status;
  *bytes = s.batch * s.heads * s.queries * static_cast<int64_t>(sizeof(RowNumbers));
  if (!deviceOf(device).hopper || s.dtype != SN_BF16) return SN_OK;
  // Addresses may not suit; what they then take is less.
  BackwardArguments<bf16> arguments{};
  arguments.size = sizeOf(s);
  arguments.dropout.p = s.dropout;
  arguments.piecesIn = true;
  if (suitsWarpgroups(arguments)) *bytes = std::max(*bytes, warpgroupBackwardBytes(deviceOf(device), arguments.size));
  return SN_OK;
}

sn_status attention_backward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                             const void *v, const void *out, const float *lse, const void *dout, void *dq, void *dk,
                             void *dv, void *workspace) {
  const auto &s = *shape;
  sn_status status = checkAttentionSize(s.batch, s.queries, s.keys, s.heads, "attention_backward");
  if (status != SN_OK) return status;
  return withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    auto queryRows = [&](auto *data) { return Heads{data, s.queries * s.q_stride, s.head_size, s.q_stride}; };
    auto keyRows = [&](auto *data) { return Heads{data, s.keys * s.k_stride, s.head_size, s.k_stride}; };
    auto valueRows = [&](auto *data) { return Heads{data, s.keys * s.v_stride, s.head_size, s.v_stride}; };
    auto outRows = [&](auto *data) { return Heads{data, s.queries * s.out_stride, s.head_size, s.out_stride}; };
    BackwardArguments<T> arguments{};
    arguments.size = sizeOf(s);
    arguments.q = queryRows(static_cast<const T *>(q));
    arguments.k = keyRows(static_cast<const T *>(k));
    arguments.v = valueRows(static_cast<const T *>(v));
    arguments.out = outRows(static_cast<const T *>(out));
    arguments.dout = outRows(static_cast<const T *>(dout));
    arguments.dq = queryRows(static_cast<T *>(dq));
    arguments.dk = keyRows(static_cast<T *>(dk));
    arguments.dv = valueRows(static_cast<T *>(dv));
    arguments.lse = lse;
    arguments.rows = static_cast<RowNumbers *>(workspace);
    arguments.dropout = {s.dropout, s.key, s.keys};
    arguments.piecesIn = arguments.q.inPieces(s.head_size) && arguments.k.inPieces(s.head_size) &&
                         arguments.v.inPieces(s.head_size) && arguments.dout.inPieces(s.head_size);
    arguments.piecesOut =
        arguments.dq.inPieces(s.head_size) && arguments.dk.inPieces(s.head_size) && arguments.dv.inPieces(s.head_size);
    if constexpr (std::is_same_v<T, bf16>) {
      if (deviceOf(stream).hopper && suitsWarpgroups(arguments)) {
        return check(launchBackwardWarpgroups(stream, arguments, workspace), "attention_backward");
      }
    }
    cudaError_t error = launchRows(stream, arguments);
    return check(error != cudaSuccess ? error : launchBackward(stream, arguments), "attention_backward");
  });
}

}  // namespace sn::cuda
