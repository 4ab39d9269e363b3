// gemm_few_rows.cu: products of at most eight rows, as when tokens are generated: b is read once, at the speed of
// memory.
//
// The lanes of a block read b in pieces of 16 bytes and multiply each by the few rows of a, which caches hold. Threads
// of a block share k, so that even a narrow b keeps many loads in flight; their sums meet in a fixed order, first by
// shuffles in the warp, then through shared memory. A layer norm of a is each block's own work: a kernel for it would
// take longer than the product.
#include <algorithm>

#include "cuda/gemm.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

namespace {

// A product with few rows; element (i, k) of a is at i * aRow + k * aDepth: of a itself, or of its normalised rows in
// shared memory, where there is a norm.
template <typename T>
struct FewRows {
  Product<T> product;
  int64_t aRow, aDepth;
  RowNorm<T> norm;

  __device__ __forceinline__ const T *beginRows(int64_t batch, T *shared) const {
    if (norm.gain == nullptr) return product.a + batch * product.aBatch;
    norm.normalizeInto(shared, static_cast<int>(aRow), blockIdx.x == 0);
    return shared;
  }
};

// Neighbouring elements, read at once.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Piece {
  T element[Count];
};

template <int Count, typename T>
__device__ __forceinline__ Piece<T, Count> pieceAt(const T *p) {
  return *reinterpret_cast<const Piece<T, Count> *>(p);
}

// Adds the sums [Warps][Rows][Columns] of a block's warps, in order, and sends them through the epilogue. All threads
// call it, after they wrote theirs.
template <int Warps, int Rows, int Columns, typename T>
__device__ __forceinline__ void finishBlock(const Product<T> &product, int64_t batch, int column, float *sums) {
  constexpr int kElements = Rows * Columns, kRowEights = Columns / 8;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kElements; i += kWarp * Warps) {
    float total = sums[i];
#pragma unroll
    for (int warp = 1; warp < Warps; ++warp) total += sums[warp * kElements + i];
    sums[i] = total;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kElements / 8; i += kWarp * Warps) {
    int row = i / kRowEights, first = column + i % kRowEights * 8;
    if (row >= product.m || first >= product.n) continue;
    float eight[8];
    loadEight(sums + 8 * i, 8, eight);
    int64_t at = batch * product.out.batch + row * product.out.stride + first;
    finishEight(product.out, at, first, min(8, product.n - first), eight);
  }
}

// ---- b [k, n] -------------------------------------------------------------------------------------------------------

constexpr int kColumnsThreads = 384;

// The columns of a block: `Lanes` lanes side by side read 16 bytes each. Two lanes make more blocks, eight longer runs
// of memory.
template <typename T, int Lanes>
constexpr int kColumnsOf = Lanes *Vector<T>::kCount;

