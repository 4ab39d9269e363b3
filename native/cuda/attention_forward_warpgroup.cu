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

namespace {

template <int HeadSize, int Groups, int Keys, int Stages, int Registers, int ProducerRegisters>
struct ForwardTile {
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

struct Maps {
  TensorMap q, k, v, out;
};

struct Work {
  AttentionSize size;
  Order order;
  int64_t tiles;
  float *lse;
};

// Rows of one head from `row` on, of which those before the first are not there; and the keys that any of them sees: so
// many blocks from `begin` on.
struct Part {
  int batch, head, row;
  Sight sight;
  bool fits;  // its sequence, into its cache
  int begin, blocks;
};

// Of one warpgroup's rows: blocks first .. last - 1 of the tile's keys are seen by any of them, and of those clearFirst
// .. clearLast - 1 wholly by all of them.
struct KeyBlocks {
  int first, last, clearFirst, clearLast;
};

#if SN_HOPPER

template <typename Tile>
struct Shared {
  bf16 *queries, *keys, *values;
  Mbarrier *queriesFull, *queriesFree, *keysFull, *keysFree, *valuesFull, *valuesFree;
  Mbarrier *landed;

  __device__ explicit Shared(unsigned char *memory) {
    queries = reinterpret_cast<bf16 *>(memory);
    keys = queries + Tile::kQueryStages * Tile::kQueryElements;
    values = keys + Tile::kStages * Tile::kStageElements;
    queriesFull = reinterpret_cast<Mbarrier *>(values + Tile::kStages * Tile::kStageElements);
    queriesFree = queriesFull + Tile::kQueryStages;
    keysFull = queriesFree + Tile::kQueryStages;
    keysFree = keysFull + Tile::kStages;
    valuesFull = keysFree + Tile::kStages;
    valuesFree = valuesFull + Tile::kStages;
    landed = valuesFree + Tile::kStages;
  }

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

// ---- what there is to do

// Blocks take tiles by turns, there and back: who had the longest of one turn has the shortest of the next.
__device__ __forceinline__ int64_t tileNumber(int turn) {
  unsigned place = turn % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
  return static_cast<int64_t>(turn) * gridDim.x + place;
}

template <typename Tile>
__device__ __forceinline__ Part partOf(const Work &work, int64_t number) {
  const auto &size = work.size;
  auto [batch, head, block] = work.order.turn(static_cast<unsigned>(number));
  Part part{batch, head, size.queries - (work.order.blocks - block) * Tile::kRows, {}, true, 0, 0};
  part.fits = !size.cached || size.cache.fits(batch);
  if (!part.fits) return part;
  part.sight = size.sight(batch);
  part.begin = part.sight.first(max(part.row, 0));
  int keys = part.sight.last(part.row + Tile::kRows - 1) - part.begin;
  part.blocks = max(keys + Tile::kKeys - 1, 0) / Tile::kKeys;
  return part;
}

// Of rows from .. to (inclusive), which are there.
template <typename Tile>
__device__ __forceinline__ KeyBlocks blocksOf(const Part &part, int from, int to) {
  constexpr int kKeys = Tile::kKeys;
  if (!part.fits || from > to) return {0, 0, 0, 0};
  auto up = [](int keys) { return max(keys + kKeys - 1, 0) / kKeys; };
  auto down = [](int keys) { return max(keys, 0) / kKeys; };
  int first = part.sight.first(from) - part.begin, last = part.sight.last(to) - part.begin;
  int clearFirst = part.sight.first(to) - part.begin, clearLast = part.sight.last(from) - part.begin;
  return {down(first), first < last ? min(up(last), part.blocks) : 0, up(clearFirst), down(clearLast)};
}

// ---- the producer

// One warp, of which one lane orders.
template <typename Tile>
__device__ __forceinline__ void produce(const Shared<Tile> &shared, const Maps &maps, const Work &work) {
  constexpr int kKeys = Tile::kKeys, kStageElements = Tile::kStageElements;
  using Queries = Ring<Tile::kQueryStages>;
  using Stages = Ring<Tile::kStages>;
  auto lane = static_cast<int>(threadIdx.x % kWarp);
  int use = 0, landings = 0;
#pragma unroll 1
  for (int turn = 0; tileNumber(turn) < work.tiles; ++turn) {
    const Part part = partOf<Tile>(work, tileNumber(turn));
    int stage = Queries::stage(turn), head = part.head / work.size.group;
    waitForPhase(shared.queriesFree + stage, Queries::parity(turn) ^ 1u);
    if (lane == 0) {
      arriveExpecting(shared.queriesFull + stage, Tile::kQueryElements * sizeof(bf16));
      loadRows<Tile::kRows, Tile::kHeadSize>(shared.queries + stage * Tile::kQueryElements, &maps.q, part.row,
                                             part.head, part.batch, shared.queriesFull + stage);
    }
#pragma unroll 1
    for (int block = part.blocks - 1; block >= 0; --block, ++use) {
      int key = part.begin + block * kKeys;
      stage = Stages::stage(use);
      auto load = [&](bf16 *tile, const TensorMap *map, Mbarrier *barrier) {
        if (lane != 0) return;
        arriveExpecting(barrier, kStageElements * sizeof(bf16));
        loadRows<kKeys, Tile::kHeadSize>(tile, map, key, head, part.batch, barrier);
      };
      waitForPhase(shared.keysFree + stage, Stages::parity(use) ^ 1u);
      load(shared.keys + stage * kStageElements, &maps.k, shared.keysFull + stage);

      bf16 *values = shared.values + stage * kStageElements;
      waitForPhase(shared.valuesFree + stage, Stages::parity(use) ^ 1u);
      bool foreign = part.sight.keys < min(key + kKeys, work.size.keys);
      load(values, &maps.v, foreign ? shared.landed : shared.valuesFull + stage);
      if (foreign) {
        // Rows past the sequence's keys hold what they like, and no probability of 0 makes a number of what is none.
        waitForPhase(shared.landed, landings++ % 2);
        for (int column = 0; column < Tile::kHeadSize; column += kBoxColumns) {
          auto *pieces = reinterpret_cast<uint4 *>(values + kKeys * column);
          for (int i = (part.sight.keys - key) * kBoxColumns / 8 + lane; i < kKeys * kBoxColumns / 8; i += kWarp) {
            pieces[i] = make_uint4(0, 0, 0, 0);
          }
        }
        fenceAsyncProxy();
        __syncwarp();
        if (lane == 0) arrive(shared.valuesFull + stage);
      }
    }
  }
  releaseNextGrid();
}

// ---- the consumers

// The softmax of a thread's two rows while their keys pass by (Milakov and Gimelshein 2018), in base 2.
struct OnlineSoftmax {
  float base[2] = {-INFINITY, -INFINITY};  // that powers are taken below: a score that was the highest once
  float total[2] = {0, 0};                 // of the thread's own columns
  float shrink[2];                         // what the last update makes of what came before

