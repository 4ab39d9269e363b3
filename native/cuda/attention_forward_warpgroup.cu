// attention_forward_warpgroup.cu: attention without the queries x keys matrix for sm_90a (Shah et al. 2024).
//
// Blocks stay on their multiprocessors and take tile after tile: rows of one head, 64 for each of two or three consumer
// warpgroups. Of the last warpgroup one warp finds out what there is to do and orders all loads, as far ahead as there
// is room, and one orders what leaves. So nothing but numbers is left to the consumers' registers.
//
// Tensor cores and exponentials each take about as long, and a warpgroup needs both by turns. Two things keep both
// busy. A warpgroup asks for the scores of its next block of keys before the sums of this one, also where the next
// block is another tile's, and does softmax while the sums are under way. And the warpgroups take turns to ask: all
// that one asks for runs while the others do softmax.
//
// Blocks of keys come from the last to the first. A warpgroup passes those that its rows do not see, and only those
// that they see in part go through code that masks. Where rows are no multiple of a tile's, it is the first tile that
// is short: where there is a causal mask that is the one with the least to do.
#include "cuda/attention_forward_warpgroup.cuh"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

namespace {

#if SN_HOPPER

// ---- loads and stores

// One lane of a warp orders all loads.
template <typename Tile>
__device__ __forceinline__ void loadTiles(const ForwardShared<Tile> &shared, const ForwardMaps &maps,
                                          const ForwardWork &work) {
  constexpr int kKeys = Tile::kKeys, kHeadSize = Tile::kHeadSize, kStageElements = Tile::kStageElements;
  using Queries = Ring<Tile::kQueryStages>;
  using Stages = Ring<Tile::kStages>;
  bool leads = threadIdx.x % kWarp == 0;
  int use = 0, cleared = 0;
#pragma unroll 1
  for (int turn = 0; tileNumber(turn) < work.tiles; ++turn) {
    const ForwardPart part = partOf<Tile>(work, tileNumber(turn));
    int stage = Queries::stage(turn), head = part.head / work.size.group;
    if (leads) {
      waitForPhase(shared.queriesFree + stage, Queries::parity(turn) ^ 1u);
      shared.parts[stage] = part;
      arriveExpecting(shared.queriesFull + stage, Tile::kQueryElements * sizeof(bf16));
      loadRows<Tile::kRows, kHeadSize>(shared.queries + stage * Tile::kQueryElements, &maps.q, part.row, part.head,
                                       part.batch, shared.queriesFull + stage);
    }
#pragma unroll 1
    for (int block = part.blocks - 1; block >= 0; --block, ++use) {
      int key = part.begin + block * kKeys;
      stage = Stages::stage(use);
      bf16 *values = shared.values + stage * kStageElements;
      // Whether there are rows in memory that are not the sequence's. They may hold anything, and a probability of 0
      // does not make a number of what is none.
      bool foreign = part.sight.keys < min(key + kKeys, work.size.keys);
      if (leads) {
        waitForPhase(shared.keysFree + stage, Stages::parity(use) ^ 1u);
        arriveExpecting(shared.keysFull + stage, kStageElements * sizeof(bf16));
        loadRows<kKeys, kHeadSize>(shared.keys + stage * kStageElements, &maps.k, key, head, part.batch,
                                   shared.keysFull + stage);
        Mbarrier *full = foreign ? shared.landed : shared.valuesFull + stage;
        waitForPhase(shared.valuesFree + stage, Stages::parity(use) ^ 1u);
        arriveExpecting(full, kStageElements * sizeof(bf16));
        loadRows<kKeys, kHeadSize>(values, &maps.v, key, head, part.batch, full);
      }
      if (!foreign) continue;
      __syncwarp();
      waitForPhase(shared.landed, cleared++ % 2);
      clearRows<kKeys, kHeadSize>(values, part.sight.keys - key);
      fenceAsyncProxy();
      __syncwarp();
      if (leads) arrive(shared.valuesFull + stage);
    }
  }
  releaseNextGrid();
}

// By one thread: results leave where their queries came.
template <typename Tile>
__device__ __forceinline__ void storeTiles(const ForwardShared<Tile> &shared, const ForwardMaps &maps,
                                           const ForwardWork &work) {
  using Queries = Ring<Tile::kQueryStages>;
#pragma unroll 1
  for (int turn = 0; tileNumber(turn) < work.tiles; ++turn) {
    int stage = Queries::stage(turn);
    waitForPhase(shared.resultsFull + stage, Queries::parity(turn));
    const ForwardPart &part = shared.parts[stage];
    if (part.fits) {
      storeRows<Tile::kRows, Tile::kHeadSize>(&maps.out, part.row, part.head, part.batch,
                                              shared.queries + stage * Tile::kQueryElements);
      commitStores();
      waitForStoreReads<0>();
    } else if (part.head == 0 && part.row + Tile::kRows == work.size.queries) {
      work.size.cache.note(part.batch);
    }
    arrive(shared.queriesFree + stage);
  }
}

// ---- the consumers

// One of the warpgroups: what it keeps from block to block, and what it does with one.
template <typename Tile>
struct Consumer {
  static constexpr int kKeys = Tile::kKeys, kStageElements = Tile::kStageElements;
  using Queries = Ring<Tile::kQueryStages>;
  using Stages = Ring<Tile::kStages>;
  using Scores = float[kKeys / 2];

