// gemm_few_rows.cu: products of at most eight rows, as when tokens are generated: b is read once, at the speed of
// memory.
//
// The lanes of a block read b in pieces of 16 bytes and multiply each by the few rows of a, which caches hold. Threads
// of a block share k, so that even a narrow b keeps many loads in flight; their sums meet in a fixed order, first by
// shuffles in the warp, then through shared memory.
#include <algorithm>

#include "cuda/gemm.h"

namespace sn::cuda {

namespace {

// A product with few rows; element (i, k) of a is at i * aRow + k * aDepth.
template <typename T>
struct FewRows {
  Product<T> product;
  int64_t aRow, aDepth;
};

// Neighbouring elements, read at once.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Piece {
  T element[Count];
};

template <typename T, int Count>
__device__ __forceinline__ void loadWhole(const T *p, float (&x)[Count]) {
  auto piece = *reinterpret_cast<const Piece<T, Count> *>(p);
#pragma unroll
  for (int i = 0; i < Count; ++i) x[i] = toFloat(piece.element[i]);
}

// The first `present` of them, so far from one another; the others are zero.
template <typename T, int Count>
__device__ __forceinline__ void loadSome(const T *p, int64_t distance, int present, float (&x)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) x[i] = i < present ? toFloat(p[i * distance]) : 0.0f;
}

