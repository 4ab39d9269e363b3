// gemm_warpgroup.cu: bf16 products on wgmma, for compute capability 9.0.
//
// A block stays on its multiprocessor and computes tile after tile of c. One thread of its first warpgroup has tensor
// copies fill a ring of stages in shared memory; the two other warpgroups, which have nearly all registers, multiply
// straight from there and hand each stage back. Either they share a tile, half its rows each, or they take turns
// (ping-pong): each has every second tile to itself, and its epilogue hides behind the other's products.
//
// All four orders of the operands are read as they lie in memory: the swizzle lets wgmma take an operand along k or
// across it.
#include <algorithm>

#include "cuda/gemm_warpgroup.cuh"
#include "cuda/gemm_warpgroup_epilogue.cuh"

namespace sn::cuda {

namespace {

// The registers of a thread that loads, and of one that multiplies: together what the block was given.
constexpr int kLoadingRegisters = 40, kMultiplyingRegisters = 232;
static_assert(kLoadingRegisters + kMultiplyingGroups * kMultiplyingRegisters <= 65536 / kGroupThreads);

template <int Tile, Major majorA, Major majorB>
__global__ void __launch_bounds__(kWarpgroupThreads, 1)
    multiplyWarpgroups([[maybe_unused]] const __grid_constant__ WarpgroupProduct work) {
#if SN_HOPPER
  using Layout = WarpgroupLayout<Tile>;
  constexpr bool kPingPong = Layout::kTile.pingPong;
  SN_DYNAMIC_SHARED(memory);
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
        multiplySteps<Layout, majorA, majorB>(sums, shared, work.cluster, Layout::firstRow(group), step, steps, [&] {
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
#endif
}

// ---- the instances ------------------------------------------------------------------------------------------------

// An operand of `lines`, k of each, of which there are `count`; a box has `boxLines` lines and a step of k.
cudaError_t describeOperand(TensorMap *map, const bf16 *data, Major major, int lines, int k, int64_t stride,
                            unsigned count, int64_t batch, int boxLines) {
  bool inner = major == Major::inner;
  Axis side{static_cast<uint64_t>(inner ? k : lines), 1, kStepDepth};
  Axis rows{static_cast<uint64_t>(inner ? lines : k), static_cast<uint64_t>(stride),
            static_cast<uint32_t>(inner ? boxLines : kStepDepth)};
  Axis batches{batch == 0 ? 1 : count, static_cast<uint64_t>(batch == 0 ? stride : batch), 1};
  return describeTensor(map, Element::bf16, data, {side, rows, batches, {1, batches.stride, 1}}, true);
}

// c or aux: slices of m rows.
cudaError_t describeOutput(TensorMap *map, const Product<bf16> &product, const void *data, bool wide, unsigned slices) {
  const auto &out = product.out;
  Axis columns{static_cast<uint64_t>(product.n), 1, wide ? 32u : 64u};
  Axis rows{static_cast<uint64_t>(product.m), static_cast<uint64_t>(out.stride), 64};
  Axis batches{slices, static_cast<uint64_t>(slices == 1 ? out.stride : out.batch), 1};
  return describeTensor(map, wide ? Element::f32 : Element::bf16, data,
                        {columns, rows, batches, {1, batches.stride, 1}}, true);
}

template <int Tile>
cudaError_t launchTile(const Product<bf16> &product, unsigned cluster, bool transposeA, bool transposeB,
                       unsigned slices, int multiprocessors, cudaStream_t stream) {
  constexpr Major kInner = Major::inner, kOuter = Major::outer;
  using Layout = WarpgroupLayout<Tile>;
  // [a is transposed][b is transposed]
  static constexpr void (*kKernels[2][2])(WarpgroupProduct) = {
      {multiplyWarpgroups<Tile, kInner, kOuter>, multiplyWarpgroups<Tile, kInner, kInner>},
      {multiplyWarpgroups<Tile, kOuter, kOuter>, multiplyWarpgroups<Tile, kOuter, kInner>}};
  unsigned batches = slices / static_cast<unsigned>(product.splits);
  WarpgroupTile tile = Layout::kTile;
  tile.rows *= static_cast<int>(cluster);
  WarpgroupProduct work{{}, {}, {}, {}, product, cluster, tilesOf(product, tile, slices)};
  cudaError_t error = describeOperand(&work.a, product.a, transposeA ? kOuter : kInner, product.m, product.k,
                                      product.aStride, batches, product.aBatch, Layout::kTile.rows);
  if (error == cudaSuccess) {
    error = describeOperand(&work.b, product.b, transposeB ? kInner : kOuter, product.n, product.k, product.bStride,
                            batches, product.bBatch, Layout::kColumns / static_cast<int>(cluster));
  }
  if (error == cudaSuccess) error = describeOutput(&work.c, product, product.out.c, product.out.wide, slices);
  if (error == cudaSuccess && product.out.aux != nullptr) {
    error = describeOutput(&work.aux, product, product.out.aux, false, slices);
  }
  if (error != cudaSuccess) return error;
  unsigned clusters = std::min(work.tiles, std::max(1u, static_cast<unsigned>(multiprocessors) / cluster));
  return launchWith({cluster, true}, kKernels[transposeA][transposeB], dim3(clusters * cluster),
                    dim3(kWarpgroupThreads), Layout::kSharedBytes, stream, work);
}

using Launcher = cudaError_t(const Product<bf16> &, unsigned, bool, bool, unsigned, int, cudaStream_t);

template <int... Tiles>
Launcher *launcherOf(int tile, std::integer_sequence<int, Tiles...>) {
  static constexpr Launcher *kLaunchers[] = {launchTile<Tiles>...};
  return kLaunchers[tile];
}

}  // namespace

bool suitsWarpgroup(const Product<bf16> &product) {
  const auto &out = product.out;
  bool outputs = out.wide ? rowsAreAligned(static_cast<const float *>(out.c), out.stride, out.batch)
                          : rowsAreAligned(static_cast<const bf16 *>(out.c), out.stride, out.batch);
  outputs = outputs && (out.aux == nullptr || rowsAreAligned(out.aux, out.stride, out.batch));
  return outputs && rowsAreAligned(product.a, product.aStride, product.aBatch) &&
         rowsAreAligned(product.b, product.bStride, product.bBatch);
}

cudaError_t launchWarpgroup(const Product<bf16> &product, int tile, int cluster, bool transposeA, bool transposeB,
                            unsigned slices, int multiprocessors, cudaStream_t stream) {
  constexpr auto kTiles = std::make_integer_sequence<int, static_cast<int>(std::size(kWarpgroupTiles))>();
  return launcherOf(tile, kTiles)(product, static_cast<unsigned>(cluster), transposeA, transposeB, slices,
                                  multiprocessors, stream);
}

}  // namespace sn::cuda