// `aligned`: k of a lies side by side, and all rows begin at multiples of 16 bytes.
template <typename T, int Rows, int Lanes, bool aligned>
__global__ void __launch_bounds__(kColumnsThreads, 1) multiplyColumns(FewRows<T> few) {
  // Neighbours in k that a thread reads of b before it multiplies, and of a at once.
  constexpr int kDeep = 8, kFour = 4;
  constexpr int kWide = Vector<T>::kCount, kColumns = kColumnsOf<T, Lanes>, kWarps = kColumnsThreads / kWarp;
  constexpr int kCount = Rows * kWide, kSteps = Lanes == 2 ? 4 : 2;
  static_assert(Lanes << kSteps == kWarp);
  const Product<T> &product = few.product;
  unsigned stripes = static_cast<unsigned>((product.n + kColumns - 1) / kColumns);
  int64_t batch = blockIdx.x / stripes;
  int lane = static_cast<int>(threadIdx.x) % Lanes;
  int stripe = static_cast<int>(blockIdx.x % stripes) * kColumns, present = product.n - stripe - lane * kWide;
  const T *b = product.b + batch * product.bBatch + stripe + lane * kWide;
  SN_DYNAMIC_SHARED(memory);
  int first = static_cast<int>(threadIdx.x) / Lanes * kDeep;
  for (int k = first; k < min(first + kDeep, product.k) && present > 0; ++k) prefetchLine(b + k * product.bStride);
  releaseNextGrid();
  waitForPriorGrid();
  const T *a = few.beginRows(batch, reinterpret_cast<T *>(memory));

  float sums[kCount] = {};
#pragma unroll 1
  for (int k = first; k < product.k; k += kColumnsThreads / Lanes * kDeep) {
    if (aligned && present >= kWide && k + kDeep <= product.k) {
      Piece<T, kWide> weights[kDeep];
#pragma unroll
      for (int i = 0; i < kDeep; ++i) weights[i] = pieceAt<kWide>(b + (k + i) * product.bStride);
#pragma unroll
      for (int i = 0; i < kDeep; i += kFour) {
        Piece<T, kFour> x[Rows];
#pragma unroll
        for (int row = 0; row < Rows; ++row) x[row] = pieceAt<kFour>(a + min(row, product.m - 1) * few.aRow + k + i);
#pragma unroll
        for (int deep = 0; deep < kFour; ++deep) {
#pragma unroll
          for (int row = 0; row < Rows; ++row) {
#pragma unroll
            for (int j = 0; j < kWide; ++j) {
              float &sum = sums[row * kWide + j];
              sum = fmaf(toFloat(x[row].element[deep]), toFloat(weights[i + deep].element[j]), sum);
            }
          }
        }
      }
    } else {
      // The same sums in the same order, one of k at a time.
#pragma unroll 1
      for (int i = k; i < min(k + kDeep, product.k); ++i) {
        float weights[kWide];
#pragma unroll
        for (int j = 0; j < kWide; ++j) weights[j] = j < present ? toFloat(b[i * product.bStride + j]) : 0.0f;
#pragma unroll
        for (int row = 0; row < Rows; ++row) {
          float x = toFloat(a[min(row, product.m - 1) * few.aRow + i * few.aDepth]);
#pragma unroll
          for (int j = 0; j < kWide; ++j) {
            float &sum = sums[row * kWide + j];
            sum = fmaf(x, weights[j], sum);
          }
        }
      }
    }
  }

  SN_SHARED(float, parts, kWarps *Rows *kColumns);
  int own = spreadSums<kWarp / 2, Lanes, kCount>(sums);
  if (own >= 0) {
    float *part = parts + static_cast<int>(threadIdx.x) / kWarp * Rows * kColumns + lane * kWide;
#pragma unroll
    for (int i = 0; i < max(1, kCount >> kSteps); ++i) {
      part[(own + i) / kWide * kColumns + (own + i) % kWide] = sums[i];
    }
  }
  finishBlock<kWarps, Rows, kColumns>(product, batch, stripe, parts);
}

// ---- b [n, k] -------------------------------------------------------------------------------------------------------

constexpr int kDotsThreads = 128;
constexpr int kDotsColumns = 8;  // of a block

template <typename T, int Rows, bool aligned>
__global__ void __launch_bounds__(kDotsThreads, 2) multiplyDots(FewRows<T> few) {
  constexpr int kWide = Vector<T>::kCount, kWarps = kDotsThreads / kWarp, kCount = Rows * kDotsColumns;
  const Product<T> &product = few.product;
  unsigned groups = static_cast<unsigned>((product.n + kDotsColumns - 1) / kDotsColumns);
  int64_t batch = blockIdx.x / groups;
  int column = static_cast<int>(blockIdx.x % groups) * kDotsColumns;
  const T *b = product.b + batch * product.bBatch;
  SN_DYNAMIC_SHARED(memory);
  for (int j = 0; j < min(kDotsColumns, product.n - column); ++j) {
    int k = static_cast<int>(threadIdx.x) * kWide;
    if (k < product.k) prefetchLine(b + (column + j) * product.bStride + k);
  }
  releaseNextGrid();
  waitForPriorGrid();
  const T *a = few.beginRows(batch, reinterpret_cast<T *>(memory));

  float sums[kCount] = {};
  for (int k = static_cast<int>(threadIdx.x) * kWide; k < product.k; k += kDotsThreads * kWide) {
    if (aligned && k + kWide <= product.k) {
      Piece<T, kWide> weights[kDotsColumns];
#pragma unroll
      for (int j = 0; j < kDotsColumns; ++j) {
        weights[j] = pieceAt<kWide>(b + min(column + j, product.n - 1) * product.bStride + k);
      }
#pragma unroll
      for (int row = 0; row < Rows; ++row) {
        auto x = pieceAt<kWide>(a + min(row, product.m - 1) * few.aRow + k);
#pragma unroll
        for (int j = 0; j < kDotsColumns; ++j) {
          float &sum = sums[row * kDotsColumns + j];
#pragma unroll
          for (int i = 0; i < kWide; ++i) sum = fmaf(toFloat(x.element[i]), toFloat(weights[j].element[i]), sum);
        }
      }
    } else {
      // The same sums in the same order, one of k at a time.
#pragma unroll 1
      for (int i = k; i < min(k + kWide, product.k); ++i) {
        float weights[kDotsColumns];
#pragma unroll
        for (int j = 0; j < kDotsColumns; ++j) {
          weights[j] = toFloat(b[min(column + j, product.n - 1) * product.bStride + i]);
        }
#pragma unroll
        for (int row = 0; row < Rows; ++row) {
          float x = toFloat(a[min(row, product.m - 1) * few.aRow + i * few.aDepth]);
#pragma unroll
          for (int j = 0; j < kDotsColumns; ++j) {
            float &sum = sums[row * kDotsColumns + j];
            sum = fmaf(x, weights[j], sum);
          }
        }
      }
    }
  }

  SN_SHARED(float, parts, kWarps *kCount);
  int first = spreadSums<kWarp / 2, 1, kCount>(sums);
  if (first >= 0) {
    float *part = parts + static_cast<int>(threadIdx.x) / kWarp * kCount + first;
#pragma unroll
    for (int i = 0; i < max(1, kCount / kWarp); ++i) part[i] = sums[i];
  }
  finishBlock<kWarps, Rows, kDotsColumns>(product, batch, column, parts);
}