// Sums each of `Count` values over the lanes whose numbers differ in the bits Distance, Distance / 2, ... Least. At
// each bit two lanes share the values that they hold: the lane without it goes on with the first half, the other with
// the second, and a single value goes to both. Returns which of the values x[0] and those after it then are; -1 in a
// lane that has a copy of another's.
template <int Distance, int Least, int Count, int Capacity>
__device__ __forceinline__ int spreadSums(float (&x)[Capacity]) {
  if constexpr (Distance < Least) {
    return 0;
  } else {
    bool second = (threadIdx.x & Distance) != 0;
    if constexpr (Count == 1) {
      x[0] += __shfl_xor_sync(kAllLanes, x[0], Distance);
      int first = spreadSums<Distance / 2, Least, 1>(x);
      return second ? -1 : first;
    } else {
      constexpr int kHalf = Count / 2;
#pragma unroll
      for (int i = 0; i < kHalf; ++i) {
        float kept = second ? x[i + kHalf] : x[i], given = second ? x[i] : x[i + kHalf];
        x[i] = kept + __shfl_xor_sync(kAllLanes, given, Distance);
      }
      int first = spreadSums<Distance / 2, Least, kHalf>(x);
      return first < 0 || !second ? first : first + kHalf;
    }
  }
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

constexpr int kColumnsThreads = 512;

// The columns of a block: `Lanes` lanes side by side read 16 bytes each. Two lanes make more blocks, eight longer runs
// of memory.
template <typename T>
constexpr int columnsOf(int lanes) {
  return lanes * Vector<T>::kCount;
}

// `aligned`: k of a lies side by side, and all rows begin at multiples of 16 bytes.
template <typename T, int Rows, int Lanes, bool aligned>
__global__ void __launch_bounds__(kColumnsThreads) multiplyColumns(FewRows<T> few) {
  // Neighbours in k that a thread reads before it multiplies.
  constexpr int kDeep = 4;
  constexpr int kWide = Vector<T>::kCount, kColumns = columnsOf<T>(Lanes), kWarps = kColumnsThreads / kWarp;
  constexpr int kCount = Rows * kWide, kSteps = Lanes == 2 ? 4 : 2;
  static_assert(Lanes << kSteps == kWarp);
  const Product<T> &product = few.product;
  unsigned stripes = static_cast<unsigned>((product.n + kColumns - 1) / kColumns);
  int64_t batch = blockIdx.x / stripes;
  int lane = static_cast<int>(threadIdx.x) % Lanes;
  int stripe = static_cast<int>(blockIdx.x % stripes) * kColumns, present = product.n - stripe - lane * kWide;
  const T *a = product.a + batch * product.aBatch;
  const T *b = product.b + batch * product.bBatch + stripe + lane * kWide;

  float sums[kCount] = {};
#pragma unroll(Rows <= 2 ? 2 : 1)
  for (int k = static_cast<int>(threadIdx.x) / Lanes * kDeep; k < product.k; k += kColumnsThreads / Lanes * kDeep) {
    float weights[kDeep][kWide], x[kDeep];
    bool whole = aligned && present >= kWide && k + kDeep <= product.k;
    if (whole) {
#pragma unroll
      for (int i = 0; i < kDeep; ++i) loadWhole(b + (k + i) * product.bStride, weights[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kDeep; ++i) {
        loadSome(b + (k + i) * product.bStride, 1, k + i < product.k ? present : 0, weights[i]);
      }
    }
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
      const T *from = a + min(row, product.m - 1) * few.aRow + k * few.aDepth;
      if (whole) {
        loadWhole(from, x);
      } else {
        loadSome(from, few.aDepth, product.k - k, x);
      }
#pragma unroll
      for (int i = 0; i < kDeep; ++i) {
#pragma unroll
        for (int j = 0; j < kWide; ++j) sums[row * kWide + j] = fmaf(x[i], weights[i][j], sums[row * kWide + j]);
      }
    }
  }

  SN_SHARED(float, parts, kWarps *Rows *kColumns);
  int first = spreadSums<kWarp / 2, Lanes, kCount>(sums);
  if (first >= 0) {
    float *part = parts + static_cast<int>(threadIdx.x) / kWarp * Rows * kColumns + lane * kWide;
#pragma unroll
    for (int i = 0; i < max(1, kCount >> kSteps); ++i) {
      part[(first + i) / kWide * kColumns + (first + i) % kWide] = sums[i];
    }
  }
  finishBlock<kWarps, Rows, kColumns>(product, batch, stripe, parts);
}

// ---- b [n, k] -------------------------------------------------------------------------------------------------------

constexpr int kDotsThreads = 128;
constexpr int kDotsColumns = 8;  // of a block

template <typename T, int Rows, bool aligned>
__global__ void __launch_bounds__(kDotsThreads) multiplyDots(FewRows<T> few) {
  constexpr int kWide = Vector<T>::kCount, kWarps = kDotsThreads / kWarp, kCount = Rows * kDotsColumns;
  const Product<T> &product = few.product;
  unsigned groups = static_cast<unsigned>((product.n + kDotsColumns - 1) / kDotsColumns);
  int64_t batch = blockIdx.x / groups;
  int column = static_cast<int>(blockIdx.x % groups) * kDotsColumns;
  const T *a = product.a + batch * product.aBatch, *b = product.b + batch * product.bBatch;

  float sums[kCount] = {};
  for (int k = static_cast<int>(threadIdx.x) * kWide; k < product.k; k += kDotsThreads * kWide) {
    float weights[kDotsColumns][kWide], x[kWide];
    bool whole = aligned && k + kWide <= product.k;
#pragma unroll
    for (int j = 0; j < kDotsColumns; ++j) {
      const T *from = b + min(column + j, product.n - 1) * product.bStride + k;
      if (whole) {
        loadWhole(from, weights[j]);
      } else {
        loadSome(from, 1, product.k - k, weights[j]);
      }
    }
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
      const T *from = a + min(row, product.m - 1) * few.aRow + k * few.aDepth;
      if (whole) {
        loadWhole(from, x);
      } else {
        loadSome(from, few.aDepth, product.k - k, x);
      }
#pragma unroll
      for (int j = 0; j < kDotsColumns; ++j) {
        float &sum = sums[row * kDotsColumns + j];
#pragma unroll
        for (int i = 0; i < kWide; ++i) sum = fmaf(x[i], weights[j][i], sum);
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
cudaError_t launchRows(const FewRows<T> &few, bool transposeB, unsigned batch, int multiprocessors,
                       cudaStream_t stream) {
  int n = few.product.n;
  if (transposeB) {
    return launch(multiplyDots<T, Rows, aligned>, dim3(blocksAcross(n, kDotsColumns) * batch), dim3(kDotsThreads), 0,
                  stream, few);
  }
  unsigned wide = blocksAcross(n, columnsOf<T>(8)) * batch;
  if (wide >= 2 * static_cast<unsigned>(multiprocessors)) {
    return launch(multiplyColumns<T, Rows, 8, aligned>, dim3(wide), dim3(kColumnsThreads), 0, stream, few);
  }
  unsigned narrow = blocksAcross(n, columnsOf<T>(2)) * batch;
  return launch(multiplyColumns<T, Rows, 2, aligned>, dim3(narrow), dim3(kColumnsThreads), 0, stream, few);
}

template <typename T>
cudaError_t launchAny(const Product<T> &product, bool transposeA, bool transposeB, unsigned batch, int multiprocessors,
                      cudaStream_t stream) {
  FewRows<T> few{product, transposeA ? 1 : product.aStride, transposeA ? product.aStride : 1};
  bool aligned = !transposeA && rowsAreAligned(product.a, product.aStride, product.aBatch) &&
                 rowsAreAligned(product.b, product.bStride, product.bBatch);
  // The order of a sum does not depend on the instance.
  auto *instance = !aligned         ? launchRows<T, kFewRows, false>
                   : product.m == 1 ? launchRows<T, 1, true>
                   : product.m == 2 ? launchRows<T, 2, true>
                   : product.m <= 4 ? launchRows<T, 4, true>
                                    : launchRows<T, kFewRows, true>;
  return instance(few, transposeB, batch, multiprocessors, stream);
}

}  // namespace

cudaError_t launchFewRows(const Product<float> &product, bool transposeA, bool transposeB, unsigned batch,
                          int multiprocessors, cudaStream_t stream) {
  return launchAny(product, transposeA, transposeB, batch, multiprocessors, stream);
}

cudaError_t launchFewRows(const Product<bf16> &product, bool transposeA, bool transposeB, unsigned batch,
                          int multiprocessors, cudaStream_t stream) {
  return launchAny(product, transposeA, transposeB, batch, multiprocessors, stream);
}

}  // namespace sn::cuda
