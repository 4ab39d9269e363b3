#include "cuda/gemm_plan.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <set>

#include "gemm_tiles.h"

using namespace sn::cuda;
using namespace sn::testing;

namespace {

sn_gemm_shape shapeOf(int64_t m, int64_t n, int64_t k, sn_dtype dtype, int64_t batch = 1) {
  sn_gemm_shape shape{};
  shape.batch = batch;
  shape.m = m;
  shape.n = n;
  shape.k = k;
  shape.dtype = dtype;
  return shape;
}

// As a product of dense tensors has it.
sn_gemm_shape aligned(int64_t m, int64_t n, int64_t k, sn_dtype cDtype) {
  auto shape = shapeOf(m, n, k, SN_BF16);
  shape.a_stride = k;
  shape.b_stride = shape.c_stride = n;
  shape.c_dtype = cDtype;
  return shape;
}

template <size_t Count>
const GemmTile &tileOf(const GemmTile (&tiles)[Count], const GemmPlan &plan) {
  REQUIRE(plan.tile >= 0);
  REQUIRE(static_cast<size_t>(plan.tile) < Count);
  return tiles[plan.tile];
}

}  // namespace

TEST_CASE("every tile is the cheapest for one of the products that the test of gemm computes") {
  for (int multiprocessors : {4, 108, 132, 142}) {
    CAPTURE(multiprocessors);
    std::set<std::pair<sn_dtype, int>> taken;
    for (auto product : tiledProducts(multiprocessors)) {
      CAPTURE(product.m);
      CAPTURE(product.n);
      auto plan = planGemm(shapeOf(product.m, product.n, product.k, product.dtype), {multiprocessors, false});
      CHECK(plan.kernel == (product.dtype == SN_BF16 ? GemmKernel::tensorCore : GemmKernel::floats));
      CHECK(plan.tile == product.tile);
      taken.emplace(product.dtype, plan.tile);
    }
    CHECK(taken.size() == std::size(kTensorCoreTiles) + std::size(kFloatTiles));
  }
}

