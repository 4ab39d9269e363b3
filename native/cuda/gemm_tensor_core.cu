// gemm_tensor_core.cu: bf16 products on mma.m16n8k16.
//
// A block computes a tile of c. Its operands come in steps along k through a ring of stages in shared memory, which
// cp.async fills a few steps ahead. Each warp owns a part of the tile and keeps its sums in registers; it loads the
// fragments of the next 16 of k while it multiplies the present ones. At the end the sums pass through shared memory
// once more, a warp's sixteen rows at a time, so that the epilogue reads and writes whole rows.
#include "cuda/gemm.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/warpgroup.h"

namespace sn::cuda {

namespace {

// How operands are read: 16 bytes at a time behind the threads' backs, or element by element, from any address.
enum class Access { vectors, elements };

// ---- operands in shared memory ------------------------------------------------------------------------------------

// A step of an operand: `Lines` rows of a, or columns of b, by `Depth` of k. It lies in shared memory as in global
// memory: with k (Major::inner) or the lines (Major::outer) side by side, in chunks of 8 elements, 16 bytes.
//
// ldmatrix reads eight chunks at once, of eight neighbouring rows. Shared memory serves them in one go only if they lie
// in different 16 bytes of its lines of 128 bytes; in plain rows of 64, 128 or more bytes they would not. So the chunks
// of a line change places, by exclusive or with the number of the line: any eight rows then differ, and no byte is
// spent on padding.
template <int Lines, int Depth, Major major>
struct Operand {
  static constexpr bool kInner = major == Major::inner;
  static constexpr unsigned kRowChunks = (kInner ? Depth : Lines) / 8;
  static constexpr int kElements = Lines * Depth;

  static __device__ __forceinline__ unsigned place(unsigned row, unsigned chunk) {
    constexpr unsigned kLineRows = kRowChunks < 8 ? 8 / kRowChunks : 1;
    constexpr unsigned kSwapped = (kRowChunks < 8 ? kRowChunks : 8) - 1;
    return 8 * (row * kRowChunks + (chunk ^ (row / kLineRows & kSwapped)));
  }

  // Four fragments of 8 x 8: of lines `line` and the 8 after them at `depth`; the same at depth + 8.
  static __device__ __forceinline__ void load(uint32_t (&fragments)[4], const bf16 *operand, unsigned line,
                                              unsigned depth) {
    unsigned lane = threadIdx.x % kWarp;
    if constexpr (kInner) {
      loadMatrix4(fragments, operand + place(line + lane % 16, depth / 8 + lane / 16));
    } else {
      loadMatrix4Transposed(fragments, operand + place(depth + lane % 8 + lane / 16 * 8, line / 8 + lane / 8 % 2));
    }
  }
};

// Brings one operand into shared memory, step by step. Every thread brings chunks of one column of chunks, each so many
// rows below the one before.
template <typename Operand, int Depth, int Threads, Access access>
class Loader {
 public:
  // Of an operand of `lines` those from `line`, and of k what the part has.
  __device__ Loader(const bf16 *operand, int64_t stride, int line, int lines, const Part &part)
      : row_(threadIdx.x / Operand::kRowChunks),
        chunk_(threadIdx.x % Operand::kRowChunks),
        lines_(lines - line),
        depth_(part.end - part.begin),
        stride_(stride),
        source_(originOf(operand, stride, line, part.begin, Operand::kInner) + row_ * stride + 8 * chunk_) {}

  // Brings the next step. What is not there becomes zero, and changes no sum.
  __device__ __forceinline__ void load(bf16 *target) {
    int rows = Operand::kInner ? lines_ : depth_, columns = Operand::kInner ? depth_ : lines_;
    int present = min(max(columns - static_cast<int>(8 * chunk_), 0), 8);
#pragma unroll
    for (unsigned i = 0; i < kChunks; ++i) {
      unsigned row = row_ + i * kRowStep;
      copy(target + Operand::place(row, chunk_), source_ + i * kRowStep * stride_,
           static_cast<int>(row) < rows ? present : 0);
    }
    depth_ -= Depth;
    source_ += Operand::kInner ? Depth : Depth * stride_;
  }

 private:
  static constexpr unsigned kRowStep = Threads / Operand::kRowChunks;
  static constexpr unsigned kChunks = Operand::kElements / 8 / Threads;
  static_assert(Threads % Operand::kRowChunks == 0 && Operand::kElements % (8 * Threads) == 0);

  static __device__ __forceinline__ void copy(bf16 *target, const bf16 *source, int present) {
    if constexpr (access == Access::vectors) {
      copyAsyncFirst<16>(target, source, present * static_cast<int>(sizeof(bf16)));
    } else {
      Vector<bf16> chunk;
#pragma unroll
      for (int i = 0; i < 8; ++i) chunk.element[i] = i < present ? source[i] : fromFloat<bf16>(0.0f);
      *reinterpret_cast<Vector<bf16> *>(target) = chunk;
    }
  }

