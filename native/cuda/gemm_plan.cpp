// gemm_plan.cpp: the cost model that cuts a product into blocks.
//
// The busiest multiprocessor decides. It takes ceil(blocks / multiprocessors) blocks, and each of them multiplies for
// rows x columns x depth steps, or waits for memory where it has few columns a row; then it writes its tile. Parts of k
// give every multiprocessor something to do where c has few tiles, for the price of writing and reading their sums.
#include "cuda/gemm_plan.h"

#include <algorithm>
#include <span>

namespace sn::cuda {

namespace {

// Cycles and bytes of one multiprocessor, roughly those of an A100 and an H100. Only ratios matter.
constexpr double kTensorCoreProducts = 1024;  // multiplications and additions a cycle
constexpr double kFloatProducts = 128;
constexpr double kLoadedBytes = 32;     // from the second-level cache, a cycle
constexpr double kWrittenBytes = 16;    // of sums, a cycle
constexpr double kFillCycles = 1500;    // until the first step's operands are there
constexpr double kLaunchCycles = 4000;  // of the kernel that adds the parts

// Parts of k shorter than this cost more than they bring.
constexpr int64_t kLeastDepth = 256;
constexpr int64_t kMostSplits = 64;

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Machine {
  int multiprocessors;
  double products;  // a cycle
  double bytes;     // of an element
};

int64_t tilesOf(const GemmTile &tile, const sn_gemm_shape &s) {
  return s.batch * ceilDivide(s.m, tile.rows) * ceilDivide(s.n, tile.columns);
}

int64_t depthOf(const sn_gemm_shape &s, int64_t splits) {
  return ceilDivide(ceilDivide(s.k, splits), kDepthUnit) * kDepthUnit;
}

double cyclesOf(const GemmTile &tile, const sn_gemm_shape &s, int64_t splits, const Machine &machine) {
  auto depth = static_cast<double>(splits == 1 ? s.k : depthOf(s, splits));
  auto turns = static_cast<double>(ceilDivide(tilesOf(tile, s) * splits, machine.multiprocessors));
  double area = double{1} * tile.rows * tile.columns;
  double multiplying = area * depth / (machine.products * tile.speed);
  double loading = (tile.rows + tile.columns) * depth * machine.bytes / kLoadedBytes;
  double cycles = turns * (std::max(multiplying, loading) + area * machine.bytes / kWrittenBytes) + kFillCycles;
  if (splits > 1) {
    auto sums = static_cast<double>(s.batch * splits * s.m * s.n);
    cycles += kLaunchCycles + sums * 2 * sizeof(float) / (kLoadedBytes * machine.multiprocessors);
  }
  return cycles;
}

// More parts than fill the machine twice only cost.
int64_t mostSplits(const GemmTile &tile, const sn_gemm_shape &s, const Machine &machine) {
  int64_t useful = ceilDivide(2 * int64_t{machine.multiprocessors}, tilesOf(tile, s));
  return std::max<int64_t>(1, std::min({kMostSplits, s.k / kLeastDepth, useful}));
}

// The kernel with tiles that a shape has.
struct Tiled {
  GemmKernel kernel;
  std::span<const GemmTile> tiles;
  Machine machine;
};

Tiled tiledOf(const sn_gemm_shape &s, int multiprocessors) {
  if (s.dtype == SN_BF16) {
    return {GemmKernel::tensorCore, kTensorCoreTiles, {multiprocessors, kTensorCoreProducts, 2}};
  }
  return {GemmKernel::floats, kFloatTiles, {multiprocessors, kFloatProducts, 4}};
}

GemmPlan planOf(GemmKernel kernel, size_t tile, const sn_gemm_shape &s, int64_t splits) {
  int64_t depth = splits == 1 ? s.k : depthOf(s, splits);
  // Rounding the depth up may leave nothing for the last parts.
  return {kernel, static_cast<int>(tile), ceilDivide(s.k, depth), depth};
}

// The tile and the number of parts that take the fewest cycles; among equals the larger tile and the fewer parts.
GemmPlan cheapest(const sn_gemm_shape &s, const Tiled &tiled) {
  GemmPlan best{};
  double least = -1;
  for (size_t tile = 0; tile < tiled.tiles.size(); ++tile) {
    int64_t most = mostSplits(tiled.tiles[tile], s, tiled.machine);
    for (int64_t splits = 1; splits <= most; ++splits) {
      double cycles = cyclesOf(tiled.tiles[tile], s, splits, tiled.machine);
      if (least >= 0 && cycles >= least) continue;
      least = cycles;
      best = planOf(tiled.kernel, tile, s, splits);
    }
  }
  return best;
}

// Whether the rows of bf16 operands keep the alignment to 16 bytes that their tensors have.
bool rowsKeepAlignment(const sn_gemm_shape &s) {
  bool batches = s.batch == 1 || (s.a_batch % 8 == 0 && s.b_batch % 8 == 0);
  return batches && s.a_stride % 8 == 0 && s.b_stride % 8 == 0;
}

// Few rows, and enough columns for the blocks of the kernel that is made for them, or little to read.
bool suitsFewRows(const sn_gemm_shape &s, int multiprocessors) {
  constexpr int64_t kColumns = 16, kLittle = 4096;
  int64_t blocks = s.batch * ceilDivide(s.n, kColumns);
  return s.m <= kFewRows && (8 * blocks >= multiprocessors || s.k <= kLittle);
}

}  // namespace

GemmPlan planGemm(const sn_gemm_shape &shape, int multiprocessors) {
  if (suitsFewRows(shape, multiprocessors)) return {GemmKernel::fewRows, 0, 1, shape.k};
  return cheapest(shape, tiledOf(shape, multiprocessors));
}

std::vector<GemmPlan> plansOf(const sn_gemm_shape &shape, int multiprocessors) {
  std::vector<GemmPlan> plans;
  if (shape.m <= kFewRows) plans.push_back({GemmKernel::fewRows, 0, 1, shape.k});
  Tiled tiled = tiledOf(shape, multiprocessors);
  for (size_t tile = 0; tile < tiled.tiles.size(); ++tile) {
    // The others would all run as the one for rows that are not aligned.
    bool suits = static_cast<int>(tile) == kUnalignedTile || rowsKeepAlignment(shape);
    if (tiled.kernel == GemmKernel::tensorCore && !suits) continue;
    int64_t most = mostSplits(tiled.tiles[tile], shape, tiled.machine), before = 0;
    for (int64_t splits = 1; splits <= most; splits = splits == most ? most + 1 : std::min(2 * splits, most)) {
      GemmPlan plan = planOf(tiled.kernel, tile, shape, splits);
      if (plan.splits > before) plans.push_back(plan);
      before = plan.splits;
    }
  }
  return plans;
}

int64_t workspaceBytes(const GemmPlan &plan, const sn_gemm_shape &shape) {
  if (plan.splits == 1) return 0;
  return shape.batch * plan.splits * shape.m * partialStride(shape) * static_cast<int64_t>(sizeof(float));
}

}  // namespace sn::cuda
