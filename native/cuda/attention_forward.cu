// attention_forward.cu: attention without the queries x keys matrix (Dao 2023, algorithm 1), in bf16 on mma.sync.
//
// One block owns a block of rows of one head; each warp owns 16 or 32 of them, so no warp waits for another's softmax.
// Keys and values stream through a ring of two stages: while one is worked on, the next is copied, and one barrier a
// tile is enough. 32 rows a warp halve what is read from shared memory for each product. Tiles that a warp's rows do
// not see are skipped, and only those that they see in part are masked. The rows that see most keys start first.
#include "cuda/attention_tiles.cuh"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

template <int HeadSize, int Warps, int RowBlocks, int Keys>
struct ForwardTile {
  static constexpr int kHeadSize = HeadSize;
  static constexpr int kThreads = Warps * kWarp;
  static constexpr int kRowBlocks = RowBlocks;  // of 16 rows, a warp
  static constexpr int kWarpRows = 16 * RowBlocks;
  static constexpr int kRows = Warps * kWarpRows;
  static constexpr int kKeys = Keys;
  static constexpr int kSteps = HeadSize / 16;
  // The queries' fragments stay in registers where they are few; else each tile of keys reads them again.
  static constexpr bool kHoldQueries = RowBlocks * kSteps <= 8;
  static constexpr int kQueryElements = kRows * HeadSize;
  static constexpr int kStageElements = Keys * HeadSize;
  static constexpr size_t kSharedBytes = (kQueryElements + 4 * kStageElements) * sizeof(bf16) + kRows * sizeof(int);
  static_assert(kRows <= kThreads);
  static_assert(kSharedBytes <= (227u << 10));
};

// The softmax of a warp's rows while their keys pass by (Milakov and Gimelshein 2018). A lane has two rows of each 16:
// l / 4 and 8 more.
template <int M>
struct OnlineSoftmax {
  float most[M][2];   // of the scores so far, in base 2
  float total[M][2];  // of the lane's own columns

  __device__ OnlineSoftmax() {
#pragma unroll
    for (int m = 0; m < M; ++m) {
      most[m][0] = most[m][1] = -INFINITY;
      total[m][0] = total[m][1] = 0;
    }
  }

  // Turns scores into powers below the new maximum, and shrinks `sums` from the old one to it.
  template <int N, int Columns>
  __device__ __forceinline__ void update(float (&scores)[M][N][4], float scale, float (&sums)[M][Columns][4]) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float highest = -INFINITY;
#pragma unroll
        for (int n = 0; n < N; ++n) {
          highest = fmaxf(highest, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
        }
        highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
        float next = fmaxf(most[m][half], highest * scale);
        float base = next == -INFINITY ? 0.0f : next;  // a row that has seen nothing yet
        float shrink = fastExp2(most[m][half] - base), own = 0;
        most[m][half] = next;
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            scores[m][n][i] = fastExp2(fmaf(scores[m][n][i], scale, -base));
            own += scores[m][n][i];
          }
        }
        total[m][half] = fmaf(total[m][half], shrink, own);
#pragma unroll
        for (int n = 0; n < Columns; ++n) {
          sums[m][n][2 * half] *= shrink;
          sums[m][n][2 * half + 1] *= shrink;
        }
      }
    }
  }

  // The sums over whole rows.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (float &sum : total[m]) {
        sum += __shfl_xor_sync(kAllLanes, sum, 1);
        sum += __shfl_xor_sync(kAllLanes, sum, 2);
      }
    }
  }
};