  unsigned row_, chunk_;
  int lines_, depth_;
  int64_t stride_;
  const bf16 *source_;
};

// ---- the kernel ---------------------------------------------------------------------------------------------------

template <int Tile, Major majorA, Major majorB>
struct TileLayout {
  static constexpr GemmTile kTile = kTensorCoreTiles[Tile];
  static constexpr int kWarpRows = kTile.rows / kTile.warpsDown, kWarpColumns = kTile.columns / kTile.warpsAcross;
  static constexpr int kDown = kWarpRows / 16, kAcross = kWarpColumns / 16;  // squares of 16 x 16 of a warp
  static constexpr int kDepths = kTile.depth / 16;

  using A = Operand<kTile.rows, kTile.depth, majorA>;
  using B = Operand<kTile.columns, kTile.depth, majorB>;

  static constexpr int kStageElements = A::kElements + B::kElements;
  static constexpr size_t kSharedBytes = sizeof(bf16) * kStageElements * kTile.stages;

  // Eight more a row than needed: rows then begin in different banks.
  static constexpr int kStagingStride = kWarpColumns + 8;
  static_assert(sizeof(float) * 16 * kStagingStride * kTile.warpsDown * kTile.warpsAcross <= kSharedBytes);
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0 && kDepths % 2 == 0 && kDepthUnit % kTile.depth == 0);
};

// A warp's part of the tile: its sums, and the fragments of two times 16 of k.
template <typename Layout>
struct WarpTile {
  unsigned row, column;  // in the tile
  float sums[Layout::kDown][2 * Layout::kAcross][4] = {};
  uint32_t a[2][Layout::kDown][4], b[2][Layout::kAcross][4];

  __device__ WarpTile()
      : row(threadIdx.x / kWarp / Layout::kTile.warpsAcross * Layout::kWarpRows),
        column(threadIdx.x / kWarp % Layout::kTile.warpsAcross * Layout::kWarpColumns) {}

  __device__ __forceinline__ void load(int buffer, const bf16 *stage, unsigned depth) {
#pragma unroll
    for (int i = 0; i < Layout::kDown; ++i) Layout::A::load(a[buffer][i], stage, row + 16 * i, depth);
#pragma unroll
    for (int j = 0; j < Layout::kAcross; ++j) {
      Layout::B::load(b[buffer][j], stage + Layout::A::kElements, column + 16 * j, depth);
    }
  }

