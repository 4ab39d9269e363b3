// gemm_plan.cpp: the cost model that cuts a product into blocks.
//
// The busiest multiprocessor decides. It takes ceil(tiles / multiprocessors) tiles, and each of them multiplies for
// rows x columns x depth steps, or waits for memory where it has few columns a row; then it writes its tile. Parts of k
// give every multiprocessor something to do where c has few tiles, for the price of writing and reading their sums.
#include "cuda/gemm_plan.h"

#include <algorithm>
#include <span>

namespace sn::cuda {

namespace {

// What a kernel reaches on one multiprocessor, roughly on an A100 and an H100. Only ratios matter.
struct Rates {
  double products;  // multiplications and additions a cycle
  double loaded;    // bytes from the second-level cache, a cycle
  double written;   // bytes of c, a cycle
  double fill;      // cycles until the first step's operands are there
  double waiting;   // the share that is not hidden of what takes less time, loading or multiplying
};

constexpr Rates kTensorCoreRates{1024, 32, 16, 1500, 0}, kFloatRates{128, 32, 16, 1500, 0},
    kWarpgroupRates{2048, 50, 32, 2500, 0.1};

// Of the kernel that adds the parts.
constexpr double kLaunchCycles = 4000, kAddedBytes = 32;
// An activation or its slope, for each element of c.
constexpr double kActivationCycles = 0.08;

// Parts of k shorter than this cost more than they bring.
constexpr int64_t kLeastDepth = 256;
constexpr int64_t kMostSplits = 64;

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A tile of some kernel.
struct Tiling {
  GemmKernel kernel;
  int tile, rows, columns;
  int cluster;    // tiles, one below the other, that load b once
  bool pingPong;  // whether a tile's epilogue hides behind the next one's products
  double speed;
  Rates rates;
};

template <typename Tile>
void append(std::vector<Tiling> &all, GemmKernel kernel, int cluster, std::span<const Tile> tiles, const Rates &rates) {
  for (size_t i = 0; i < tiles.size(); ++i) {
    bool pingPong = false;
    if constexpr (requires { tiles[i].pingPong; }) pingPong = tiles[i].pingPong;
    all.push_back(
        {kernel, static_cast<int>(i), tiles[i].rows, tiles[i].columns, cluster, pingPong, tiles[i].speed, rates});
  }
}

// Whether rows begin at multiples of 16 bytes where their tensor does.
bool rowsKeepAlignment(const sn_gemm_shape &s, int64_t stride, int64_t batch, int64_t elementBytes) {
  int64_t count = 16 / elementBytes;
  return stride % count == 0 && (s.batch == 1 || batch % count == 0);
}

bool operandsKeepAlignment(const sn_gemm_shape &s) {
  return rowsKeepAlignment(s, s.a_stride, s.a_batch, 2) && rowsKeepAlignment(s, s.b_stride, s.b_batch, 2);
}

// Whether tensor copies can move all that the product reads and writes. An fp32 c has no aux beside it.
bool suitsWarpgroup(const sn_gemm_shape &s) {
  constexpr int64_t kLongestStride = int64_t{1} << 37;  // 2^40 bytes are too many, of any type
  bool wide = s.c_dtype == SN_F32;
  if (std::max({s.a_stride, s.b_stride, s.c_stride}) > kLongestStride) return false;
  if (s.batch > 1 && std::max({s.a_batch, s.b_batch, s.c_batch}) > kLongestStride) return false;
  bool plain = s.epilogue == SN_EPILOGUE_NONE || s.epilogue == SN_EPILOGUE_BIAS;
  return s.dtype == SN_BF16 && (plain || !wide) && operandsKeepAlignment(s) &&
         rowsKeepAlignment(s, s.c_stride, s.c_batch, wide ? 4 : 2);
}

std::vector<Tiling> tilingsOf(const sn_gemm_shape &s, const GemmMachine &machine) {
  std::vector<Tiling> all;
  if (s.dtype == SN_F32) {
    append<GemmTile>(all, GemmKernel::floats, 1, kFloatTiles, kFloatRates);
    return all;
  }
  if (machine.hopper && suitsWarpgroup(s)) {
    for (int cluster : {1, 2}) {
      if (cluster > machine.multiprocessors) continue;
      append<WarpgroupTile>(all, GemmKernel::warpgroup, cluster, kWarpgroupTiles, kWarpgroupRates);
    }
  }
  append<GemmTile>(all, GemmKernel::tensorCore, 1, kTensorCoreTiles, kTensorCoreRates);
  return all;
}

int64_t tilesOf(const Tiling &tiling, const sn_gemm_shape &s) {
  int64_t down = ceilDivide(s.m, int64_t{tiling.cluster} * tiling.rows) * tiling.cluster;
  return s.batch * down * ceilDivide(s.n, tiling.columns);
}

int64_t depthOf(const sn_gemm_shape &s, int64_t splits) {
  return ceilDivide(ceilDivide(s.k, splits), kDepthUnit) * kDepthUnit;
}

double cyclesOf(const Tiling &tiling, const sn_gemm_shape &s, int64_t splits, int multiprocessors) {
  double bytes = s.dtype == SN_F32 ? 4 : 2, bytesOfC = splits > 1 || s.c_dtype == SN_F32 ? 4 : 2;
  auto depth = static_cast<double>(splits == 1 ? s.k : depthOf(s, splits));
  int64_t atOnce = multiprocessors / tiling.cluster * tiling.cluster;
  auto turns = static_cast<double>(ceilDivide(tilesOf(tiling, s) * splits, atOnce));
  double area = double{1} * tiling.rows * tiling.columns;
  double multiplying = area * depth / (tiling.rates.products * tiling.speed);
  double loading = (tiling.rows + tiling.columns / tiling.cluster) * depth * bytes / tiling.rates.loaded;
  double product = std::max(multiplying, loading) + tiling.rates.waiting * std::min(multiplying, loading);
  double epilogue = area * bytesOfC / tiling.rates.written;
  bool activation = s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION || s.epilogue == SN_EPILOGUE_ACTIVATION_BACKWARD;
  if (activation && splits == 1) epilogue += area * kActivationCycles;
  double cycles = tiling.rates.fill * tiling.cluster;
  if (tiling.pingPong) {
    cycles += turns * std::max(product, epilogue / 2) + epilogue;
  } else {
    cycles += turns * (product + epilogue);
  }
  if (splits > 1) {
    auto sums = static_cast<double>(s.batch * splits * s.m * s.n);
    cycles += kLaunchCycles + sums * 2 * sizeof(float) / (kAddedBytes * multiprocessors);
  }
  return cycles;
}

// More parts than fill the machine twice only cost.
int64_t mostSplits(const Tiling &tiling, const sn_gemm_shape &s, int multiprocessors) {
  int64_t useful = ceilDivide(2 * int64_t{multiprocessors}, tilesOf(tiling, s));
  return std::max<int64_t>(1, std::min({kMostSplits, s.k / kLeastDepth, useful}));
}

GemmPlan planOf(const Tiling &tiling, const sn_gemm_shape &s, int64_t splits) {
  int64_t depth = splits == 1 ? s.k : depthOf(s, splits);
  // Rounding the depth up may leave nothing for the last parts.
  return {tiling.kernel, tiling.tile, ceilDivide(s.k, depth), depth, tiling.cluster};
}

// The tile and the number of parts that take the fewest cycles; among equals the first.
GemmPlan cheapest(const sn_gemm_shape &s, const GemmMachine &machine) {
  GemmPlan best{};
  double least = -1;
  for (const Tiling &tiling : tilingsOf(s, machine)) {
    int64_t most = mostSplits(tiling, s, machine.multiprocessors);
    for (int64_t splits = 1; splits <= most; ++splits) {
      double cycles = cyclesOf(tiling, s, splits, machine.multiprocessors);
      if (least >= 0 && cycles >= least) continue;
      least = cycles;
      best = planOf(tiling, s, splits);
    }
  }
  return best;
}

// Few rows, and enough columns for the blocks of the kernel that is made for them, or little to read.
bool suitsFewRows(const sn_gemm_shape &s, int multiprocessors) {
  constexpr int64_t kColumns = 16, kLittle = 4096;
  int64_t blocks = s.batch * ceilDivide(s.n, kColumns);
  return s.m <= kFewRows && (8 * blocks >= multiprocessors || s.k <= kLittle);
}

}  // namespace

GemmPlan planGemm(const sn_gemm_shape &shape, const GemmMachine &machine) {
  if (suitsFewRows(shape, machine.multiprocessors)) return {GemmKernel::fewRows, 0, 1, shape.k};
  return cheapest(shape, machine);
}

std::vector<GemmPlan> plansOf(const sn_gemm_shape &shape, const GemmMachine &machine) {
  std::vector<GemmPlan> plans;
  if (shape.m <= kFewRows) plans.push_back({GemmKernel::fewRows, 0, 1, shape.k});
  for (const Tiling &tiling : tilingsOf(shape, machine)) {
    // The others would all run as the one for rows that are not aligned.
    bool suits = tiling.tile == kUnalignedTile || operandsKeepAlignment(shape);
    if (tiling.kernel == GemmKernel::tensorCore && !suits) continue;
    int64_t most = mostSplits(tiling, shape, machine.multiprocessors), before = 0;
    for (int64_t splits = 1; splits <= most; splits = splits == most ? most + 1 : std::min(2 * splits, most)) {
      GemmPlan plan = planOf(tiling, shape, splits);
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
