// attention_forward_warpgroup.cu: attention without the queries x keys matrix for sm_90a (Shah et al. 2024).
//
// Blocks stay on their multiprocessors and take tile after tile: rows of one head, 64 for each of two or three consumer
// warpgroups. A warp of the last warpgroup orders all copies, as far ahead as there is room: queries a tile, keys and
// values a few blocks. So nothing but numbers is left to the consumers' registers.
//
// Tensor cores and exponentials each take about as long, and a warpgroup needs both by turns. Two things keep both
// busy. A warpgroup asks for the scores of its next block of keys before the sums of this one, and does softmax while
// the sums are under way. And the warpgroups take turns to ask: all that one asks for runs while the others do softmax.
//
// Blocks of keys come from the last to the first. A warpgroup passes those that its rows do not see, and only those
// that they see in part go through code that masks. Where rows are no multiple of a tile's, it is the first tile that
// is short: where there is a causal mask that is the one with the least to do.
#include "cuda/attention_warpgroup.cuh"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

template <int HeadSize, int Groups, int Keys, int Stages, int Registers, int ProducerRegisters>
struct WarpgroupForwardTile {
  static constexpr int kHeadSize = HeadSize;
  static constexpr int kGroups = Groups;  // that consume
  static constexpr int kKeys = Keys;
  static constexpr int kStages = Stages;  // of keys, and of values
  static constexpr int kRegisters = Registers, kProducerRegisters = ProducerRegisters;
  static constexpr int kRows = Groups * kGroupRows;
  static constexpr int kThreads = (Groups + 1) * kWarpgroup;
  // Two tiles of queries: while one is worked on the next is loaded. What becomes of the rows leaves through them.
  static constexpr int kQueryStages = 2;
  static constexpr int kQueryElements = kRows * HeadSize, kStageElements = Keys * HeadSize;
  static constexpr int kElements = kQueryStages * kQueryElements + 2 * Stages * kStageElements;
  static constexpr int kBarriers = 2 * kQueryStages + 4 * Stages + 1;
  static constexpr size_t kSharedBytes = kElements * sizeof(bf16) + kBarriers * sizeof(Mbarrier);
  static_assert(kSharedBytes <= (227u << 10));
  static_assert(kQueryElements * sizeof(bf16) % 1024 == 0 && kStageElements * sizeof(bf16) % 1024 == 0);
  static_assert((Groups * Registers + ProducerRegisters) * kWarpgroup <= 65536);
};

namespace {

struct Maps {
  TensorMap q, k, v, out;
};

struct Work {
  AttentionSize size;
  Order order;
  int64_t tiles;
  float *lse;
};

#if SN_HOPPER

// ---- what there is to do

// Blocks take tiles by turns, there and back: who had the longest of one turn has the shortest of the next.
__device__ __forceinline__ int64_t tileNumber(int turn) {
  unsigned place = turn % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
  return static_cast<int64_t>(turn) * gridDim.x + place;
}

struct KeyRange {
  int first, last;  // exclusive
};

// A tile: rows of one head from `row` on, of which those before row 0 are not there; and the keys that any of them
// sees, in so many blocks from `begin` on.
struct Part {
  int batch, head, row;
  bool fits;  // its sequence, into its cache; else nothing is done
  Sight sight;
  int begin, blocks;

  template <typename Tile>
  static __device__ __forceinline__ Part of(const Work &work, int64_t number) {
    const auto &size = work.size;
    auto [batch, head, block] = work.order.turn(static_cast<unsigned>(number));
    int row = size.queries - (work.order.blocks - block) * Tile::kRows;
    if (size.cached && !size.cache.fits(batch)) return {batch, head, row, false, {}, 0, 0};
    Sight sight = size.sight(batch);
    int begin = sight.first(max(row, 0)), keys = max(sight.last(row + Tile::kRows - 1) - begin, 0);
    return {batch, head, row, true, sight, begin, (keys + Tile::kKeys - 1) / Tile::kKeys};
  }

  // The keys that a row sees, counted from the first.
  __device__ __forceinline__ KeyRange keysOf(int of) const {
    if (!fits || of < 0) return {0, 0};
    return {sight.first(of) - begin, sight.last(of) - begin};
  }
};

template <typename Tile>
struct Shared {
  bf16 *queries, *keys, *values;
  Mbarrier *queriesFull, *queriesFree, *keysFull, *keysFree, *valuesFull, *valuesFree;
  Mbarrier *landed;  // what the producer has to look at itself

  __device__ explicit Shared(unsigned char *memory)
      : queries(reinterpret_cast<bf16 *>(memory)),
        keys(queries + Tile::kQueryStages * Tile::kQueryElements),
        values(keys + Tile::kStages * Tile::kStageElements),
        queriesFull(reinterpret_cast<Mbarrier *>(values + Tile::kStages * Tile::kStageElements)),
        queriesFree(queriesFull + Tile::kQueryStages),
        keysFull(queriesFree + Tile::kQueryStages),
        keysFree(keysFull + Tile::kStages),
        valuesFull(keysFree + Tile::kStages),
        valuesFree(valuesFull + Tile::kStages),
        landed(valuesFree + Tile::kStages) {}