  const ForwardShared<Tile> &shared;
  const ForwardWork &work;
  int group;
  int thread = static_cast<int>(threadIdx.x % kWarpgroup);
  float scale;  // of scores, in base 2

  int turn = 0;          // the tile
  int use = 0;           // of the ring's stages: by the next block
  KeyRange all, own[2];  // keys that all of its rows see, and that each of the thread's two rows sees

  RowSoftmax softmax;
  float sums[Tile::kHeadSize / 2];
  uint32_t powers[kKeys / 16][4];  // of the latest block, whose values have not been added yet
  int latest = 0;                  // that block's use of the ring
  int pending = -1;                // where it was its tile's last one: the stage of the tile's queries; else negative

  __device__ Consumer(const ForwardShared<Tile> &shared_, const ForwardWork &work_, int group_)
      : shared(shared_), work(work_), group(group_), scale(work_.size.scale * kLog2E) {}

  // Of the first of the thread's two rows, in the tile.
  __device__ __forceinline__ int row() const { return group * kGroupRows + thread / kWarp * 16 + thread % kWarp / 4; }
  // Its rows, in this tile or the one before.
  __device__ __forceinline__ bf16 *rowsOf(int stage) const {
    return shared.queries + stage * Tile::kQueryElements + group * kGroupRows * kBoxColumns;
  }

  __device__ __forceinline__ void clear() {
    softmax = {};
#pragma unroll
    for (float &sum : sums) sum = 0;
  }

  // ---- the warpgroups' turns

  __device__ __forceinline__ void take() const { syncNamed(1 + group, 2 * kWarpgroup); }
  __device__ __forceinline__ void pass() const {
    arriveNamed(group == Tile::kGroups - 1 ? 1 : 2 + group, 2 * kWarpgroup);
  }

  // ---- the ring: one thread frees a stage, once all of the warpgroup have met after they waited for it

  __device__ __forceinline__ void waitForKeys(int of) const {
    waitForPhase(shared.keysFull + Stages::stage(of), Stages::parity(of));
  }
  __device__ __forceinline__ void waitForValues(int of) const {
    waitForPhase(shared.valuesFull + Stages::stage(of), Stages::parity(of));
  }
  __device__ __forceinline__ void freeKeys(int of) const {
    if (thread == 0) arrive(shared.keysFree + Stages::stage(of));
  }
  __device__ __forceinline__ void freeValues(int of) const {
    if (thread == 0) arrive(shared.valuesFree + Stages::stage(of));
  }

  // ---- a block

  __device__ __forceinline__ void askForScores(Scores &scores) const {
    fenceWarpgroup();
    multiplyTransposed<Tile::kHeadSize, Tile::kRows, kKeys>(scores, rowsOf(Queries::stage(turn)),
                                                            shared.keys + Stages::stage(use) * kStageElements);
    commitProducts();
  }

  __device__ __forceinline__ void askForSums() {
    waitForValues(latest);
    pinRegisters(sums);
    fenceWarpgroup();
    multiplyRows<Tile::kHeadSize, kKeys>(sums, powers, shared.values + Stages::stage(latest) * kStageElements);
    commitProducts();
  }
  __device__ __forceinline__ void waitForSums() {
    waitForProducts<0>();
    pinRegisters(sums);
    freeValues(latest);
  }

