// gemm_warpgroup.cuh: what the warpgroups of a block share in the kernel of gemm_warpgroup.cu: the layout of shared
// memory, the ring of stages, who fills it and who multiplies from it.
#pragma once

#include "cuda/gemm.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/convert.h"
#include "cuda/ptx/grid.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/warpgroup.h"

namespace sn::cuda {

// A product as the kernel gets it: with its operands as tensor copies see them.
struct WarpgroupProduct {
  TensorMap a, b, c, aux;
  Product<bf16> product;
  // Blocks of a cluster compute tiles one below the other, which share the columns of b: each loads a part of them for
  // all.
  unsigned cluster;              // its blocks: 1 or 2
  unsigned tiles;                // of a cluster, in all slices
  const float *scaleA, *scaleB;  // of operands that are scaled
};

constexpr int kGroupThreads = 128;     // of a warpgroup
constexpr int kMultiplyingGroups = 2;  // and one before them that loads
// Named barriers of one warpgroup alone, and those by which they take turns: one of each a group.
constexpr unsigned kGroupBarrier = 1, kTurnBarrier = kGroupBarrier + kMultiplyingGroups;
constexpr int kWarpgroupThreads = (1 + kMultiplyingGroups) * kGroupThreads;

// A line of a step of an operand: what one swizzle spans.
constexpr int kLineBytes = 128;
// 64 such lines: of an operand whose lines lie side by side one box, of c what waits to be stored.
constexpr int kSquareBytes = 64 * kLineBytes;

template <int Tile>
struct WarpgroupLayout {
  static constexpr WarpgroupTile kTile = kWarpgroupTiles[Tile];
  static constexpr int kRows = kTile.pingPong ? kTile.rows : kTile.rows / kMultiplyingGroups;  // of a warpgroup
  static constexpr int kColumns = kTile.columns, kStages = kTile.stages, kSlots = kTile.slots;
  static constexpr int kDepth = kLineBytes / sizeof(bf16);  // of a step
  static constexpr bool kScaled = false;                    // whether sums are multiplied by the operands' scales
  static constexpr int kDown = kRows / 64, kAcross = kColumns / 64;  // squares of 64 x 64 of a warpgroup
  static constexpr int kSums = kDown * kColumns / 2;                 // of a thread

  // The first of a tile's rows that a warpgroup has.
  static __device__ int firstRow(unsigned group) { return kTile.pingPong ? 0 : static_cast<int>(group) * kRows; }

  static constexpr int kStageBytesA = kTile.rows * kLineBytes, kStageBytesB = kColumns * kLineBytes;
  static constexpr int kStageBytes = kStageBytesA + kStageBytesB;
  // The ring; each warpgroup's slots; each one's bias; the barriers.
  static constexpr int kSlotsAt = kStageBytes * kStages;
  static constexpr int kBiasAt = kSlotsAt + kMultiplyingGroups * kSlots * kSquareBytes;
  static constexpr int kBarriersAt = kBiasAt + kMultiplyingGroups * kColumns * static_cast<int>(sizeof(float));
  static constexpr int kBarriers = 2 * kStages + kMultiplyingGroups * kSlots;
  static constexpr size_t kSharedBytes = kBarriersAt + kBarriers * sizeof(Mbarrier);

  static_assert(kRows % 64 == 0 && kColumns % 64 == 0 && kSums <= 128);
  static_assert(kSlots >= 2 && kStages >= 2 && kSharedBytes <= size_t{227} << 10);
  static_assert(kDepth == kDepthUnit);
};

#if SN_HOPPER

// A block's shared memory.
template <typename Layout>
struct WarpgroupShared {
  unsigned char *ring;
  Mbarrier *full, *empty;  // one a stage

  explicit __device__ WarpgroupShared(unsigned char *memory)
      : ring(memory), full(reinterpret_cast<Mbarrier *>(memory + Layout::kBarriersAt)), empty(full + Layout::kStages) {}

