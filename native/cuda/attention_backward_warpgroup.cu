// attention_backward_warpgroup.cu: dq, dk and dv from the saved log-sum-exp of each row (Dao 2023, algorithm 2), in
// bf16 for sm_90a: all five products in one kernel.
//
// A thread block owns a share of the keys of one head, 128 at a time, and every row that sees them comes by. Each of
// its two consuming warpgroups has 64 keys. Scores are computed with keys as rows, so that probabilities and their
// gradients are left operands of dv += p^T dout and dk += ds^T q straight from registers. For dq = ds k all keys are
// summed: the gradients of both warpgroups go to shared memory, and each computes a half of the tile of dq and adds it
// to the sums of the share.
//
// A warp of a third warpgroup orders all copies. With each tile comes what is to be done about it, so that neither
// masks nor places of rows take registers of the consumers.
//
// Tensor cores shall not wait for exponentials: behind the products of one tile those of the next are asked for, and
// the warpgroups need not be at the same place: one waits for the other only for its gradients, which lie in two
// buffers.
#include "cuda/attention_backward_warpgroup.cuh"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

// What is to be done about a tile.
struct alignas(16) BackwardStep {
  enum Flags { kMasked = 1, kFresh = 2, kBlind = 4, kLastOfKeys = 8, kLast = 16 };

  unsigned tile;  // of the sums
  int key;        // the first of the block
  int flags;

  __device__ bool has(Flags flag) const { return (flags & flag) != 0; }
};

template <int HeadSize>
struct WarpgroupBackwardTile : BackwardShape<HeadSize> {
  using Shape = BackwardShape<HeadSize>;
  using Shape::kKeys, Shape::kRows;
  static constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
  static constexpr int kConsumerRegisters = 240, kProducerRegisters = 24;
  static constexpr uint32_t kKeyBytes = kKeys * HeadSize * sizeof(bf16), kRowBytes = kRows * HeadSize * sizeof(bf16);

  struct Shared {
    bf16 keys[2][kKeys * HeadSize];
    bf16 values[kKeys * HeadSize];
    bf16 queries[2][kRows * HeadSize], douts[2][kRows * HeadSize];
    bf16 gradients[2][kKeys * kRows];  // ds, keys as rows
    float parts[kConsumerWarps][kPartFloats];
    RowPair pairs[2][kRows / 2];
    RowLimits limits[2][kRows];
    BackwardStep steps[2];
    // By stage. Keys come with the queries of their first tile, values with its douts.
    Mbarrier queriesFull[2], queriesFree[2], doutsFull[2], doutsFree[2], gradientsFull[2], keysFree[2], valuesFree;
  };
  static constexpr size_t kSharedBytes = sizeof(Shared);
  static_assert(kSharedBytes <= (227u << 10) && offsetof(Shared, pairs) % 1024 == 0);
};