  template <bool Masked>
  __device__ __forceinline__ void update(RowSoftmax &rows, Scores &scores, int block) const {
    int key = block * kKeys;
    if (Masked && key + kKeys > all.last) hideFrom(scores, {own[0].last - key, own[1].last - key});
    if (Masked && key < all.first) hideBefore(scores, {own[0].first - key, own[1].first - key});
    rows.template update<Masked>(scores, scale);
  }

  // One that none of the rows sees. The ring has room for it while the latest block's values have to stay, or has not.
  __device__ __forceinline__ void skip() {
    if (use - latest >= Tile::kStages) finishPending();
    waitForKeys(use);
    waitForValues(use);
    take();
    freeKeys(use);
    freeValues(use);
    pass();
    ++use;
  }

  // The first that they see; where a tile is pending, its last sums beside the scores.
  template <bool Pending>
  __device__ __forceinline__ void begin(int block) {
    Scores scores;
    RowSoftmax fresh;
    waitForKeys(use);
    take();
    askForScores(scores);
    if constexpr (Pending) askForSums();
    pass();
    waitForProducts<Pending ? 1 : 0>();
    pinRegisters(scores);
    freeKeys(use);
    update<true>(fresh, scores, block);
    if constexpr (Pending) {
      waitForSums();
      finish(pending);
    }
    clear();
    softmax = fresh;
    packRows(powers, scores);
    latest = use++;
  }

  template <bool Masked>
  __device__ __forceinline__ void next(int block) {
    Scores scores;
    waitForKeys(use);
    take();
    askForScores(scores);
    askForSums();
    pass();
    waitForProducts<1>();
    pinRegisters(scores);
    freeKeys(use);
    update<Masked>(softmax, scores, block);
    waitForSums();
    packRows(powers, scores);
    softmax.shrinkSums(sums);
    latest = use++;
  }

  // ---- a tile

  // Its results take the place of its queries, which nobody needs any more.
  __device__ __forceinline__ void finish(int stage) {
    const ForwardPart &part = shared.parts[stage];
    const auto &size = work.size;
    softmax.finish();
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int there = part.row + row() + 8 * half;
      factor[half] = softmax.blind(half) ? 0.0f : 1.0f / softmax.total[half];
      if (work.lse != nullptr && thread % 4 == 0 && there >= 0 && part.fits) {
        int64_t head = static_cast<int64_t>(part.batch) * size.heads + part.head;
        work.lse[head * size.queries + there] = softmax.lse(half);
      }
    }
    placeRows<Tile::kRows>(rowsOf(stage), sums, factor);
    fenceAsyncProxy();
    arrive(shared.resultsFull + stage);
  }

  __device__ __forceinline__ void finishPending() {
    if (pending < 0) return;
    askForSums();
    waitForSums();
    finish(pending);
    pending = -1;
  }

  __device__ __forceinline__ void attend() {
    int stage = Queries::stage(turn);
    waitForPhase(shared.queriesFull + stage, Queries::parity(turn));
    const ForwardPart part = shared.parts[stage];
    int from = part.row + group * kGroupRows;
    KeyRange upper = keysOf(part, max(from, 0)), lower = keysOf(part, from + kGroupRows - 1);
    KeyRange any{upper.first, lower.last};
    all = {lower.first, upper.last};
#pragma unroll
    for (int half = 0; half < 2; ++half) own[half] = keysOf(part, part.row + row() + 8 * half);

    auto blockAfter = [](int key) { return max(key + kKeys - 1, 0) / kKeys; };
    int first = max(any.first, 0) / kKeys, last = any.first < any.last ? min(blockAfter(any.last), part.blocks) : 0;
    int clearFirst = max(blockAfter(all.first), first), clearLast = max(all.last / kKeys, first);
    int block = part.blocks - 1;
#pragma unroll 1
    for (; block >= last; --block) skip();
    if (block >= first) {
      if (pending < 0) {
        begin<false>(block--);
      } else {
        begin<true>(block--);
      }
      pending = stage;
      // Seen in part are the keys of the last rows and, with a window or packed sequences, of the first.
      int stop = clearLast;
#pragma unroll 1
      while (true) {
#pragma unroll 1
        for (; block >= stop; --block) next<true>(block);
        if (block < first) break;
#pragma unroll 1
        for (; block >= clearFirst; --block) next<false>(block);
        stop = first;
      }
    } else {
      finishPending();
      clear();
      finish(stage);
    }
#pragma unroll 1
    for (; block >= 0; --block) skip();
    ++turn;
  }
};

