// gemm_warpgroup.cu: bf16 products on wgmma, for compute capability 9.0.
//
// A block stays on its multiprocessor and computes tile after tile of c. One thread of its first warpgroup has tensor
// copies fill a ring of stages in shared memory; the two other warpgroups, which have nearly all registers, multiply
// straight from there and hand each stage back. Either they share a tile, half its rows each, or they take turns
// (ping-pong): each has every second tile to itself, and its epilogue hides behind the other's products.
//
// All four orders of the operands are read as they lie in memory: the swizzle lets wgmma take an operand along k or
// across it.
#include "cuda/gemm_warpgroup_block.cuh"

namespace sn::cuda {

namespace {

template <int Tile, Major majorA, Major majorB>
__global__ void __launch_bounds__(kWarpgroupThreads, 1)
    multiplyWarpgroups([[maybe_unused]] const __grid_constant__ WarpgroupProduct work) {
#if SN_HOPPER
  using Layout = WarpgroupLayout<Tile>;
  SN_DYNAMIC_SHARED(memory);
  computeTiles<Layout, majorA, majorB>(work, memory, [&](auto &sums, auto &&...where) {
    multiplySteps<Layout, majorA, majorB>(sums, work.cluster, where...);
  });
#endif
}

template <int Tile>
cudaError_t launchTile(const Product<bf16> &product, unsigned cluster, bool transposeA, bool transposeB,
                       unsigned slices, int multiprocessors, cudaStream_t stream) {
  constexpr Major kInner = Major::inner, kOuter = Major::outer;
  // [a is transposed][b is transposed]
  static constexpr void (*kKernels[2][2])(WarpgroupProduct) = {
      {multiplyWarpgroups<Tile, kInner, kOuter>, multiplyWarpgroups<Tile, kInner, kInner>},
      {multiplyWarpgroups<Tile, kOuter, kOuter>, multiplyWarpgroups<Tile, kOuter, kInner>}};
  WarpgroupProduct work{};
  work.product = product;
  work.cluster = cluster;
  return launchTiles<WarpgroupLayout<Tile>>(kKernels[transposeA][transposeB], work, Element::bf16, product.a,
                                            transposeA ? kOuter : kInner, product.b, transposeB ? kInner : kOuter,
                                            slices, multiprocessors, stream);
}

using Launcher = cudaError_t(const Product<bf16> &, unsigned, bool, bool, unsigned, int, cudaStream_t);

template <int... Tiles>
Launcher *launcherOf(int tile, std::integer_sequence<int, Tiles...>) {
  static constexpr Launcher *kLaunchers[] = {launchTile<Tiles>...};
  return kLaunchers[tile];
}

}  // namespace

bool outputsSuitWarpgroup(const Product<bf16> &product) {
  const auto &out = product.out;
  bool aligned = out.wide ? rowsAreAligned(static_cast<const float *>(out.c), out.stride, out.batch)
                          : rowsAreAligned(static_cast<const bf16 *>(out.c), out.stride, out.batch);
  return aligned && (out.aux == nullptr || rowsAreAligned(out.aux, out.stride, out.batch));
}

bool suitsWarpgroup(const Product<bf16> &product) {
  return outputsSuitWarpgroup(product) && rowsAreAligned(product.a, product.aStride, product.aBatch) &&
         rowsAreAligned(product.b, product.bStride, product.bBatch);
}

cudaError_t launchWarpgroup(const Product<bf16> &product, int tile, int cluster, bool transposeA, bool transposeB,
                            unsigned slices, int multiprocessors, cudaStream_t stream) {
  constexpr auto kTiles = std::make_integer_sequence<int, static_cast<int>(std::size(kWarpgroupTiles))>();
  return launcherOf(tile, kTiles)(product, static_cast<unsigned>(cluster), transposeA, transposeB, slices,
                                  multiprocessors, stream);
}

}  // namespace sn::cuda