TEST_CASE("the parts of k cover it without an empty one, and the workspace holds their sums") {
  for (int multiprocessors : {1, 4, 132}) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t m : {9, 64, 200, 768}) {
        for (int64_t n : {1, 77, 768}) {
          for (int64_t k : {1, 63, 511, 512, 513, 1100, 4097, 65536, 1000003}) {
            CAPTURE(multiprocessors);
            CAPTURE(m);
            CAPTURE(n);
            CAPTURE(k);
            auto shape = shapeOf(m, n, k, dtype, 2);
            auto plan = planGemm(shape, {multiprocessors, false});
            CHECK(plan.depth * plan.splits >= k);
            CHECK(plan.depth * (plan.splits - 1) < k);
            if (plan.splits == 1) {
              CHECK(workspaceBytes(plan, shape) == 0);
            } else {
              CHECK(plan.depth % kDepthUnit == 0);
              CHECK(workspaceBytes(plan, shape) == 2 * plan.splits * m * partialStride(shape) * 4);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("few tiles and a long k are cut into parts that fill the GPU; many tiles are not") {
  const int multiprocessors = 132;
  // The gradient of GPT-2's output projection of attention, from 65536 tokens.
  auto plan = planGemm(shapeOf(768, 768, 65536, SN_BF16), {multiprocessors, false});
  const auto &tile = tileOf(kTensorCoreTiles, plan);
  int64_t blocks = (768 / tile.rows) * (768 / tile.columns) * plan.splits;
  CHECK(blocks >= multiprocessors * 9 / 10);
  CHECK(planGemm(shapeOf(65536, 3072, 768, SN_BF16), {multiprocessors, false}).splits == 1);
  CHECK(planGemm(shapeOf(4096, 4096, 4096, SN_F32), {multiprocessors, false}).splits == 1);
}

TEST_CASE("compute capability 9.0 has a kernel of its own where all rows begin at multiples of 16 bytes") {
  const GemmMachine machine{132, true};
  for (auto cDtype : {SN_BF16, SN_F32}) {
    for (int64_t m : {16, 300, 768, 65536}) {
      for (int64_t k : {64, 768, 65536}) {
        CAPTURE(m);
        CAPTURE(k);
        auto shape = aligned(m, 3072, k, cDtype);
        std::set<int64_t> codes;
        std::set<std::pair<int, int>> tiles;
        for (const auto &plan : plansOf(shape, machine)) {
          CHECK(plan.depth * plan.splits >= k);
          CHECK(plan.depth * (plan.splits - 1) < k);
          CHECK(codes.insert(codeOf(plan)).second);
          if (plan.kernel == GemmKernel::warpgroup) tiles.emplace(plan.tile, plan.cluster);
        }
        CHECK(tiles.size() == 2 * std::size(kWarpgroupTiles));
        shape.c_stride += 1;
        for (const auto &plan : plansOf(shape, machine)) CHECK(plan.kernel == GemmKernel::tensorCore);
      }
    }
  }
  // GPT-2's products over 65536 tokens: where k is short, epilogues hide behind products.
  auto forward = planGemm(aligned(65536, 3072, 768, SN_BF16), machine);
  CHECK(forward.kernel == GemmKernel::warpgroup);
  CHECK(kWarpgroupTiles[forward.tile].pingPong);
  CHECK(planGemm(aligned(8192, 8192, 8192, SN_BF16), machine).kernel == GemmKernel::warpgroup);
  auto gradient = planGemm(aligned(768, 768, 65536, SN_F32), machine);
  CHECK(gradient.kernel == GemmKernel::warpgroup);
  CHECK(gradient.splits > 1);
  // An fp32 c beside a bf16 aux is left to the other kernels.
  auto wide = aligned(65536, 3072, 768, SN_F32);
  wide.epilogue = SN_EPILOGUE_BIAS_ACTIVATION;
  CHECK(planGemm(wide, machine).kernel == GemmKernel::tensorCore);
}

TEST_CASE("few rows are read as vectors unless that leaves most of the GPU idle for long") {
  CHECK(planGemm(shapeOf(1, 768, 3072, SN_BF16), {132, false}).kernel == GemmKernel::fewRows);
  CHECK(planGemm(shapeOf(8, 50257, 768, SN_F32), {132, false}).kernel == GemmKernel::fewRows);
  CHECK(planGemm(shapeOf(1, 5, 40, SN_BF16), {132, false}).kernel == GemmKernel::fewRows);
  CHECK(planGemm(shapeOf(9, 768, 768, SN_BF16), {132, false}).kernel == GemmKernel::tensorCore);
  auto plan = planGemm(shapeOf(4, 64, 1000000, SN_BF16), {132, false});
  CHECK(plan.kernel == GemmKernel::tensorCore);
  CHECK(plan.splits > 8);
}

TEST_CASE("the plans to measure cover k, differ, and hold every tile that suits the rows") {
  for (int multiprocessors : {4, 132}) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t m : {1, 8, 9, 768, 65536}) {
        for (int64_t k : {1, 63, 513, 1100, 65536}) {
          for (int64_t stride : {65536, 65537}) {
            CAPTURE(m);
            CAPTURE(k);
            CAPTURE(stride);
            auto shape = shapeOf(m, 768, k, dtype);
            shape.a_stride = shape.b_stride = stride;
            std::set<int64_t> codes;
            std::set<int> tiles;
            bool few = false;
            for (const auto &plan : plansOf(shape, {multiprocessors, false})) {
              CHECK(plan.depth * plan.splits >= k);
              CHECK(plan.depth * (plan.splits - 1) < k);
              CHECK(codeOf(plan) != 0);
              CHECK(codes.insert(codeOf(plan)).second);
              if (plan.kernel == GemmKernel::fewRows) {
                few = true;
              } else {
                tiles.insert(plan.tile);
              }
            }
            CHECK(few == (m <= kFewRows));
            size_t suiting = dtype == SN_F32   ? std::size(kFloatTiles)
                             : stride % 8 != 0 ? 1
                                               : std::size(kTensorCoreTiles);
            CHECK(tiles.size() == suiting);
          }
        }
      }
    }
  }
}