namespace {

struct BackwardMaps {
  TensorMap q, k, v, dout;
};

#if SN_HOPPER

// ---- the producer

// Tiles first .. end, of those that see any of a block of keys.
struct TileRange {
  int first, end;
};

template <typename Tile>
__device__ __forceinline__ TileRange tilesOf(const WarpgroupBackward &work, const RowLimits *limits, const Sight &sight,
                                             int key) {
  if (key >= sight.keys) return {0, 0};
  int first = sight.firstRow(key) / Tile::kRows;
  if (sight.window == 0 && sight.starts == nullptr) return {first, work.tiles};
  for (int end = first;; end += kWarp) {
    int tile = end + static_cast<int>(threadIdx.x % kWarp);
    bool seen = tile < work.tiles && limits[tile * Tile::kRows].first < key + Tile::kKeys;
    unsigned all = __ballot_sync(kAllLanes, seen);
    if (all != kAllLanes) return {first, end + __popc(all)};
  }
}

// One warp, of which one lane orders.
template <typename Tile>
__device__ __forceinline__ void produce(typename Tile::Shared &shared, const BackwardMaps &maps,
                                        const WarpgroupBackward &work, int share, int batch, int keyHead) {
  const auto &size = work.size;
  const Sight sight = size.sight(batch);
  const RowLimits *limits = work.limits + static_cast<int64_t>(batch) * work.paddedRows;
  bool orders = threadIdx.x % kWarp == 0;
  if (orders) {
    for (const TensorMap *map : {&maps.q, &maps.k, &maps.v, &maps.dout}) prefetchMap(map);
  }
  int use = 0, seenBefore = 0;  // tiles that blocks before this one have added to
#pragma unroll 1
  for (int turn = 0; work.shares.block(share, turn) < work.shares.blocks; ++turn) {
    int key = work.shares.block(share, turn) * Tile::kKeys;
    bool lastKeys = work.shares.block(share, turn + 1) >= work.shares.blocks;
    TileRange range = tilesOf<Tile>(work, limits, sight, key);
    // Keys that nobody sees have a tile too, whose probabilities are all masked: so their gradients become zeros.
    bool blind = range.first >= range.end;
    int tiles = blind ? 1 : range.end - range.first, count = blind ? 1 : tiles * size.group;
#pragma unroll 1
    for (int i = 0; i < count; ++i, ++use) {
      // There and back again: the sums that were added to last are still in the second-level cache.
      int place = turn % 2 == 0 ? i : count - 1 - i, tile = range.first + place % tiles, row = tile * Tile::kRows;
      int head = keyHead * size.group + place / tiles, headNumber = batch * size.heads + head;
      int stage = use % 2;
      uint32_t parity = (use / 2 % 2) ^ 1;
      waitForPhase(&shared.queriesFree[stage], parity);
      if (i == 0) waitForPhase(&shared.keysFree[turn % 2], (turn / 2 % 2) ^ 1);
      if (orders) {
        int lastRow = min(row + Tile::kRows, size.queries) - 1;
        bool masked = blind || limits[row].last < key + Tile::kKeys || limits[lastRow].first > key;
        int flags = (masked ? BackwardStep::kMasked : 0) | (tile >= seenBefore ? BackwardStep::kFresh : 0) |
                    (blind ? BackwardStep::kBlind : 0) | (i == count - 1 ? BackwardStep::kLastOfKeys : 0) |
                    (i == count - 1 && lastKeys ? BackwardStep::kLast : 0);
        shared.steps[stage] = BackwardStep{work.tileOf(share, headNumber, tile), key, flags};
        constexpr uint32_t kPairBytes = sizeof shared.pairs[0], kLimitBytes = sizeof shared.limits[0];
        Mbarrier *full = &shared.queriesFull[stage];
        arriveExpecting(full, Tile::kRowBytes + kPairBytes + kLimitBytes + (i == 0 ? Tile::kKeyBytes : 0));
        if (i == 0) loadRows<Tile::kKeys, Tile::kHeadSize>(shared.keys[turn % 2], &maps.k, key, keyHead, batch, full);
        loadRows<Tile::kRows, Tile::kHeadSize>(shared.queries[stage], &maps.q, row, head, batch, full);
        int64_t pair = (static_cast<int64_t>(headNumber) * work.paddedRows + row) / 2;
        loadBulk(shared.pairs[stage], work.pairs + pair, kPairBytes, full);
        loadBulk(shared.limits[stage], limits + row, kLimitBytes, full);
      }
      waitForPhase(&shared.doutsFree[stage], parity);
      if (i == 0) waitForPhase(&shared.valuesFree, (turn % 2) ^ 1);
      if (orders) {
        Mbarrier *full = &shared.doutsFull[stage];
        arriveExpecting(full, Tile::kRowBytes + (i == 0 ? Tile::kKeyBytes : 0));
        if (i == 0) loadRows<Tile::kKeys, Tile::kHeadSize>(shared.values, &maps.v, key, keyHead, batch, full);
        loadRows<Tile::kRows, Tile::kHeadSize>(shared.douts[stage], &maps.dout, row, head, batch, full);
      }
    }
    if (!blind) seenBefore = max(seenBefore, range.end);
  }
  releaseNextGrid();
}

// ---- the consumers

// From scores to probabilities. Columns are rows of the tile, whose numbers are `pairs` and `limits`; `key`: the first
// of the thread's two, the other is 8 further.
template <bool Masked, int Count>
__device__ __forceinline__ void findProbabilities(float (&scores)[Count], const RowPair *pairs, const RowLimits *limits,
                                                  int key, float scale) {
  int place = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int n = 0; n < Count / 4; ++n) {
    float2 lse = *reinterpret_cast<const float2 *>(pairs[4 * n + place].lse);
    int4 seen;
    if constexpr (Masked) seen = *reinterpret_cast<const int4 *>(limits + 8 * n + 2 * place);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float p = fastExp2(fmaf(scores[4 * n + i], scale, i % 2 == 0 ? -lse.x : -lse.y));
      if constexpr (Masked) {
        int own = key + i / 2 * 8;
        bool sees = i % 2 == 0 ? own >= seen.x && own < seen.y : own >= seen.z && own < seen.w;
        if (!sees) p = 0;
      }
      scores[4 * n + i] = p;
    }
  }
}