  // Turns scores into powers. The base follows the highest score only where that is far above: powers may be large, as
  // all are divided by their sum in the end, and what came before has to be multiplied that much less often.
  template <bool Masked, int Count>
  __device__ __forceinline__ void update(float (&scores)[Count], float scale) {
    constexpr float kFar = 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = -INFINITY;
#pragma unroll
      for (int i = 2 * half; i < Count; i += 4) highest = fmaxf(highest, fmaxf(scores[i], scores[i + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2)) * scale;
      bool rises = highest > base[half] + kFar;
      shrink[half] = rises ? fastExp2(base[half] - highest) : 1.0f;
      if (rises) base[half] = highest;
      // A row that has seen nothing yet.
      float below = Masked && base[half] == -INFINITY ? 0.0f : base[half], own = 0;
#pragma unroll
      for (int i = 2 * half; i < Count; i += 4) {
        scores[i] = fastExp2(fmaf(scores[i], scale, -below));
        scores[i + 1] = fastExp2(fmaf(scores[i + 1], scale, -below));
        own += scores[i] + scores[i + 1];
      }
      total[half] = fmaf(total[half], shrink[half], own);
    }
  }

  template <int Count>
  __device__ __forceinline__ void shrinkSums(float (&sums)[Count]) const {
    if (!__any_sync(kAllLanes, shrink[0] != 1 || shrink[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < Count; ++i) sums[i] *= shrink[i / 2 % 2];
  }

  // The sums over whole rows.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (float &sum : total) {
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
  }
};

// One of the consuming warpgroups: what it keeps from block to block, and what it does with one.
template <typename Tile>
struct Consumer {
  static constexpr int kKeys = Tile::kKeys, kStageElements = Tile::kStageElements;
  using Stages = Ring<Tile::kStages>;

  const Shared<Tile> &shared;
  int group;
  float scale;  // of scores, in base 2
  int use = 0;  // of the ring's stages: the block that comes next

  const bf16 *queries;        // the warpgroup's rows
  int first[2], last[2];      // which keys the thread's two rows see, counted from the tile's first
  int clearFirst, clearLast;  // which all rows see

  OnlineSoftmax softmax;
  float sums[Tile::kHeadSize / 2];
  uint32_t powers[kKeys / 16][4];  // of the block before, whose values have not been added yet

  __device__ Consumer(const Shared<Tile> &shared_, int group_, float scale_)
      : shared(shared_), group(group_), scale(scale_ * kLog2E) {}

  // ---- the warpgroups' turns

  __device__ __forceinline__ void take() const { syncNamed(1 + group, 2 * kWarpgroup); }
  __device__ __forceinline__ void pass() const {
    arriveNamed(group == Tile::kGroups - 1 ? 1 : 2 + group, 2 * kWarpgroup);
  }

  // ---- the ring

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

  // ---- blocks