// ---- the instances ------------------------------------------------------------------------------------------------

unsigned blocksAcross(int columns, int each) { return static_cast<unsigned>((columns + each - 1) / each); }

template <typename T, int Rows, bool aligned>
cudaError_t launchRows(const FewRows<T> &few, bool transposeB, unsigned batch, const sn_stream *stream) {
  int n = few.product.n;
  auto sharedBytes = few.norm.gain == nullptr ? 0 : static_cast<size_t>(few.product.m * few.aRow) * sizeof(T);
  if (transposeB) {
    return launchInStep(stream, multiplyDots<T, Rows, aligned>, dim3(blocksAcross(n, kDotsColumns) * batch),
                        dim3(kDotsThreads), sharedBytes, few);
  }
  unsigned wide = blocksAcross(n, (kColumnsOf<T, 8>)) * batch;
  if (wide >= 2 * static_cast<unsigned>(deviceOf(stream).multiprocessors)) {
    return launchInStep(stream, multiplyColumns<T, Rows, 8, aligned>, dim3(wide), dim3(kColumnsThreads), sharedBytes,
                        few);
  }
  unsigned narrow = blocksAcross(n, (kColumnsOf<T, 2>)) * batch;
  return launchInStep(stream, multiplyColumns<T, Rows, 2, aligned>, dim3(narrow), dim3(kColumnsThreads), sharedBytes,
                      few);
}

// Of a's normalised rows in shared memory: rows behind each other start in different banks.
template <typename T>
int64_t sharedStride(int64_t k) {
  constexpr int64_t kWide = Vector<T>::kCount;
  return (k + kWide - 1) / kWide * kWide + kWide;
}

template <typename T>
cudaError_t launchAny(const Product<T> &product, const RowNorm<T> &norm, bool transposeA, bool transposeB,
                      unsigned batch, const sn_stream *stream) {
  FewRows<T> few{product, transposeA ? 1 : product.aStride, transposeA ? product.aStride : 1, norm};
  bool alignedA = !transposeA && rowsAreAligned(product.a, product.aStride, product.aBatch);
  if (norm.gain != nullptr) {
    few.aRow = sharedStride<T>(product.k);
    alignedA = true;
  }
  bool aligned = alignedA && rowsAreAligned(product.b, product.bStride, product.bBatch);
  // The order of a sum does not depend on the instance.
  auto *instance = !aligned         ? launchRows<T, kFewRows, false>
                   : product.m == 1 ? launchRows<T, 1, true>
                   : product.m == 2 ? launchRows<T, 2, true>
                   : product.m <= 4 ? launchRows<T, 4, true>
                                    : launchRows<T, kFewRows, true>;
  return instance(few, transposeB, batch, stream);
}

}  // namespace

bool normalizesItself(const sn_gemm_shape &s) {
  constexpr int64_t kMostBytes = int64_t{64} << 10;
  static_assert(kFewRows <= RowNorm<float>::kRows);
  auto stride = s.dtype == SN_F32 ? 4 * sharedStride<float>(s.k) : 2 * sharedStride<bf16>(s.k);
  return s.m * stride <= kMostBytes;
}

cudaError_t launchFewRows(const Product<float> &product, const RowNorm<float> &norm, bool transposeA, bool transposeB,
                          unsigned batch, const sn_stream *stream) {
  return launchAny(product, norm, transposeA, transposeB, batch, stream);
}

cudaError_t launchFewRows(const Product<bf16> &product, const RowNorm<bf16> &norm, bool transposeA, bool transposeB,
                          unsigned batch, const sn_stream *stream) {
  return launchAny(product, norm, transposeA, transposeB, batch, stream);
}

}  // namespace sn::cuda