  // A warpgroup's own part.
  __device__ unsigned char *slots(unsigned group) const {
    return ring + Layout::kSlotsAt + group * Layout::kSlots * kSquareBytes;
  }
  __device__ float *bias(unsigned group) const {
    return reinterpret_cast<float *>(ring + Layout::kBiasAt) + group * Layout::kColumns;
  }
  __device__ Mbarrier *loaded(unsigned group) const { return empty + Layout::kStages + group * Layout::kSlots; }

  // By one thread. A stage is full once its bytes have come, and empty once each warpgroup that reads it, or what is
  // loaded with it, has said so.
  __device__ void initBarriers(unsigned cluster) const {
    for (int stage = 0; stage < Layout::kStages; ++stage) {
      initMbarrier(full + stage, 1);
      initMbarrier(empty + stage, cluster * (Layout::kTile.pingPong ? 1 : kMultiplyingGroups));
    }
    for (int slot = 0; slot < kMultiplyingGroups * Layout::kSlots; ++slot) initMbarrier(loaded(0) + slot, 1);
    fenceMbarrierInit();
  }
};

// Where a step goes: steps of all tiles of a block are counted through.
template <typename Layout>
struct RingPlace {
  unsigned stage, parity;

  explicit __device__ RingPlace(uint32_t step) : stage(step % Layout::kStages), parity(step / Layout::kStages % 2) {}
};

// ---- the warpgroup that loads ---------------------------------------------------------------------------------------

// The tiles of a block, one after the other: f(part, steps, whether another follows).
template <typename Layout, typename F>
__device__ __forceinline__ void forTiles(const WarpgroupProduct &work, F &&f) {
  unsigned clusters = gridDim.x / work.cluster, rank = work.cluster == 1 ? 0 : clusterRank();
  for (unsigned tile = blockIdx.x / work.cluster; tile < work.tiles; tile += clusters) {
    Part part = partOf(work.product, tile, static_cast<int>(work.cluster) * Layout::kTile.rows, Layout::kColumns);
    part.row += static_cast<int>(rank) * Layout::kTile.rows;
    f(part, static_cast<uint32_t>(part.end - part.begin + Layout::kDepth - 1) / Layout::kDepth,
      tile + clusters < work.tiles);
  }
}

// One step of `lines` lines. What lies outside of the operand is zero, and changes no sum.
template <Major major>
__device__ __forceinline__ void loadStep(unsigned char *target, const TensorMap *map, int line, int lines, int k,
                                         int batch, Mbarrier *full) {
  if constexpr (major == Major::inner) {
    loadTile(target, map, k, line, batch, 0, full);
  } else {
#pragma unroll 1
    for (int i = 0; i < lines; i += 64) loadTile(target + i * kLineBytes, map, line + i, k, batch, 0, full);
  }
}

// The same for each block of the cluster.
template <Major major>
__device__ __forceinline__ void loadStepForAll(unsigned char *target, const TensorMap *map, int line, int lines, int k,
                                               int batch, Mbarrier *full, uint16_t blocks) {
  if constexpr (major == Major::inner) {
    loadTileMulticast(target, map, k, line, batch, 0, full, blocks);
  } else {
#pragma unroll 1
    for (int i = 0; i < lines; i += 64) {
      loadTileMulticast(target + i * kLineBytes, map, line + i, k, batch, 0, full, blocks);
    }
  }
}

// One thread keeps the ring full, tile after tile.
template <typename Layout, Major majorA, Major majorB>
__device__ __forceinline__ void loadTiles(const WarpgroupProduct &work, const WarpgroupShared<Layout> &shared) {
  bool alone = work.cluster == 1;
  int columns = Layout::kColumns / static_cast<int>(work.cluster);  // that this block loads
  int firstColumn = alone ? 0 : static_cast<int>(clusterRank()) * columns;
  auto everyone = static_cast<uint16_t>((1u << work.cluster) - 1);
  uint32_t step = 0;
  forTiles<Layout>(work, [&](const Part &part, uint32_t, bool) {
    int batchOfA = work.product.aBatch == 0 ? 0 : static_cast<int>(part.batch);
    int batchOfB = work.product.bBatch == 0 ? 0 : static_cast<int>(part.batch);
#pragma unroll 1
    for (int k = part.begin; k < part.end; k += Layout::kDepth, ++step) {
      RingPlace<Layout> place(step);
      Mbarrier *full = shared.full + place.stage, *empty = shared.empty + place.stage;
      unsigned char *a = shared.ring + place.stage * Layout::kStageBytes;
      unsigned char *b = a + Layout::kStageBytesA + firstColumn * kLineBytes;
      if (alone) {
        waitForPhase(empty, place.parity ^ 1);
      } else {
        waitForPhaseOfCluster(empty, place.parity ^ 1);
      }
      arriveExpecting(full, Layout::kStageBytes);
      loadStep<majorA>(a, &work.a, part.row, Layout::kTile.rows, k, batchOfA, full);
      if (alone) {
        loadStep<majorB>(b, &work.b, part.column, columns, k, batchOfB, full);
      } else {
        loadStepForAll<majorB>(b, &work.b, part.column + firstColumn, columns, k, batchOfB, full, everyone);
      }
    }
  });
}

// ---- the warpgroups that multiply -----------------------------------------------------------------------------------

template <Major major>
__device__ __forceinline__ uint64_t describe(const unsigned char *operand) {
  return major == Major::inner ? describeInner(operand) : describeOuter(operand, kSquareBytes);
}

// Warpgroups that take turns begin theirs once the one before has seen all its steps come. Were one to wait for a stage
// two phases ahead, it would take the parity of the phase before that one for it.
__device__ __forceinline__ void waitForTurn(unsigned group) {
  syncNamed(kTurnBarrier + group, kMultiplyingGroups * kGroupThreads);
}
__device__ __forceinline__ void giveTurn(unsigned group) {
  arriveNamed(kTurnBarrier + (group + 1) % kMultiplyingGroups, kMultiplyingGroups * kGroupThreads);
}

// The warpgroup has read what the stage holds: all blocks that load it may go on.
template <typename Layout>
__device__ __forceinline__ void release(const WarpgroupShared<Layout> &shared, uint32_t step, unsigned cluster) {
  unsigned thread = threadIdx.x % kGroupThreads;
  if (thread >= cluster) return;
  Mbarrier *empty = shared.empty + RingPlace<Layout>(step).stage;
  if (cluster == 1) {
    arrive(empty);
  } else {
    arriveAt(empty, thread);
  }
}

// Multiplies the steps that come through the ring from `first` on; `firstRow` is the warpgroup's in the tile. While a
// step is multiplied the one before it, which then is done with, goes back to who loads. lastIsUnderWay() is called
// when nothing is left but to wait.
template <typename Layout, Major majorA, Major majorB, typename F>
__device__ __forceinline__ void multiplySteps(float (&sums)[Layout::kDown][Layout::kColumns / 2], unsigned cluster,
                                              const WarpgroupShared<Layout> &shared, int firstRow, uint32_t first,
                                              uint32_t steps, F &&lastIsUnderWay) {
  const unsigned char *ring = shared.ring;
  uint64_t a = describe<majorA>(ring + firstRow * kLineBytes), b = describe<majorB>(ring + Layout::kStageBytesA);
#pragma unroll 1
  for (uint32_t step = 0; step < steps; ++step) {
    RingPlace<Layout> place(first + step);
    uint64_t stage = uint64_t{place.stage} * (Layout::kStageBytes >> 4);
    waitForPhase(shared.full + place.stage, place.parity);
    fenceWarpgroup();
#pragma unroll
    for (int depth = 0; depth < Layout::kDepth / 16; ++depth) {
#pragma unroll
      for (int down = 0; down < Layout::kDown; ++down) {
        uint64_t square = stage + static_cast<uint64_t>(down) * (kSquareBytes >> 4);
        multiplyWarpgroup<Layout::kColumns, majorA, majorB>(sums[down], advance<majorA>(a + square, depth),
                                                            advance<majorB>(b + stage, depth), step > 0 || depth > 0);
      }
    }
    commitProducts();
    waitForProducts<1>();
    if (step > 0) release(shared, first + step - 1, cluster);
  }
  lastIsUnderWay();
  waitForProducts<0>();
  release(shared, first + steps - 1, cluster);
#pragma unroll
  for (auto &each : sums) pinRegisters(each);
}

#endif

}  // namespace sn::cuda