// From products dout v^T and probabilities to the gradients of scores.
template <int Count>
__device__ __forceinline__ void findGradients(float (&products)[Count], const float (&probabilities)[Count],
                                              const RowPair *pairs) {
  int place = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int n = 0; n < Count / 4; ++n) {
    float2 sum = *reinterpret_cast<const float2 *>(pairs[4 * n + place].sum);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      products[4 * n + i] = probabilities[4 * n + i] * (products[4 * n + i] - (i % 2 == 0 ? sum.x : sum.y));
    }
  }
}

// Writes a warp's 16 keys of ds, to be the transposed left operand: 64 rows side by side, the next 64 in a box of their
// own.
template <int Keys, int Rows>
__device__ __forceinline__ void storeGradients(bf16 *tile, const uint32_t (&gradients)[Rows / 16][4]) {
  int lane = static_cast<int>(threadIdx.x % kWarp), key = static_cast<int>(threadIdx.x / kWarp) * 16 + lane % 16;
#pragma unroll
  for (int step = 0; step < Rows / 16; ++step) {
    int piece = (2 * step % 8 + lane / 16) ^ (key % 8);
    storeMatrix4(tile + step / 4 * Keys * kBoxColumns + key * kBoxColumns + 8 * piece, gradients[step]);
  }
}

// Writes a warp's 16 rows of dk or dv, through shared memory of its own.
template <int HeadSize>
__device__ __forceinline__ void storeKeyGradient(const Heads<bf16> &target, const float (&sums)[HeadSize / 2],
                                                 float factor, bf16 *rows, const AttentionSize &size, int batch,
                                                 int head, int key, bool inPieces) {
  placeWarpRows<HeadSize>(rows, sums, factor);
  __syncwarp();
  storeRows<HeadSize>(target.at(batch, head) + key * target.rowStride, target.rowStride, rows, min(16, size.keys - key),
                      size.headSize, inPieces);
  __syncwarp();
}

// A warpgroup's half of a tile of dq = ds k.
template <typename Tile>
__device__ __forceinline__ void multiplyKeys(float (&sums)[32], const bf16 *gradients, const bf16 *keys, int group) {
  const int half = group * Tile::kKeys * kBoxColumns;
  uint64_t a = describeOuter(gradients + (Tile::kHalfOfRows ? half : 0), 0);
  uint64_t b = describeOuter(keys + (Tile::kHalfOfRows ? 0 : half), 0);
#pragma unroll
  for (int step = 0; step < Tile::kKeys / 16; ++step) {
    multiplyWarpgroup<kBoxColumns, Major::outer, Major::outer>(sums, advance<Major::outer>(a, step),
                                                               advance<Major::outer>(b, step), step > 0);
  }
}

// Adds a warp's part of a tile of dq to the share's sums, or makes it the first of them.
__device__ __forceinline__ void addPart(float *target, float *part, const float (&sums)[32], bool fresh) {
  constexpr auto kBytes = static_cast<uint32_t>(kPartFloats * sizeof(float));
  int lane = static_cast<int>(threadIdx.x % kWarp);
  // What the warp added before, maybe to the same place, has landed: so additions keep their order.
  if (lane == 0) waitForStores<0>();
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    reinterpret_cast<float4 *>(part)[kWarp * i + lane] =
        make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
  }
  fenceAsyncProxy();
  __syncwarp();
  if (lane != 0) return;
  if (fresh) {
    storeBulk(target, part, kBytes);
  } else {
    addBulk(target, part, kBytes);
  }
  commitStores();
}