  __device__ __forceinline__ void multiply(int buffer) {
#pragma unroll
    for (int i = 0; i < Layout::kDown; ++i) {
#pragma unroll
      for (int j = 0; j < Layout::kAcross; ++j) {
        const auto &right = b[buffer][j];
        multiplyAdd(sums[i][2 * j], a[buffer][i], right[0], right[2]);
        multiplyAdd(sums[i][2 * j + 1], a[buffer][i], right[1], right[3]);
      }
    }
  }
};

// Multiplies through the ring of stages.
template <typename Layout, typename LoaderA, typename LoaderB>
__device__ __forceinline__ void multiplySteps(WarpTile<Layout> &warp, LoaderA &a, LoaderB &b, bf16 *ring, int steps) {
  constexpr int kStages = Layout::kTile.stages, kDepths = Layout::kDepths;
  auto load = [&](int step) {
    bf16 *stage = ring + step % kStages * Layout::kStageElements;
    if (step < steps) {
      a.load(stage);
      b.load(stage + Layout::A::kElements);
    }
    // A group even where nothing is left to load: the count of groups tells which step has come.
    commitCopies();
  };
  for (int step = 0; step < kStages - 1; ++step) load(step);
  waitForCopies<kStages - 2>();
  __syncthreads();
  warp.load(0, ring, 0);
  const bf16 *stage = ring;
  for (int step = 0; step < steps; ++step) {
#pragma unroll
    for (int i = 0; i < kDepths; ++i) {
      if (i + 1 == kDepths) {
        // The next step must have come; after the barrier no warp reads the present one any more. After the last step
        // the fragments that follow are read and not used.
        waitForCopies<kStages - 2>();
        __syncthreads();
        stage = ring + (step + 1) % kStages * Layout::kStageElements;
      }
      warp.load((i + 1) % 2, stage, (i + 1) % kDepths * 16);
      if (i == 0) load(step + kStages - 1);
      warp.multiply(i % 2);
    }
  }
  waitForCopies<0>();
}

// Sends a warp's sums through the epilogue. `staging`: the warp's own, 16 rows.
template <typename Layout>
__device__ __forceinline__ void finish(const WarpTile<Layout> &warp, const Product<bf16> &product, const Part &part,
                                       float *staging) {
  constexpr int kStride = Layout::kStagingStride, kRowEights = Layout::kWarpColumns / 8;
  unsigned lane = threadIdx.x % kWarp;
  int64_t slice = part.slice * product.out.batch;
#pragma unroll
  for (int i = 0; i < Layout::kDown; ++i) {
    // Lane l holds row l / 4, columns 2 (l % 4) and the next of each 16 x 8; then the same of row l / 4 + 8.
#pragma unroll
    for (int j = 0; j < 2 * Layout::kAcross; ++j) {
      float *target = staging + lane / 4 * kStride + 8 * j + lane % 4 * 2;
      *reinterpret_cast<float2 *>(target) = make_float2(warp.sums[i][j][0], warp.sums[i][j][1]);
      *reinterpret_cast<float2 *>(target + 8 * kStride) = make_float2(warp.sums[i][j][2], warp.sums[i][j][3]);
    }
    __syncwarp();
#pragma unroll 1
    for (unsigned eight = lane; eight < 16 * kRowEights; eight += kWarp) {
      unsigned down = eight / kRowEights, across = eight % kRowEights * 8;
      int row = part.row + static_cast<int>(warp.row + 16 * i + down);
      int column = part.column + static_cast<int>(warp.column + across);
      if (row >= product.m || column >= product.n) continue;
      float sums[8];
      loadEight(staging + down * kStride + across, 8, sums);
      finishEight(product.out, slice + row * product.out.stride + column, column, min(8, product.n - column), sums);
    }
    __syncwarp();
  }
}

// Half as many where elements pass through registers.
constexpr int blocksOfTile(int tile, Access access) {
  return kTensorCoreTiles[tile].blocks / (access == Access::elements ? 2 : 1);
}

template <int Tile, Major majorA, Major majorB, Access access>
__global__ void __launch_bounds__(threadsOf(kTensorCoreTiles[Tile]), blocksOfTile(Tile, access))
    multiplyTensorCore(Product<bf16> product) {
  using Layout = TileLayout<Tile, majorA, majorB>;
  constexpr GemmTile kTile = Layout::kTile;
  SN_DYNAMIC_SHARED(memory);
  auto *ring = reinterpret_cast<bf16 *>(memory);
  Part part = partOf(product, blockIdx.x, kTile.rows, kTile.columns);
  Loader<typename Layout::A, kTile.depth, threadsOf(kTile), access> a(product.a + part.batch * product.aBatch,
                                                                      product.aStride, part.row, product.m, part);
  Loader<typename Layout::B, kTile.depth, threadsOf(kTile), access> b(product.b + part.batch * product.bBatch,
                                                                      product.bStride, part.column, product.n, part);
  WarpTile<Layout> warp;
  multiplySteps(warp, a, b, ring, (part.end - part.begin + kTile.depth - 1) / kTile.depth);
  __syncthreads();
  constexpr int kStaging = 16 * Layout::kStagingStride;
  finish(warp, product, part, reinterpret_cast<float *>(memory) + threadIdx.x / kWarp * kStaging);
}

// ---- the instances ------------------------------------------------------------------------------------------------

template <int Tile, Access access>
cudaError_t launchTile(const Product<bf16> &product, bool transposeA, bool transposeB, unsigned slices,
                       cudaStream_t stream) {
  constexpr Major kInner = Major::inner, kOuter = Major::outer;
  constexpr GemmTile kTile = kTensorCoreTiles[Tile];
  // [a is transposed][b is transposed]
  static constexpr void (*kKernels[2][2])(Product<bf16>) = {
      {multiplyTensorCore<Tile, kInner, kOuter, access>, multiplyTensorCore<Tile, kInner, kInner, access>},
      {multiplyTensorCore<Tile, kOuter, kOuter, access>, multiplyTensorCore<Tile, kOuter, kInner, access>}};
  return launch(kKernels[transposeA][transposeB], dim3(tilesOf(product, kTile, slices)), dim3(threadsOf(kTile)),
                TileLayout<Tile, kInner, kInner>::kSharedBytes, stream, product);
}

using Launcher = cudaError_t(const Product<bf16> &, bool, bool, unsigned, cudaStream_t);

template <int... Tiles>
Launcher *launcherOf(int tile, std::integer_sequence<int, Tiles...>) {
  static constexpr Launcher *kLaunchers[] = {launchTile<Tiles, Access::vectors>...};
  return kLaunchers[tile];
}

}  // namespace

cudaError_t launchTensorCore(const Product<bf16> &product, int tile, bool transposeA, bool transposeB, unsigned slices,
                             cudaStream_t stream) {
  bool aligned = rowsAreAligned(product.a, product.aStride, product.aBatch) &&
                 rowsAreAligned(product.b, product.bStride, product.bBatch);
  if (!aligned) {
    return launchTile<kUnalignedTile, Access::elements>(product, transposeA, transposeB, slices, stream);
  }
  constexpr auto kTiles = std::make_integer_sequence<int, static_cast<int>(std::size(kTensorCoreTiles))>();
  return launcherOf(tile, kTiles)(product, transposeA, transposeB, slices, stream);
}

}  // namespace sn::cuda