template <typename Tile>
__device__ __forceinline__ void consumeTiles(const ForwardShared<Tile> &shared, const ForwardWork &work, int group) {
  Consumer<Tile> consumer(shared, work, group);
  if (group == Tile::kGroups - 1) consumer.pass();  // the first turn is the first warpgroup's
#pragma unroll 1
  while (tileNumber(consumer.turn) < work.tiles) consumer.attend();
  consumer.finishPending();
  if (group == 0) consumer.take();  // what the last one passed
}

#endif

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    attendWarpgroups([[maybe_unused]] const __grid_constant__ ForwardMaps maps,
                     [[maybe_unused]] const __grid_constant__ ForwardWork work) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  const ForwardShared<Tile> shared(memory);
  if (threadIdx.x == 0) {
    for (const TensorMap *map : {&maps.q, &maps.k, &maps.v, &maps.out}) prefetchMap(map);
    shared.initBarriers();
  }
  __syncthreads();
  waitForPriorGrid();
  // By a shuffle, so that the compiler knows it to be the same in the whole warp.
  int group = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / kWarpgroup), 0);
  if (group == Tile::kGroups) {
    lowerRegisters<Tile::kProducerRegisters>();
    unsigned thread = threadIdx.x % kWarpgroup;
    if (thread < kWarp) loadTiles<Tile>(shared, maps, work);
    if (thread == kWarp) storeTiles<Tile>(shared, maps, work);
  } else {
    raiseRegisters<Tile::kRegisters>();
    consumeTiles<Tile>(shared, work, group);
  }
#endif
}

template <typename Tile>
cudaError_t launchTile(const sn_stream *stream, const ForwardArguments<bf16> &arguments) {
  const auto &size = arguments.size;
  int keyHeads = size.heads / size.group;
  auto describe = [&](TensorMap *map, const auto &tensor, int heads, int rows, int boxRows) {
    return describeHeads(map, tensor, size.batch, heads, rows, size.headSize, boxRows);
  };
  ForwardMaps maps;
  if (cudaError_t error = describe(&maps.q, arguments.q, size.heads, size.queries, Tile::kRows)) return error;
  if (cudaError_t error = describe(&maps.k, arguments.k, keyHeads, size.keys, Tile::kKeys)) return error;
  if (cudaError_t error = describe(&maps.v, arguments.v, keyHeads, size.keys, Tile::kKeys)) return error;
  if (cudaError_t error = describe(&maps.out, arguments.out, size.heads, size.queries, Tile::kRows)) return error;
  const Device &device = deviceOf(stream);
  int64_t bytes = static_cast<int64_t>(size.keys) * size.headSize * 2 * static_cast<int64_t>(sizeof(bf16));
  Order order = Order::of(device, size.batch, size.heads, size.queries, Tile::kRows, bytes, size.causal);
  ForwardWork work{size, order, order.count(), arguments.lse};
  auto blocks = std::min<int64_t>(work.tiles, device.multiprocessors);
  return launchOverlapping(attendWarpgroups<Tile>, dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads),
                           Tile::kSharedBytes, handleOf(stream), maps, work);
}

}  // namespace

// Dropped probabilities are drawn for longer than anything else takes.
bool suitsWarpgroups(const ForwardArguments<bf16> &arguments) {
  int headSize = arguments.size.headSize;
  return headSize > 32 && headSize <= 128 && arguments.dropout.p == 0 && arguments.piecesIn && arguments.piecesOut;
}

cudaError_t launchForwardWarpgroups(const sn_stream *stream, const ForwardArguments<bf16> &arguments) {
  if (arguments.size.headSize <= 64) return launchTile<WarpgroupForwardTile<64, 3, 128, 4, 160, 32>>(stream, arguments);
  return launchTile<WarpgroupForwardTile<128, 2, 128, 2, 232, 40>>(stream, arguments);
}

}  // namespace sn::cuda
