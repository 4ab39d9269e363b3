// gemm_plan.h: how a matrix product is cut into blocks: which kernel, which tile of c, how many parts of k. Host code
// alone: what it decides depends on the shape and on the machine, never on addresses, so that the workspace is known
// before they are and a sum is taken in the same order every time.
#pragma once

#include <sinter/sinter.h>

#include <vector>

namespace sn::cuda {

// What one block computes of c, and in which steps along k it does.
struct GemmTile {
  int rows, columns, depth;
  int warpsDown, warpsAcross;
  int stages;    // steps of both operands that shared memory holds
  int blocks;    // that share a multiprocessor's registers
  double speed;  // the share of a multiprocessor's arithmetic that blocks of this tile reach: estimated, not measured
};

// A warp multiplies 64 x 64 where it can: of what it reads from shared memory it then uses each element 64 times.
constexpr GemmTile kTensorCoreTiles[] = {
    {256, 128, 32, 4, 2, 3, 1, 0.92},  // most use of each element: the largest products
    {128, 128, 32, 2, 2, 4, 2, 0.88},  // two blocks a multiprocessor: one's epilogue hides behind the other's products
    {128, 64, 32, 2, 2, 4, 3, 0.75},   // tall products
    {64, 128, 32, 2, 2, 4, 3, 0.75},   // wide products
    {64, 64, 64, 2, 2, 3, 4, 0.6},     // small products
};
// For operands whose rows do not all begin at multiples of 16 bytes.
constexpr int kUnalignedTile = 4;

constexpr GemmTile kFloatTiles[] = {
    {128, 128, 16, 4, 2, 2, 2, 0.85},
    {64, 64, 16, 4, 1, 2, 4, 0.7},
};

// What a block of the kernel for compute capability 9.0 computes of c at a time. Steps along k are of 64.
struct WarpgroupTile {
  int rows, columns;
  bool pingPong;  // each of the two warpgroups that multiply has a tile of its own; else they share one, half its rows
                  // each
  int stages;     // steps of both operands that shared memory holds
  int slots;      // pieces of 64 rows by 128 bytes, of each warpgroup, in which c waits to be stored
  double speed;   // as above
};

// A warpgroup has at most 128 sums a thread: 64 x 256 or 128 x 128.
constexpr WarpgroupTile kWarpgroupTiles[] = {
    {128, 256, false, 4, 2, 0.80},  // most use of each element: the largest products
    {256, 128, false, 4, 2, 0.78},  // tall ones
    {128, 128, true, 5, 4, 0.74},   // one warpgroup's epilogue hides behind the other's products: a short k
    {64, 256, true, 4, 4, 0.72},   {128, 128, false, 6, 2, 0.70},  // few tiles
    {64, 128, true, 6, 4, 0.60},                                   // small products
};

// Products of at most so many rows read b once, at the speed of memory, and use no tiles.
constexpr int kFewRows = 8;

// A part of k is a multiple of this, as all depths are divisors of it.
constexpr int kDepthUnit = 64;

enum class GemmKernel { fewRows, tensorCore, floats, cublasLt, warpgroup };

struct GemmPlan {
  GemmKernel kernel;
  int tile;         // of the kernel's table; of cuBLASLt the number of its algorithm
  int64_t splits;   // parts of k, each with blocks of its own; their sums meet in the workspace
  int64_t depth;    // of each part but the last
  int cluster = 1;  // blocks, of the kernel for warpgroups, that load columns of b for one another
};

// What a plan depends on besides the shape.
struct GemmMachine {
  int multiprocessors;
  bool hopper;  // whether kernels of sm_90a are used
};

// What the cost model takes.
GemmPlan planGemm(const sn_gemm_shape &shape, const GemmMachine &machine);

// What is worth measuring of our own kernels.
std::vector<GemmPlan> plansOf(const sn_gemm_shape &shape, const GemmMachine &machine);

// A plan as sn_gemm_plans gives it: no two of a shape are alike, and none is 0.
inline int64_t codeOf(const GemmPlan &plan) {
  return (static_cast<int64_t>(plan.kernel) + 1) | int64_t{plan.tile} << 8 | plan.splits << 16 |
         int64_t{plan.cluster - 1} << 32;
}

// The row stride of the parts' sums in the workspace, which lie there as [batch][splits][m][stride].
inline int64_t partialStride(const sn_gemm_shape &shape) { return (shape.n + 7) / 8 * 8; }

int64_t workspaceBytes(const GemmPlan &plan, const sn_gemm_shape &shape);

}  // namespace sn::cuda