template <typename Tile, bool Drops>
__global__ void __launch_bounds__(Tile::kThreads) attend(ForwardArguments<bf16> arguments) {
  constexpr int kHeadSize = Tile::kHeadSize, kKeys = Tile::kKeys, kStage = Tile::kStageElements, kM = Tile::kRowBlocks;
  SN_DYNAMIC_SHARED(memory);
  auto *queryTile = reinterpret_cast<bf16 *>(memory);
  bf16 *keyTiles = queryTile + Tile::kQueryElements, *valueTiles = keyTiles + 2 * kStage;
  auto *firsts = reinterpret_cast<int *>(valueTiles + 2 * kStage);

  const auto &size = arguments.size;
  auto [batch, head, block] = arguments.order.turn(blockIdx.x);
  if (size.cached && !size.cache.fits(batch)) {
    if (head == 0 && block == 0 && threadIdx.x == 0) size.cache.note(batch);
    return;
  }
  const Sight sight = size.sight(batch);
  const bf16 *keys = arguments.k.at(batch, head / size.group), *values = arguments.v.at(batch, head / size.group);
  const int blockRow = block * Tile::kRows, blockEnd = min(blockRow + Tile::kRows, size.queries);
  const int firstKey = sight.first(blockRow) / kKeys * kKeys, lastKey = sight.last(blockEnd - 1);

  const int warpRow = static_cast<int>(threadIdx.x / kWarp) * Tile::kWarpRows, row = blockRow + warpRow;
  const int rows = min(Tile::kWarpRows, size.queries - row);  // of the warp, that there are
  bf16 *warpQueries = queryTile + warpRow * kHeadSize;

  auto copyKeys = [&](int key, int stage) {
    copyRows<kKeys, kHeadSize, Tile::kThreads>(keyTiles + stage * kStage, keys, arguments.k.rowStride, key, sight.keys,
                                               size.headSize, arguments.piecesIn);
    copyRows<kKeys, kHeadSize, Tile::kThreads>(valueTiles + stage * kStage, values, arguments.v.rowStride, key,
                                               sight.keys, size.headSize, arguments.piecesIn);
  };
  copyRows<Tile::kRows, kHeadSize, Tile::kThreads>(queryTile, arguments.q.at(batch, head), arguments.q.rowStride,
                                                   blockRow, size.queries, size.headSize, arguments.piecesIn);
  if (firstKey < lastKey) copyKeys(firstKey, 0);
  commitCopies();
  if (threadIdx.x < Tile::kRows) firsts[threadIdx.x] = sight.first(blockRow + static_cast<int>(threadIdx.x));
  waitForCopies<0>();
  __syncthreads();

  uint32_t held[kM][Tile::kHoldQueries ? Tile::kSteps : 1][4];
  auto query = [&](uint32_t(&a)[4], int m, int step) {
    if constexpr (Tile::kHoldQueries) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = held[m][step][i];
    } else {
      loadLeft<kHeadSize>(a, warpQueries + 16 * m * kHeadSize, step);
    }
  };
  if constexpr (Tile::kHoldQueries) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int step = 0; step < Tile::kSteps; ++step) {
        loadLeft<kHeadSize>(held[m][step], warpQueries + 16 * m * kHeadSize, step);
      }
    }
  }

  const TileSight seen{sight, [=](int of) { return firsts[of - blockRow]; }};
  float sums[kM][kHeadSize / 8][4] = {};
  OnlineSoftmax<kM> softmax;
  const float scale = size.scale * kLog2E;
  const auto dropout = Drops ? arguments.dropout.now() : ProbabilityDropout{};
  const int64_t rowNumber = (static_cast<int64_t>(batch) * size.heads + head) * size.queries + row;
#pragma unroll 1
  for (int key = firstKey, stage = 0; key < lastKey; key += kKeys, stage ^= 1) {
    if (key + kKeys < lastKey) copyKeys(key + kKeys, stage ^ 1);
    commitCopies();
    if (rows > 0 && !seen.none(row, row + rows - 1, key, kKeys)) {
      float scores[kM][kKeys / 8][4];
      multiplyTransposed<kHeadSize>(scores, query, keyTiles + stage * kStage);
      if (!seen.all(row, row + rows - 1, key, kKeys)) maskKeys(scores, seen, row, key);
      softmax.update(scores, scale, sums);
      if constexpr (Drops) drop(scores, dropout, rowNumber, key);
      multiplyRounded<kHeadSize>(sums, scores, valueTiles + stage * kStage);
    }
    waitForCopies<0>();
    __syncthreads();  // the next stage has landed, and no warp reads this one any more
  }

  softmax.finish();
  if (rows <= 0) return;
  __syncwarp();  // where there were no keys, no barrier has come since all lanes read the queries
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = softmax.total[m][half];
      bool blind = total == 0;
      factor[half] = blind ? 0.0f : 1.0f / (total * (Drops ? 1.0f - arguments.dropout.p : 1.0f));
      int own = 16 * m + 8 * half + lane / 4;
      if (arguments.lse != nullptr && lane % 4 == 0 && own < rows) {
        arguments.lse[rowNumber + own] = blind ? -INFINITY : (softmax.most[m][half] + log2f(total)) * kLn2;
      }
    }
    // Through the warp's own rows of the query tile, which nobody needs any more, out in whole pieces.
    placeRows<kHeadSize>(warpQueries + 16 * m * kHeadSize, 0, sums[m], factor[0], factor[1]);
  }
  __syncwarp();
  storeRows<kHeadSize>(arguments.out.at(batch, head) + row * arguments.out.rowStride, arguments.out.rowStride,
                       warpQueries, rows, size.headSize, arguments.piecesOut);
}

