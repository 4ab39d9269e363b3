// gemm_warpgroup_block.cuh: what a block of the kernels for compute capability 9.0 does from first to last, and how one
// is launched.
#pragma once

#include <algorithm>

#include "cuda/gemm_warpgroup_epilogue.cuh"

namespace sn::cuda {

// The registers of a thread that loads, and of one that multiplies: together what the block was given.
constexpr int kLoadingRegisters = 40, kMultiplyingRegisters = 232;
constexpr int kGivenRegisters = 65536 / kWarpgroupThreads / 8 * 8;  // of each thread, when the block starts
static_assert(kLoadingRegisters + kMultiplyingGroups * kMultiplyingRegisters <=
              (1 + kMultiplyingGroups) * kGivenRegisters);

#if SN_HOPPER

// multiply(sums, shared, first row of the warpgroup, first step, steps, lastIsUnderWay) takes the products of a tile,
// as multiplySteps.
template <typename Layout, Major majorA, Major majorB, typename F>
__device__ __forceinline__ void computeTiles(const WarpgroupProduct &work, unsigned char *memory, F &&multiply) {
  constexpr bool kPingPong = Layout::kTile.pingPong;
  WarpgroupShared<Layout> shared(memory);
  if (threadIdx.x == 0) {
    shared.initBarriers(work.cluster);
    prefetchMap(&work.a);
    prefetchMap(&work.b);
    prefetchMap(&work.c);
  }
  __syncthreads();
  if (work.cluster > 1) syncCluster();
  // What comes before touches no memory that the kernel before this one reads or writes.
  waitForPriorGrid();
  if (threadIdx.x < kGroupThreads) {
    lowerRegisters<kLoadingRegisters>();
    if (threadIdx.x == 0) {
      loadTiles<Layout, majorA, majorB>(work, shared);
      releaseNextGrid();
    }
  } else {
    raiseRegisters<kMultiplyingRegisters>();
    unsigned group = threadIdx.x / kGroupThreads - 1;
    WarpgroupEpilogue<Layout> epilogue(work, shared, group);
    uint32_t step = 0, turn = 0;
    forTiles<Layout>(work, [&](const Part &part, uint32_t steps, bool another) {
      if (!kPingPong || turn % kMultiplyingGroups == group) {
        float sums[Layout::kDown][Layout::kColumns / 2];
        epilogue.begin(part);
        if (kPingPong && turn > 0) waitForTurn(group);
        multiply(sums, shared, Layout::firstRow(group), step, steps, [&] {
          if (kPingPong && another) giveTurn(group);
        });
        epilogue.finish(sums);
      }
      step += steps;
      ++turn;
    });
    epilogue.end();
  }
  // Others may still say that they have read what this block loaded.
  if (work.cluster > 1) syncCluster();
}

#endif

// ---- launching ------------------------------------------------------------------------------------------------------

// An operand of `lines`, k of each, of which there are `count`; a box has `boxLines` lines and a step of k.
inline cudaError_t describeOperand(TensorMap *map, Element element, const void *data, Major major, int lines, int k,
                                   int64_t stride, unsigned count, int64_t batch, int boxLines) {
  bool inner = major == Major::inner;
  uint32_t across = kLineBytes / bytesOf(element);
  Axis side{static_cast<uint64_t>(inner ? k : lines), 1, across};
  Axis rows{static_cast<uint64_t>(inner ? lines : k), static_cast<uint64_t>(stride),
            inner ? static_cast<uint32_t>(boxLines) : across};
  Axis batches{batch == 0 ? 1 : count, static_cast<uint64_t>(batch == 0 ? stride : batch), 1};
  return describeTensor(map, element, data, {side, rows, batches, {1, batches.stride, 1}}, true);
}

// c or aux: slices of m rows.
inline cudaError_t describeOutput(TensorMap *map, const Product<bf16> &product, const void *data, bool wide,
                                  unsigned slices) {
  const auto &out = product.out;
  Axis columns{static_cast<uint64_t>(product.n), 1, wide ? 32u : 64u};
  Axis rows{static_cast<uint64_t>(product.m), static_cast<uint64_t>(out.stride), 64};
  Axis batches{slices, static_cast<uint64_t>(slices == 1 ? out.stride : out.batch), 1};
  return describeTensor(map, wide ? Element::f32 : Element::bf16, data,
                        {columns, rows, batches, {1, batches.stride, 1}}, true);
}

// Launches the kernel on operands of this type, all of whose addresses and strides suit tensor copies.
template <typename Layout>
cudaError_t launchTiles(void (*kernel)(WarpgroupProduct), WarpgroupProduct work, Element element, const void *a,
                        Major majorA, const void *b, Major majorB, unsigned slices, int multiprocessors,
                        cudaStream_t stream) {
  const Product<bf16> &product = work.product;
  unsigned cluster = work.cluster, batches = slices / static_cast<unsigned>(product.splits);
  cudaError_t error = describeOperand(&work.a, element, a, majorA, product.m, product.k, product.aStride, batches,
                                      product.aBatch, Layout::kTile.rows);
  if (error == cudaSuccess) {
    error = describeOperand(&work.b, element, b, majorB, product.n, product.k, product.bStride, batches, product.bBatch,
                            Layout::kColumns / static_cast<int>(cluster));
  }
  if (error == cudaSuccess) error = describeOutput(&work.c, product, product.out.c, product.out.wide, slices);
  if (error == cudaSuccess && product.out.aux != nullptr) {
    error = describeOutput(&work.aux, product, product.out.aux, false, slices);
  }
  if (error != cudaSuccess) return error;
  WarpgroupTile tile = Layout::kTile;
  tile.rows *= static_cast<int>(cluster);
  work.tiles = tilesOf(product, tile, slices);
  unsigned clusters = std::min(work.tiles, std::max(1u, static_cast<unsigned>(multiprocessors) / cluster));
  return launchWith({cluster, true}, kernel, dim3(clusters * cluster), dim3(kWarpgroupThreads), Layout::kSharedBytes,
                    stream, work);
}

}  // namespace sn::cuda