  // By one thread.
  __device__ void initBarriers() const {
    for (int i = 0; i < Tile::kQueryStages; ++i) {
      initMbarrier(queriesFull + i, 1);
      initMbarrier(queriesFree + i, Tile::kGroups);
    }
    for (int i = 0; i < Tile::kStages; ++i) {
      initMbarrier(keysFull + i, 1);
      initMbarrier(keysFree + i, Tile::kGroups);
      initMbarrier(valuesFull + i, 1);
      initMbarrier(valuesFree + i, Tile::kGroups);
    }
    initMbarrier(landed, 1);
    fenceMbarrierInit();
  }
};

// ---- the producer

// One lane of a warp orders all copies.
template <typename Tile>
__device__ __forceinline__ void produce(const Shared<Tile> &shared, const Maps &maps, const Work &work) {
  constexpr int kKeys = Tile::kKeys, kHeadSize = Tile::kHeadSize, kStageElements = Tile::kStageElements;
  using Queries = Ring<Tile::kQueryStages>;
  using Stages = Ring<Tile::kStages>;
  bool leads = threadIdx.x % kWarp == 0;
  int use = 0, cleared = 0;
#pragma unroll 1
  for (int turn = 0; tileNumber(turn) < work.tiles; ++turn) {
    const Part part = Part::of<Tile>(work, tileNumber(turn));
    int stage = Queries::stage(turn), head = part.head / work.size.group;
    if (leads) {
      waitForPhase(shared.queriesFree + stage, Queries::parity(turn) ^ 1u);
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

// ---- the consumers

// One of the warpgroups: what it keeps from block to block, and what it does with one.
template <typename Tile>
struct Consumer {
  static constexpr int kKeys = Tile::kKeys, kStageElements = Tile::kStageElements;
  using Stages = Ring<Tile::kStages>;
  using Scores = float[kKeys / 2];

  const Shared<Tile> &shared;
  int group;
  float scale;                // of scores, in base 2
  int use = 0;                // of the ring's stages: by the next block
  const bf16 *queries;        // the warpgroup's rows
  KeyRange any, all, own[2];  // keys that any of them sees, that all see, and that the thread's two rows see

  RowSoftmax softmax;
  float sums[Tile::kHeadSize / 2];
  uint32_t powers[kKeys / 16][4];  // of the block before, whose values have not been added yet

  __device__ Consumer(const Shared<Tile> &shared_, int group_, float scale_)
      : shared(shared_), group(group_), scale(scale_ * kLog2E) {}

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
    if (threadIdx.x % kWarpgroup == 0) arrive(shared.keysFree + Stages::stage(of));
  }
  __device__ __forceinline__ void freeValues(int of) const {
    if (threadIdx.x % kWarpgroup == 0) arrive(shared.valuesFree + Stages::stage(of));
  }

  // ---- a block

  __device__ __forceinline__ void askForScores(Scores &scores) const {
    fenceWarpgroup();
    multiplyTransposed<Tile::kHeadSize, Tile::kRows, kKeys>(scores, queries,
                                                            shared.keys + Stages::stage(use) * kStageElements);
    commitProducts();
  }

  __device__ __forceinline__ void askForSums(int of) {
    holdRegisters(sums);
    fenceWarpgroup();
    multiplyRows<Tile::kHeadSize, kKeys>(sums, powers, shared.values + Stages::stage(of) * kStageElements);
    commitProducts();
  }

  template <bool Masked>
  __device__ __forceinline__ void update(Scores &scores, int block) {
    int key = block * kKeys;
    if (Masked && key + kKeys > all.last) hideFrom(scores, {own[0].last - key, own[1].last - key});
    if (Masked && key < all.first) hideBefore(scores, {own[0].first - key, own[1].first - key});
    softmax.template update<Masked>(scores, scale);
  }

  // One that none of the rows sees.
  __device__ __forceinline__ void skip() {
    waitForKeys(use);
    waitForValues(use);
    take();
    freeKeys(use);
    freeValues(use);
    pass();
    ++use;
  }

  // The first that they see.
  __device__ __forceinline__ void begin(int block) {
    Scores scores;
    waitForKeys(use);
    take();
    askForScores(scores);
    pass();
    waitForProducts<0>();
    holdRegisters(scores);
    freeKeys(use);
    update<true>(scores, block);
    packRows(powers, scores);
    ++use;
  }

  template <bool Masked>
  __device__ __forceinline__ void next(int block) {
    Scores scores;
    waitForKeys(use);
    take();
    askForScores(scores);
    waitForValues(use - 1);
    askForSums(use - 1);
    pass();
    waitForProducts<1>();
    holdRegisters(scores);
    freeKeys(use);
    update<Masked>(scores, block);
    waitForProducts<0>();
    holdRegisters(sums);
    freeValues(use - 1);
    packRows(powers, scores);
    softmax.shrinkSums(sums);
    ++use;
  }

  // After the last.
  __device__ __forceinline__ void end() {
    waitForValues(use - 1);
    askForSums(use - 1);
    waitForProducts<0>();
    holdRegisters(sums);
    freeValues(use - 1);
  }

  // ---- a tile

  __device__ __forceinline__ void attend(int blocks) {
    softmax = {};
#pragma unroll
    for (float &sum : sums) sum = 0;
    auto blockAfter = [](int key) { return max(key + kKeys - 1, 0) / kKeys; };
    int first = max(any.first, 0) / kKeys, last = any.first < any.last ? min(blockAfter(any.last), blocks) : 0;
    int clearFirst = max(blockAfter(all.first), first), clearLast = max(all.last / kKeys, first);
    int block = blocks - 1;
#pragma unroll 1
    for (; block >= last; --block) skip();
    if (block >= first) {
      begin(block--);
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
      end();
    }
#pragma unroll 1
    for (; block >= 0; --block) skip();
  }
};

template <typename Tile>
__device__ __forceinline__ void consume(const Shared<Tile> &shared, const Maps &maps, const Work &work, int group) {
  using Queries = Ring<Tile::kQueryStages>;
  const auto &size = work.size;
  auto thread = static_cast<int>(threadIdx.x % kWarpgroup);
  int threadRow = group * kGroupRows + thread / kWarp * 16 + thread % kWarp / 4;
  Consumer<Tile> consumer(shared, group, size.scale);
  if (group == Tile::kGroups - 1) consumer.pass();  // the first turn is the first warpgroup's
#pragma unroll 1
  for (int turn = 0; tileNumber(turn) < work.tiles; ++turn) {
    const Part part = Part::of<Tile>(work, tileNumber(turn));
    int row = part.row + group * kGroupRows, last = row + kGroupRows - 1, stage = Queries::stage(turn);
    bf16 *rows = shared.queries + stage * Tile::kQueryElements + group * kGroupRows * kBoxColumns;
    KeyRange upper = part.keysOf(max(row, 0)), lower = part.keysOf(last);
    consumer.any = {upper.first, lower.last};
    consumer.all = {lower.first, upper.last};
#pragma unroll
    for (int half = 0; half < 2; ++half) consumer.own[half] = part.keysOf(part.row + threadRow + 8 * half);
    consumer.queries = rows;
    waitForPhase(shared.queriesFull + stage, Queries::parity(turn));
    consumer.attend(part.blocks);

    RowSoftmax &softmax = consumer.softmax;
    softmax.finish();
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int own = part.row + threadRow + 8 * half;
      factor[half] = softmax.blind(half) ? 0.0f : 1.0f / softmax.total[half];
      if (work.lse != nullptr && thread % 4 == 0 && own >= 0 && part.fits) {
        work.lse[(static_cast<int64_t>(part.batch) * size.heads + part.head) * size.queries + own] = softmax.lse(half);
      }
    }
    // Through the warpgroup's own queries, which nobody needs any more.
    placeRows<Tile::kRows>(rows, consumer.sums, factor);
    fenceAsyncProxy();
    syncNamed(1 + Tile::kGroups + group, kWarpgroup);
    if (thread == 0) {
      if (part.fits && last >= 0) {
        storeRows<Tile::kRows, Tile::kHeadSize>(&maps.out, row, part.head, part.batch, rows);
        commitStores();
        waitForStoreReads<0>();
      }
      bool notes = !part.fits && group == 0 && part.head == 0 && part.row + Tile::kRows == size.queries;
      if (notes) size.cache.note(part.batch);
      arrive(shared.queriesFree + stage);
    }
  }
  if (group == 0) consumer.take();  // what the last one passed
}

#endif

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    attendWarpgroups([[maybe_unused]] const __grid_constant__ Maps maps,
                     [[maybe_unused]] const __grid_constant__ Work work) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  const Shared<Tile> shared(memory);
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
    if (threadIdx.x % kWarpgroup < kWarp) produce<Tile>(shared, maps, work);
  } else {
    raiseRegisters<Tile::kRegisters>();
    consume<Tile>(shared, maps, work, group);
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
  Maps maps;
  if (cudaError_t error = describe(&maps.q, arguments.q, size.heads, size.queries, Tile::kRows)) return error;
  if (cudaError_t error = describe(&maps.k, arguments.k, keyHeads, size.keys, Tile::kKeys)) return error;
  if (cudaError_t error = describe(&maps.v, arguments.v, keyHeads, size.keys, Tile::kKeys)) return error;
  if (cudaError_t error = describe(&maps.out, arguments.out, size.heads, size.queries, kGroupRows)) return error;
  const Device &device = deviceOf(stream);
  int64_t bytes = static_cast<int64_t>(size.keys) * size.headSize * 2 * static_cast<int64_t>(sizeof(bf16));
  Order order = Order::of(device, size.batch, size.heads, size.queries, Tile::kRows, bytes, size.causal);
  Work work{size, order, order.count(), arguments.lse};
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