template <typename Tile>
cudaError_t launchTile(const sn_stream *stream, ForwardArguments<bf16> arguments) {
  const auto &size = arguments.size;
  int64_t bytes = static_cast<int64_t>(size.keys) * size.headSize * 2 * static_cast<int64_t>(sizeof(bf16));
  arguments.order = Order::of(deviceOf(stream), size.batch, size.heads, size.queries, Tile::kRows, bytes, size.causal);
  return withFlag(arguments.dropout.p > 0, [&](auto drops) {
    return launch(attend<Tile, decltype(drops)::value>, dim3(static_cast<unsigned>(arguments.order.count())),
                  dim3(Tile::kThreads), Tile::kSharedBytes, handleOf(stream), arguments);
  });
}

// The tile of each size: as large as registers let it be without spilling, and shared memory (99 KB on small GPUs).
template <int HeadSize, bool Large>
auto tileOf() {
  if constexpr (HeadSize == 32) return ForwardTile<HeadSize, 4, 1, 64>{};
  if constexpr (HeadSize == 64) return ForwardTile<HeadSize, 4, 2, 64>{};
  if constexpr (HeadSize == 96 || HeadSize == 128) return ForwardTile<HeadSize, 4, 2, 32>{};
  if constexpr (HeadSize == 256) return ForwardTile < HeadSize, Large ? 8 : 4, 1, 32 > {};
}

}  // namespace

cudaError_t launchForward(const sn_stream *stream, ForwardArguments<bf16> arguments) {
  if (deviceOf(stream).hopper && suitsWarpgroups(arguments)) return launchForwardWarpgroups(stream, arguments);
  return withHeadSize<32, 64, 96, 128, 256>(arguments.size.headSize, [&](auto headSize) {
    using Large = decltype(tileOf<decltype(headSize)::value, true>());
    using Small = decltype(tileOf<decltype(headSize)::value, false>());
    bool fits = deviceOf(stream).sharedBytes >= Large::kSharedBytes;
    return fits ? launchTile<Large>(stream, arguments) : launchTile<Small>(stream, arguments);
  });
}

sn_status checkAttentionSize(int64_t batch, int64_t queries, int64_t keys, int64_t heads, const char *operation) {
  int64_t blocks = (queries + 15) / 16;  // at most: of the smallest tile
  bool fits =
      queries <= kMostRows && keys <= kMostRows && batch * heads <= kMostRows && batch * heads * blocks < INT32_MAX;
  if (fits) return SN_OK;
  return fail(SN_UNSUPPORTED, "%s: batch %lld, heads %lld, queries %lld, keys %lld are more than a GPU's grid holds",
              operation, static_cast<long long>(batch), static_cast<long long>(heads), static_cast<long long>(queries),
              static_cast<long long>(keys));
}

sn_status attention_forward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                            const void *v, void *out, float *lse) {
  const auto &s = *shape;
  if (sn_status status = checkAttentionSize(s.batch, s.queries, s.keys, s.heads, "attention_forward");
      status != SN_OK) {
    return status;
  }
  return withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    ForwardArguments<T> arguments{};
    arguments.size = sizeOf(s);
    arguments.q = {static_cast<const T *>(q), s.queries * s.q_stride, s.head_size, s.q_stride};
    arguments.k = {static_cast<const T *>(k), s.keys * s.k_stride, s.head_size, s.k_stride};
    arguments.v = {static_cast<const T *>(v), s.keys * s.v_stride, s.head_size, s.v_stride};
    arguments.out = {static_cast<T *>(out), s.queries * s.out_stride, s.head_size, s.out_stride};
    arguments.lse = lse;
    arguments.dropout = {s.dropout, s.key, s.keys};
    arguments.piecesIn =
        arguments.q.inPieces(s.head_size) && arguments.k.inPieces(s.head_size) && arguments.v.inPieces(s.head_size);
    arguments.piecesOut = arguments.out.inPieces(s.head_size);
    return check(launchForward(stream, arguments), "attention_forward");
  });
}

}  // namespace sn::cuda