template <typename Tile>
__device__ __forceinline__ void consume(typename Tile::Shared &shared, const WarpgroupBackward &work,
                                        const Gradients &to, int batch, int keyHead) {
  constexpr int kKeys = Tile::kKeys, kRows = Tile::kRows, kHeadSize = Tile::kHeadSize;
  // Known to be the same in the whole warp.
  const int warp = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / kWarp), 0), group = warp / 4;
  const int lane = static_cast<int>(threadIdx.x % kWarp), groupRows = group * kGroupRows * kBoxColumns;
  const float scale = work.size.scale * kLog2E;
  float *part = shared.parts[warp];
  // One lane speaks for the warp.
  auto release = [&](Mbarrier *barrier) {
    __syncwarp();
    if (lane == 0) arrive(barrier);
  };
  float scores[kRows / 2], keySums[kHeadSize / 2], valueSums[kHeadSize / 2];  // of dk and dv
  bool add = false;                                                           // to sums of tiles before
  int keyStage = 0;
  auto askForScores = [&](int use) {
    waitForPhase(&shared.queriesFull[use % 2], use / 2 % 2);
    fenceWarpgroup();
    multiplyTransposed<kHeadSize, kKeys, kRows>(scores, shared.keys[keyStage] + groupRows, shared.queries[use % 2]);
    commitProducts();
  };

  askForScores(0);
#pragma unroll 1
  for (int use = 0;; ++use) {
    const int stage = use % 2;
    const uint32_t parity = use / 2 % 2;
    const BackwardStep step = shared.steps[stage];
    const int key = step.key + 16 * warp;
    float products[kRows / 2];
    waitForPhase(&shared.doutsFull[stage], parity);
    fenceWarpgroup();
    multiplyTransposed<kHeadSize, kKeys, kRows>(products, shared.values + groupRows, shared.douts[stage]);
    commitProducts();
    waitForProducts<1>();
    pinRegisters(scores);
    if (step.has(BackwardStep::kMasked)) {
      findProbabilities<true>(scores, shared.pairs[stage], shared.limits[stage], key + lane / 4, scale);
    } else {
      findProbabilities<false>(scores, shared.pairs[stage], shared.limits[stage], key + lane / 4, scale);
    }
    waitForProducts<0>();
    pinRegisters(products);
    if (step.has(BackwardStep::kLastOfKeys)) release(&shared.valuesFree);
    findGradients(products, scores, shared.pairs[stage]);
    uint32_t probabilities[kRows / 16][4], gradients[kRows / 16][4];
    packRows(probabilities, scores);
    packRows(gradients, products);
    storeGradients<kKeys, kRows>(shared.gradients[stage], gradients);
    fenceAsyncProxy();
    release(&shared.gradientsFull[stage]);

    fenceWarpgroup();
    multiplyRows<kHeadSize, kRows>(valueSums, probabilities, shared.douts[stage], add);
    commitProducts();
    multiplyRows<kHeadSize, kRows>(keySums, gradients, shared.queries[stage], add);
    commitProducts();
    // After the last tile there is none: it asks for what it had, for the compiler loses track of products that are
    // asked for under a condition.
    const int oldKeyStage = keyStage;
    if (step.has(BackwardStep::kLastOfKeys) && !step.has(BackwardStep::kLast)) keyStage ^= 1;
    askForScores(step.has(BackwardStep::kLast) ? use : use + 1);
    waitForPhase(&shared.gradientsFull[stage], parity);
    waitForProducts<2>();  // dv: its operand's registers are wanted
    release(&shared.doutsFree[stage]);
    float sums[32];
    fenceWarpgroup();
    multiplyKeys<Tile>(sums, shared.gradients[stage], shared.keys[oldKeyStage], group);
    commitProducts();
    waitForProducts<0>();
    pinRegisters(sums);
    release(&shared.queriesFree[stage]);

    if (!step.has(BackwardStep::kBlind)) {
      addPart(work.partOf(step.tile, warp), part, sums, step.has(BackwardStep::kFresh));
    }
    add = !step.has(BackwardStep::kLastOfKeys);
    if (add) continue;
    release(&shared.keysFree[oldKeyStage]);
    pinRegisters(keySums);
    pinRegisters(valueSums);
    if (lane == 0) waitForStores<0>();
    __syncwarp();
    auto *rows = reinterpret_cast<bf16 *>(part);
    storeKeyGradient<kHeadSize>(to.dv, valueSums, 1, rows, work.size, batch, keyHead, key, to.inPieces);
    storeKeyGradient<kHeadSize>(to.dk, keySums, work.size.scale, rows, work.size, batch, keyHead, key, to.inPieces);
    if (step.has(BackwardStep::kLast)) break;
  }

  // The sums of one share are all that there is.
  if (work.shares.count > 1) return;
  for (int own = 0; own < work.size.group; ++own) {
    for (int tile = 0; tile < work.tiles; ++tile) {
      finishPart<Tile>(work, to, batch, keyHead * work.size.group + own, tile, warp, reinterpret_cast<bf16 *>(part));
      __syncwarp();
    }
  }
}

