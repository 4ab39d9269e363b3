// gemm_warpgroup.cuh: what the warpgroups of a block share in the kernel of gemm_warpgroup.cu: the layout of shared
// memory, the ring of stages, who fills it and who multiplies from it.
#pragma once

#include "cuda/gemm.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/convert.h"
#include "cuda/ptx/grid.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/ptx/warpgroup.h"

namespace sn::cuda {

// A product as the kernel gets it: with its operands as tensor copies see them.
struct WarpgroupProduct {
  TensorMap a, b, c, aux;
  Product<bf16> product;
  unsigned tiles;  // of all slices
};

constexpr int kGroupThreads = 128;     // of a warpgroup
constexpr int kMultiplyingGroups = 2;  // and one before them that loads
// Named barriers of one warpgroup alone, and those by which they take turns: one of each a group.
constexpr unsigned kGroupBarrier = 1, kTurnBarrier = kGroupBarrier + kMultiplyingGroups;
constexpr int kWarpgroupThreads = (1 + kMultiplyingGroups) * kGroupThreads;

// A step of an operand is so deep, a line of 128 bytes: what one swizzle spans.
constexpr int kStepDepth = 64;
constexpr int kLineBytes = kStepDepth * static_cast<int>(sizeof(bf16));
// 64 such lines: of an operand whose lines lie side by side one box, of c what waits to be stored.
constexpr int kSquareBytes = 64 * kLineBytes;

template <int Tile>
struct WarpgroupLayout {
  static constexpr WarpgroupTile kTile = kWarpgroupTiles[Tile];
  static constexpr int kRows = kTile.pingPong ? kTile.rows : kTile.rows / kMultiplyingGroups;  // of a warpgroup
  static constexpr int kColumns = kTile.columns, kStages = kTile.stages, kSlots = kTile.slots;
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
  static_assert(kStepDepth == kDepthUnit);
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

  // By one thread. A stage is full once its bytes have come, and empty once each warpgroup that reads it has said so.
  __device__ void initBarriers() const {
    for (int stage = 0; stage < Layout::kStages; ++stage) {
      initMbarrier(full + stage, 1);
      initMbarrier(empty + stage, Layout::kTile.pingPong ? 1 : kMultiplyingGroups);
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

__device__ __forceinline__ uint32_t stepsOf(const Part &part) {
  return static_cast<uint32_t>(part.end - part.begin + kStepDepth - 1) / kStepDepth;
}

// ---- the warpgroup that loads ---------------------------------------------------------------------------------------

// One step of `Lines` lines. What lies outside of the operand is zero, and changes no sum.
template <Major major, int Lines>
__device__ __forceinline__ void loadStep(unsigned char *target, const TensorMap *map, int line, int k, int batch,
                                         Mbarrier *full) {
  if constexpr (major == Major::inner) {
    loadTile(target, map, k, line, batch, 0, full);
  } else {
#pragma unroll
    for (int i = 0; i < Lines / 64; ++i) {
      loadTile(target + i * kSquareBytes, map, line + 64 * i, k, batch, 0, full);
    }
  }
}

// One thread keeps the ring full, tile after tile.
template <typename Layout, Major majorA, Major majorB>
__device__ __forceinline__ void loadTiles(const WarpgroupProduct &work, const WarpgroupShared<Layout> &shared) {
  const Product<bf16> &product = work.product;
  uint32_t step = 0;
  for (unsigned tile = blockIdx.x; tile < work.tiles; tile += gridDim.x) {
    Part part = partOf(product, tile, Layout::kTile.rows, Layout::kTile.columns);
    int batchOfA = product.aBatch == 0 ? 0 : static_cast<int>(part.batch);
    int batchOfB = product.bBatch == 0 ? 0 : static_cast<int>(part.batch);
#pragma unroll 1
    for (int k = part.begin; k < part.end; k += kStepDepth, ++step) {
      RingPlace<Layout> place(step);
      Mbarrier *full = shared.full + place.stage;
      unsigned char *stage = shared.ring + place.stage * Layout::kStageBytes;
      waitForPhase(shared.empty + place.stage, place.parity ^ 1);
      arriveExpecting(full, Layout::kStageBytes);
      loadStep<majorA, Layout::kTile.rows>(stage, &work.a, part.row, k, batchOfA, full);
      loadStep<majorB, Layout::kColumns>(stage + Layout::kStageBytesA, &work.b, part.column, k, batchOfB, full);
    }
  }
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

// Multiplies the steps that come through the ring from `first` on; `firstRow` is the warpgroup's in the tile. While a
// step is multiplied the one before it, which then is done with, goes back to who loads. lastIsUnderWay() is called
// when nothing is left but to wait.
template <typename Layout, Major majorA, Major majorB, typename F>
__device__ __forceinline__ void multiplySteps(float (&sums)[Layout::kDown][Layout::kColumns / 2],
                                              const WarpgroupShared<Layout> &shared, int firstRow, uint32_t first,
                                              uint32_t steps, F &&lastIsUnderWay) {
  const unsigned char *ring = shared.ring;
  uint64_t a = describe<majorA>(ring + firstRow * kLineBytes), b = describe<majorB>(ring + Layout::kStageBytesA);
  bool releases = threadIdx.x % kGroupThreads == 0;
#pragma unroll 1
  for (uint32_t step = 0; step < steps; ++step) {
    RingPlace<Layout> place(first + step);
    uint64_t stage = uint64_t{place.stage} * (Layout::kStageBytes >> 4);
    waitForPhase(shared.full + place.stage, place.parity);
    fenceWarpgroup();
#pragma unroll
    for (int depth = 0; depth < kStepDepth / 16; ++depth) {
#pragma unroll
      for (int down = 0; down < Layout::kDown; ++down) {
        uint64_t square = stage + static_cast<uint64_t>(down) * (kSquareBytes >> 4);
        multiplyWarpgroup<Layout::kColumns, majorA, majorB>(sums[down], advance<majorA>(a + square, depth),
                                                            advance<majorB>(b + stage, depth), step > 0 || depth > 0);
      }
    }
    commitProducts();
    waitForProducts<1>();
    if (releases && step > 0) arrive(shared.empty + RingPlace<Layout>(first + step - 1).stage);
  }
  lastIsUnderWay();
  waitForProducts<0>();
  if (releases) arrive(shared.empty + RingPlace<Layout>(first + steps - 1).stage);
}

#endif

}  // namespace sn::cuda