  __device__ __forceinline__ void askForScores(float (&scores)[kKeys / 2]) const {
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
  __device__ __forceinline__ void update(float (&scores)[kKeys / 2], int block) {
    if constexpr (Masked) {
      int key = block * kKeys;
      if (key + kKeys > clearLast) hideFrom(scores, {last[0] - key, last[1] - key});
      if (key < clearFirst) hideBefore(scores, {first[0] - key, first[1] - key});
    }
    softmax.template update<Masked>(scores, scale);
  }

  // A block that none of the rows sees.
  __device__ __forceinline__ void skip() {
    waitForKeys(use);
    freeKeys(use);
    take();
    pass();
    waitForValues(use);
    freeValues(use);
    ++use;
  }

  __device__ __forceinline__ void begin(int block) {
    float scores[kKeys / 2];
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
    float scores[kKeys / 2];
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

  __device__ __forceinline__ void end() {
    waitForValues(use - 1);
    askForSums(use - 1);
    waitForProducts<0>();
    holdRegisters(sums);
    freeValues(use - 1);
  }

  // All of the tile's keys, of which the rows see `seen`.
  __device__ __forceinline__ void attend(int blocks, const KeyBlocks &seen) {
    softmax = {};
#pragma unroll
    for (float &sum : sums) sum = 0;
    int block = blocks - 1;
#pragma unroll 1
    for (; block >= seen.last; --block) skip();
    if (block >= seen.first) {
      begin(block--);
      // Keys that are seen in part are those of the last rows and, with a window or packed sequences, the first.
      int stop = max(seen.first, seen.clearLast);
#pragma unroll 1
      while (true) {
#pragma unroll 1
        for (; block >= stop; --block) next<true>(block);
        if (block < seen.first) break;
        stop = max(seen.first, seen.clearFirst);
#pragma unroll 1
        for (; block >= stop; --block) next<false>(block);
        stop = seen.first;
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
  int threadRow = thread / kWarp * 16 + thread % kWarp / 4;
  Consumer<Tile> consumer(shared, group, size.scale);
  if (group == Tile::kGroups - 1) consumer.pass();  // the first turn is the first warpgroup's
#pragma unroll 1
  for (int turn = 0; tileNumber(turn) < work.tiles; ++turn) {
    const Part part = partOf<Tile>(work, tileNumber(turn));
    int row = part.row + group * kGroupRows, from = max(row, 0), to = row + kGroupRows - 1;
    const KeyBlocks seen = blocksOf<Tile>(part, from, to);
    consumer.clearFirst = part.fits && from <= to ? part.sight.first(to) - part.begin : 0;
    consumer.clearLast = part.fits && from <= to ? part.sight.last(from) - part.begin : 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int own = max(row + threadRow + 8 * half, 0);
      consumer.first[half] = part.fits ? part.sight.first(own) - part.begin : 0;
      consumer.last[half] = part.fits ? part.sight.last(own) - part.begin : 0;
    }
    int stage = Queries::stage(turn);
    bf16 *rows = shared.queries + stage * Tile::kQueryElements + group * kGroupRows * kBoxColumns;
    consumer.queries = rows;
    waitForPhase(shared.queriesFull + stage, Queries::parity(turn));
    consumer.attend(part.blocks, seen);

    consumer.softmax.finish();
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = consumer.softmax.total[half];
      bool blind = total == 0;
      factor[half] = blind ? 0.0f : 1.0f / total;
      int own = row + threadRow + 8 * half;
      if (work.lse != nullptr && thread % 4 == 0 && own >= 0 && part.fits) {
        int64_t place = (static_cast<int64_t>(part.batch) * size.heads + part.head) * size.queries + own;
        work.lse[place] = blind ? -INFINITY : (consumer.softmax.base[half] + log2f(total)) * kLn2;
      }
    }
    // Through the warpgroup's own queries, which nobody needs any more.
    placeRows<Tile::kRows>(rows, consumer.sums, factor);
    fenceAsyncProxy();
    syncNamed(1 + Tile::kGroups + group, kWarpgroup);
    if (thread == 0) {
      if (part.fits && from <= to) {
#pragma unroll
        for (int column = 0; column < Tile::kHeadSize; column += kBoxColumns) {
          storeTile(&maps.out, column, row, part.head, part.batch, rows + Tile::kRows * column);
        }
        commitStores();
        waitForStoreReads<0>();
      }
      if (!part.fits && group == 0 && part.head == 0 && part.row + Tile::kRows == size.queries) {
        size.cache.note(part.batch);
      }
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
  if (threadIdx.x == 0) shared.initBarriers();
  __syncthreads();
  waitForPriorGrid();
  // Known to be the same in the whole warp.
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

bool suitsWarpgroups(const ForwardArguments<bf16> &arguments) {
  int headSize = arguments.size.headSize;
  return headSize > 32 && headSize <= 128 && arguments.dropout.p == 0 && suitsTensorCopies(arguments.q, headSize) &&
         suitsTensorCopies(arguments.k, headSize) && suitsTensorCopies(arguments.v, headSize) &&
         suitsTensorCopies(arguments.out, headSize);
}

cudaError_t launchForwardWarpgroups(const sn_stream *stream, const ForwardArguments<bf16> &arguments) {
  if (arguments.size.headSize <= 64) return launchTile<ForwardTile<64, 3, 128, 4, 160, 32>>(stream, arguments);
  return launchTile<ForwardTile<128, 2, 128, 2, 240, 24>>(stream, arguments);
}

}  // namespace sn::cuda