#endif

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    backwardWarpgroups([[maybe_unused]] const __grid_constant__ BackwardMaps maps,
                       [[maybe_unused]] const __grid_constant__ WarpgroupBackward work,
                       [[maybe_unused]] const __grid_constant__ Gradients to) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  auto &shared = *reinterpret_cast<typename Tile::Shared *>(memory);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      initMbarrier(&shared.queriesFull[i], 1);
      initMbarrier(&shared.doutsFull[i], 1);
      initMbarrier(&shared.queriesFree[i], kConsumerWarps);
      initMbarrier(&shared.doutsFree[i], kConsumerWarps);
      initMbarrier(&shared.gradientsFull[i], kConsumerWarps);
      initMbarrier(&shared.keysFree[i], kConsumerWarps);
    }
    initMbarrier(&shared.valuesFree, kConsumerWarps);
    fenceMbarrierInit();
  }
  __syncthreads();
  waitForPriorGrid();
  const int keyHeads = work.size.heads / work.size.group, number = static_cast<int>(blockIdx.x);
  const int share = number % work.shares.count, head = number / work.shares.count;
  if (threadIdx.x >= kConsumers * kWarpgroup) {
    lowerRegisters<Tile::kProducerRegisters>();
    if (threadIdx.x < kConsumers * kWarpgroup + kWarp) {
      produce<Tile>(shared, maps, work, share, head / keyHeads, head % keyHeads);
    }
  } else {
    raiseRegisters<Tile::kConsumerRegisters>();
    consume<Tile>(shared, work, to, head / keyHeads, head % keyHeads);
  }
#endif
}

template <typename Tile>
cudaError_t launchTile(const sn_stream *stream, const BackwardArguments<bf16> &arguments,
                       const WarpgroupBackward &work) {
  const auto &size = work.size;
  const int keyHeads = size.heads / size.group;
  auto describe = [&](TensorMap *map, const auto &tensor, int heads, int rows, int boxRows) {
    return describeHeads(map, tensor, size.batch, heads, rows, size.headSize, boxRows);
  };
  BackwardMaps maps;
  if (cudaError_t error = describe(&maps.q, arguments.q, size.heads, size.queries, Tile::kRows)) return error;
  if (cudaError_t error = describe(&maps.dout, arguments.dout, size.heads, size.queries, Tile::kRows)) return error;
  if (cudaError_t error = describe(&maps.k, arguments.k, keyHeads, size.keys, Tile::kKeys)) return error;
  if (cudaError_t error = describe(&maps.v, arguments.v, keyHeads, size.keys, Tile::kKeys)) return error;

  const int64_t blocks = static_cast<int64_t>(size.batch) * keyHeads * work.shares.count;
  return launchOverlapping(backwardWarpgroups<Tile>, dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads),
                           Tile::kSharedBytes, handleOf(stream), maps, work, gradientsOf(arguments));
}

}  // namespace

cudaError_t launchBackwardShares(const sn_stream *stream, const BackwardArguments<bf16> &arguments,
                                 const WarpgroupBackward &work) {
  return work.size.headSize <= 64 ? launchTile<WarpgroupBackwardTile<64>>(stream, arguments, work)
                                  : launchTile<WarpgroupBackwardTile<128>>(stream, arguments, work);
}

}  // namespace sn::cuda
