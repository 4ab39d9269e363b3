// attention_forward_warpgroup.cuh: the tiles of attention's forward pass for sm_90a: what there is to do, who does
// which of it, and where it lies in shared memory.
#pragma once

#include "cuda/attention_warpgroup.cuh"

namespace sn::cuda {

// A tile: rows of one head from `row` on, of which those before row 0 are not there; and the keys that any of them
// sees, in so many blocks from `begin` on.
struct ForwardPart {
  int batch, head, row;
  bool fits;  // its sequence, into its cache; else nothing is done
  Sight sight;
  int begin, blocks;
};

template <int HeadSize, int Groups, int Keys, int Stages, int Registers, int ProducerRegisters>
struct WarpgroupForwardTile {
  static constexpr int kHeadSize = HeadSize;
  static constexpr int kGroups = Groups;  // that consume
  static constexpr int kKeys = Keys;
  static constexpr int kStages = Stages;  // of keys, and of values
  static constexpr int kRegisters = Registers, kProducerRegisters = ProducerRegisters;
  static constexpr int kRows = Groups * kGroupRows;
  static constexpr int kThreads = (Groups + 1) * kWarpgroup;
  // Two tiles of queries: while one is worked on the next is loaded. What becomes of the rows leaves through their
  // place.
  static constexpr int kQueryStages = 2;
  static constexpr int kQueryElements = kRows * HeadSize, kStageElements = Keys * HeadSize;
  static constexpr int kElements = kQueryStages * kQueryElements + 2 * Stages * kStageElements;
  static constexpr int kBarriers = 3 * kQueryStages + 4 * Stages + 1;
  static constexpr size_t kSharedBytes =
      kElements * sizeof(bf16) + kBarriers * sizeof(Mbarrier) + kQueryStages * sizeof(ForwardPart);
  static_assert(kSharedBytes <= (227u << 10));
  static_assert(kQueryElements * sizeof(bf16) % 1024 == 0 && kStageElements * sizeof(bf16) % 1024 == 0);
  static_assert((Groups * Registers + ProducerRegisters) * kWarpgroup <= 65536);
};

struct ForwardMaps {
  TensorMap q, k, v, out;
};

struct ForwardWork {
  AttentionSize size;
  Order order;
  int64_t tiles;
  float *lse;
};

#if SN_HOPPER

// Blocks take tiles by turns, there and back: who had the longest of one turn has the shortest of the next.
__device__ __forceinline__ int64_t tileNumber(int turn) {
  unsigned place = turn % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
  return static_cast<int64_t>(turn) * gridDim.x + place;
}

template <typename Tile>
__device__ __forceinline__ ForwardPart partOf(const ForwardWork &work, int64_t number) {
  const auto &size = work.size;
  auto [batch, head, block] = work.order.turn(static_cast<unsigned>(number));
  int row = size.queries - (work.order.blocks - block) * Tile::kRows;
  if (size.cached && !size.cache.fits(batch)) return {batch, head, row, false, {}, 0, 0};
  Sight sight = size.sight(batch);
  int begin = sight.first(max(row, 0)), keys = max(sight.last(row + Tile::kRows - 1) - begin, 0);
  return {batch, head, row, true, sight, begin, (keys + Tile::kKeys - 1) / Tile::kKeys};
}

struct KeyRange {
  int first, last;  // exclusive
};

// The keys that a row sees, counted from the tile's first.
__device__ __forceinline__ KeyRange keysOf(const ForwardPart &part, int row) {
  if (!part.fits || row < 0) return {0, 0};
  return {part.sight.first(row) - part.begin, part.sight.last(row) - part.begin};
}

template <typename Tile>
struct ForwardShared {
  bf16 *queries, *keys, *values;
  Mbarrier *queriesFull, *resultsFull, *queriesFree, *keysFull, *keysFree, *valuesFull, *valuesFree;
  Mbarrier *landed;    // what the producer has to look at itself
  ForwardPart *parts;  // what the queries are

  __device__ explicit ForwardShared(unsigned char *memory)
      : queries(reinterpret_cast<bf16 *>(memory)),
        keys(queries + Tile::kQueryStages * Tile::kQueryElements),
        values(keys + Tile::kStages * Tile::kStageElements),
        queriesFull(reinterpret_cast<Mbarrier *>(values + Tile::kStages * Tile::kStageElements)),
        resultsFull(queriesFull + Tile::kQueryStages),
        queriesFree(resultsFull + Tile::kQueryStages),
        keysFull(queriesFree + Tile::kQueryStages),
        keysFree(keysFull + Tile::kStages),
        valuesFull(keysFree + Tile::kStages),
        valuesFree(valuesFull + Tile::kStages),
        landed(valuesFree + Tile::kStages),
        parts(reinterpret_cast<ForwardPart *>(landed + 1)) {}

  // By one thread.
  __device__ void initBarriers() const {
    for (int i = 0; i < Tile::kQueryStages; ++i) {
      initMbarrier(queriesFull + i, 1);
      initMbarrier(resultsFull + i, Tile::kGroups * kWarpgroup);
      initMbarrier(queriesFree + i, 1);
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

#endif

}  // namespace sn::cuda
