// gemm_float8.cu: products of numbers of 8 bits on wgmma, for compute capability 9.0.
//
// The kernel of gemm_warpgroup.cu with steps of 128 of k. The tensor cores keep fewer digits of a sum than fp32 has: so
// each step's sums are taken for themselves and then added in fp32, while the other warpgroup multiplies.
#include "cuda/gemm_warpgroup_block.cuh"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

// 128 x 128, shared by both warpgroups: a thread has registers for two sets of sums.
constexpr int kFloat8Tile = 4;

struct Float8Layout : WarpgroupLayout<kFloat8Tile> {
  static constexpr int kDepth = kLineBytes;
  static constexpr bool kScaled = true;
  static_assert(kScaled && kDepth % 32 == 0 && !kTile.pingPong && kDown == 1 && kColumns == 128);
};

#if SN_HOPPER

template <Byte formatA, Byte formatB, typename F>
__device__ __forceinline__ void multiplyBytes(float (&sums)[1][Float8Layout::kColumns / 2],
                                              const WarpgroupShared<Float8Layout> &shared, int firstRow, uint32_t first,
                                              uint32_t steps, F &&) {
  using Layout = Float8Layout;
  uint64_t a = describeInner(shared.ring + firstRow * kLineBytes);
  uint64_t b = describeInner(shared.ring + Layout::kStageBytesA);
#pragma unroll
  for (float &sum : sums[0]) sum = 0;
#pragma unroll 1
  for (uint32_t step = first; step < first + steps; ++step) {
    RingPlace<Layout> place(step);
    uint64_t stage = uint64_t{place.stage} * (Layout::kStageBytes >> 4);
    float part[Layout::kColumns / 2];
    waitForPhase(shared.full + place.stage, place.parity);
    fenceWarpgroup();
#pragma unroll
    for (int depth = 0; depth < Layout::kDepth / 32; ++depth) {
      // 32 bytes, as 16 bf16.
      multiplyWarpgroupBytes<Layout::kColumns, formatA, formatB>(part, advance<Major::inner>(a + stage, depth),
                                                                 advance<Major::inner>(b + stage, depth), depth > 0);
    }
    commitProducts();
    waitForProducts<0>();
    pinRegisters(part);
    release(shared, step, 1);
#pragma unroll
    for (int i = 0; i < Layout::kColumns / 2; ++i) sums[0][i] += part[i];
  }
}

#endif

template <Byte formatA, Byte formatB>
__global__ void __launch_bounds__(kWarpgroupThreads, 1)
    multiplyFloat8([[maybe_unused]] const __grid_constant__ WarpgroupProduct work) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  computeTiles<Float8Layout, Major::inner, Major::inner>(
      work, memory, [](auto &&...where) { multiplyBytes<formatA, formatB>(where...); });
#endif
}

// Whether tensor copies can move all operands: bytes of a and b, c and aux as of bf16 products.
bool suitsTensorCopies(const Product<bf16> &product, const void *a, const void *b) {
  constexpr int64_t kLongestStride = int64_t{1} << 37;
  auto bytesAreAligned = [](const void *first, int64_t stride, int64_t batch) {
    return reinterpret_cast<uintptr_t>(first) % 16 == 0 && stride % 16 == 0 && batch % 16 == 0;
  };
  const auto &out = product.out;
  bool readsAux = out.kind != SN_EPILOGUE_NONE && out.kind != SN_EPILOGUE_BIAS;
  return bytesAreAligned(a, product.aStride, product.aBatch) && bytesAreAligned(b, product.bStride, product.bBatch) &&
         outputsSuitWarpgroup(product) && !(out.wide && readsAux) &&
         std::max({product.aStride, product.aBatch, product.bStride, product.bBatch, out.stride, out.batch}) <=
             kLongestStride;
}

}  // namespace

sn_status gemm_float8(sn_stream *stream, const sn_gemm_shape *shape, sn_float8 a_type, const void *a,
                      const float *a_scale, sn_float8 b_type, const void *b, const float *b_scale, void *c,
                      const void *bias, void *aux) {
  constexpr Byte kE4m3 = Byte::e4m3, kE5m2 = Byte::e5m2;
  // [type of a][type of b]
  static constexpr void (*kKernels[2][2])(WarpgroupProduct) = {
      {multiplyFloat8<kE4m3, kE4m3>, multiplyFloat8<kE4m3, kE5m2>},
      {multiplyFloat8<kE5m2, kE4m3>, multiplyFloat8<kE5m2, kE5m2>}};
  const sn_gemm_shape &s = *shape;
  const Device &device = deviceOf(stream);
  if (!device.hopper) return fail(SN_UNSUPPORTED, "gemm_float8: %s has no such products", device.isa);
  if (sn_status status = checkGemmSize(s); status != SN_OK) return status;
  bool one = s.batch == 1;
  WarpgroupProduct work{};
  work.product = {static_cast<int>(s.m),
                  static_cast<int>(s.n),
                  static_cast<int>(s.k),
                  nullptr,
                  nullptr,
                  s.a_stride,
                  s.b_stride,
                  one ? 0 : s.a_batch,
                  one ? 0 : s.b_batch,
                  1,
                  static_cast<int>(s.k),
                  epilogueOf<bf16>(s, c, bias, aux)};
  work.cluster = 1;
  work.scaleA = a_scale;
  work.scaleB = b_scale;
  if (!suitsTensorCopies(work.product, a, b)) {
    return fail(SN_UNSUPPORTED, "gemm_float8: rows must begin at multiples of 16 bytes, and an F32 c has no aux");
  }
  return check(
      launchTiles<Float8Layout>(kKernels[a_type][b_type], work, Element::byte, a, Major::inner, b, Major::inner,
                                static_cast<unsigned>(s.batch), device.multiprocessors, handleOf(stream)),
      "gemm_float8");
}

}  // namespace sn::cuda
