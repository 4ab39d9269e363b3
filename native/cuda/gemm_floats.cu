// gemm_floats.cu: fp32 products on CUDA cores, with all digits of fp32.
//
// A block computes a tile of c. Two stages in shared memory take turns: while one is multiplied, cp.async brings the
// next step of k into the other, element by element: so it may transpose on the way, and needs no alignment. Both
// operands lie there with their lines side by side, as each thread multiplies a few rows of a by eight columns of b.
#include "cuda/gemm.h"
#include "cuda/ptx/copy.h"

namespace sn::cuda {

namespace {

// Columns of a thread lie side by side in c, which is written in eights. In shared memory they are two fours, half a
// tile apart: so the fours that a warp reads at once are side by side, in different banks.
__device__ __forceinline__ int placeOfColumn(int column, int columns) {
  return column / 4 % 2 * (columns / 2) + column / 8 * 4 + column % 4;
}

// A step of an operand: `Lines` rows of a or columns of b, by `Depth` of k. Four floats more a row of k: elements of
// neighbouring k, which a warp writes at once where it transposes, are then in different banks.
template <int Lines, int Depth>
struct FloatOperand {
  static constexpr int kStride = Lines + 4;
  static constexpr int kElements = Depth * kStride;
};

// Brings an operand into shared memory, step by step. `inner`: k, not the lines, lies side by side in global memory.
template <int Lines, int Depth, int Threads, bool inner, bool columns>
class FloatLoader {
 public:
  // Of an operand of `lines` those from `line`, and of k what the part has.
  __device__ FloatLoader(const float *operand, int64_t stride, int line, int lines, const Part &part)
      : line_(inner ? threadIdx.x / Depth : threadIdx.x % Lines),
        k_(inner ? threadIdx.x % Depth : threadIdx.x / Lines),
        lines_(lines - line),
        depth_(part.end - part.begin),
        stride_(stride),
        source_(originOf(operand, stride, line + line_, part.begin + k_, inner)) {}

  // Brings the next step. What is not there becomes zero, and changes no sum.
  __device__ __forceinline__ void load(float *target) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      int line = line_ + (inner ? i * kStep : 0), k = k_ + (inner ? 0 : i * kStep);
      int place = columns ? placeOfColumn(line, Lines) : line;
      copyAsync<4>(target + k * FloatOperand<Lines, Depth>::kStride + place, source_ + i * kStep * stride_,
                   line < lines_ && k < depth_);
    }
    depth_ -= Depth;
    source_ += inner ? Depth : Depth * stride_;
  }

 private:
  static constexpr int kCopies = Lines * Depth / Threads;
  static constexpr int kStep = Threads / (inner ? Depth : Lines);
  static_assert(Threads % Lines == 0 && Threads % Depth == 0 && Lines * Depth % Threads == 0);

  int line_, k_;
  int lines_, depth_;
  int64_t stride_;
  const float *source_;
};

template <int Count>
__device__ __forceinline__ void loadFours(float (&x)[Count], const float *shared, int step) {
#pragma unroll
  for (int i = 0; i < Count; i += 4) {
    auto four = *reinterpret_cast<const float4 *>(shared + i / 4 * step);
    x[i] = four.x;
    x[i + 1] = four.y;
    x[i + 2] = four.z;
    x[i + 3] = four.w;
  }
}

template <int Tile, bool transposeA, bool transposeB>
__global__ void __launch_bounds__(threadsOf(kFloatTiles[Tile]), kFloatTiles[Tile].blocks)
    multiplyFloats(Product<float> product) {
  constexpr GemmTile kTile = kFloatTiles[Tile];
  constexpr int kThreads = threadsOf(kTile), kDepth = kTile.depth;
  // A warp is 4 threads down and 8 across: it then reads twelve different fours from shared memory for 32 threads.
  constexpr int kRows = kTile.rows / (4 * kTile.warpsDown);
  static_assert(kTile.columns == 8 * 8 * kTile.warpsAcross && kRows % 4 == 0 && kTile.stages == 2);
  using A = FloatOperand<kTile.rows, kDepth>;
  using B = FloatOperand<kTile.columns, kDepth>;
  SN_SHARED(float, memoryA, 2 * A::kElements);
  SN_SHARED(float, memoryB, 2 * B::kElements);

  Part part = partOf(product, blockIdx.x, kTile.rows, kTile.columns);
  FloatLoader<kTile.rows, kDepth, kThreads, !transposeA, false> a(product.a + part.batch * product.aBatch,
                                                                  product.aStride, part.row, product.m, part);
  FloatLoader<kTile.columns, kDepth, kThreads, transposeB, true> b(product.b + part.batch * product.bBatch,
                                                                   product.bStride, part.column, product.n, part);

  int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int row = (warp / kTile.warpsAcross * 4 + lane / 8) * kRows;
  int column = (warp % kTile.warpsAcross * 8 + lane % 8) * 8;
  float sums[kRows][8] = {};
  int steps = (part.end - part.begin + kDepth - 1) / kDepth;
  a.load(memoryA);
  b.load(memoryB);
  commitCopies();
  for (int step = 0; step < steps; ++step) {
    waitForCopies<0>();
    // The step has come, and no thread reads the one before it any more.
    __syncthreads();
    if (step + 1 < steps) {
      a.load(memoryA + (step + 1) % 2 * A::kElements);
      b.load(memoryB + (step + 1) % 2 * B::kElements);
      commitCopies();
    }
    const float *left = memoryA + step % 2 * A::kElements + row;
    const float *right = memoryB + step % 2 * B::kElements + column / 2;
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float x[kRows], y[8];
      loadFours(x, left + k * A::kStride, 4);
      loadFours(y, right + k * B::kStride, kTile.columns / 2);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
      }
    }
  }

  column += part.column;
  if (column >= product.n) return;
  int64_t at = part.slice * product.out.batch + (part.row + row) * product.out.stride + column;
  // Row by row, the next one moving up: the epilogue is there once, not once for each row.
  int rows = min(kRows, product.m - part.row - row), count = min(8, product.n - column);
#pragma unroll 1
  for (int i = 0; i < rows; ++i) {
    finishEight(product.out, at + i * product.out.stride, column, count, sums[0]);
#pragma unroll
    for (int next = 1; next < kRows; ++next) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[next - 1][j] = sums[next][j];
    }
  }
}

template <int Tile>
cudaError_t launchTile(const Product<float> &product, bool transposeA, bool transposeB, unsigned slices,
                       cudaStream_t stream) {
  constexpr GemmTile kTile = kFloatTiles[Tile];
  static constexpr void (*kKernels[2][2])(Product<float>) = {
      {multiplyFloats<Tile, false, false>, multiplyFloats<Tile, false, true>},
      {multiplyFloats<Tile, true, false>, multiplyFloats<Tile, true, true>}};
  return launch(kKernels[transposeA][transposeB], dim3(tilesOf(product, kTile, slices)), dim3(threadsOf(kTile)), 0,
                stream, product);
}

}  // namespace

cudaError_t launchFloats(const Product<float> &product, int tile, bool transposeA, bool transposeB, unsigned slices,
                         cudaStream_t stream) {
  auto *launchAny = tile == 0 ? launchTile<0> : launchTile<1>;
  return launchAny(product, transposeA, transposeB, slices, stream);
}

}  // namespace sn::cuda
