// gemm.h: what the kernels of the matrix product share: their arguments, the part of the product that a block computes,
// and how finished sums leave it.
#pragma once

#include "cuda/activation.h"
#include "cuda/device.h"
#include "cuda/gemm_plan.h"
#include "cuda/row_norm.cuh"

namespace sn::cuda {

// Where sums go and through what: sn_epilogue.
template <typename T>
struct Epilogue {
  sn_epilogue kind;
  sn_activation activation;
  bool accumulate;
  bool wide;  // c is fp32 whatever T is
  void *c;
  T *aux;
  const T *bias;
  int64_t stride, batch;  // of c and aux
};

template <typename T>
Epilogue<T> epilogueOf(const sn_gemm_shape &s, void *c, const void *bias, void *aux) {
  int64_t batch = s.batch == 1 ? 0 : s.c_batch;
  return {s.epilogue,
          s.activation,
          s.accumulate != 0,
          s.c_dtype == SN_F32,
          c,
          static_cast<T *>(aux),
          static_cast<const T *>(bias),
          s.c_stride,
          batch};
}

// A product as its kernels get it. Strides are those of rows as they lie in memory.
template <typename T>
struct Product {
  int m, n, k;
  const T *a, *b;
  int64_t aStride, bStride;
  int64_t aBatch, bBatch;
  int splits, depth;  // parts of k; the part's length, of all but the last
  Epilogue<T> out;    // of a product in parts: their sums as they are, one part after another
};

// The activation, or its slope, of a few numbers. In fp32 it is called, not inlined: temporaries of several at once
// would take registers that the sums have.
template <bool slope, typename F>
__device__ __forceinline__ float activationOf(F f, float x) {
  return slope ? f.slope(x) : f.value(x);
}

template <bool slope>
__device__ __noinline__ float activationCalled(sn_activation activation, float x) {
  withActivation<float>(activation, [&](auto f) { x = activationOf<slope>(f, x); });
  return x;
}

template <typename T, bool slope, int Count>
__device__ __forceinline__ void activate(sn_activation activation, float (&x)[Count]) {
  if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
    for (float &each : x) each = activationCalled<slope>(activation, each);
  } else {
    withActivation<T>(activation, [&](auto f) {
#pragma unroll
      for (float &each : x) each = activationOf<slope>(f, each);
    });
  }
}

// Applies the epilogue to `Count` neighbours of a row, as finishEight.
template <int Count, typename T>
__device__ __forceinline__ void finish(const Epilogue<T> &out, int64_t at, int64_t column, int64_t count,
                                       float (&sums)[Count]) {
  float other[Count];
  auto load = [&](const auto *from) { loadPacked<Count>(from, count).unpack(other); };
  auto add = [&] {
#pragma unroll
    for (int j = 0; j < Count; ++j) sums[j] += other[j];
  };
  if (out.kind == SN_EPILOGUE_BIAS || out.kind == SN_EPILOGUE_BIAS_ACTIVATION ||
      (out.kind == SN_EPILOGUE_BIAS_RESIDUAL && out.bias != nullptr)) {
    load(out.bias + column);
    add();
  }
  if (out.kind == SN_EPILOGUE_BIAS_ACTIVATION) {
    if (out.aux != nullptr) storeElements(out.aux + at, count, sums);
    activate<T, false>(out.activation, sums);
  } else if (out.kind == SN_EPILOGUE_BIAS_RESIDUAL) {
    load(out.aux + at);
    add();
  } else if (out.kind == SN_EPILOGUE_ACTIVATION_BACKWARD) {
    load(out.aux + at);
    activate<T, true>(out.activation, other);
#pragma unroll
    for (int j = 0; j < Count; ++j) sums[j] *= other[j];
  } else if (out.accumulate) {
    load(static_cast<const float *>(out.c) + at);
    add();
  }
  if (out.wide) {
    storeElements(static_cast<float *>(out.c) + at, count, sums);
  } else {
    storeElements(static_cast<T *>(out.c) + at, count, sums);
  }
}

// Applies the epilogue to the sums of up to eight neighbours of a row; the first is at (row, column) of c, `at` its
// place in memory. What comes before and after in the row may belong to other threads. 16 bytes at a time: more would
// need registers that the kernels do not have.
template <typename T>
__device__ __forceinline__ void finishEight(const Epilogue<T> &out, int64_t at, int64_t column, int count,
                                            float (&sums)[8]) {
  constexpr int kAtOnce = Vector<T>::kCount;
#pragma unroll
  for (int first = 0; first < 8; first += kAtOnce) {
    if (first >= count) break;
    float part[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) part[j] = sums[first + j];
    finish(out, at + first, column + first, count - first, part);
  }
}

// Where an operand's lines, rows of a or columns of b, begin at `k`. `inner`: k lies side by side in memory.
template <typename T>
__device__ __forceinline__ const T *originOf(const T *operand, int64_t stride, int line, int k, bool inner) {
  return operand + (inner ? line * stride + k : k * stride + line);
}

// The part of a product that one tile is.
struct Part {
  int row, column;       // of c, where its tile begins
  int64_t batch, slice;  // which product; which slice of the output: the product, or the part of k within it
  int begin, end;        // of k
};

// Blocks that run at the same time shall read the same rows and columns, which the second-level cache then reads once:
// so tiles are numbered down so many rows of them before they move on to the next column of tiles.
constexpr unsigned kRasterRows = 8;

template <typename T>
__device__ __forceinline__ Part partOf(const Product<T> &product, unsigned number, int tileRows, int tileColumns) {
  unsigned down = static_cast<unsigned>((product.m + tileRows - 1) / tileRows);
  unsigned across = static_cast<unsigned>((product.n + tileColumns - 1) / tileColumns);
  unsigned tile = number % (down * across), slice = number / (down * across);
  unsigned group = tile / (kRasterRows * across), within = tile % (kRasterRows * across);
  unsigned height = min(kRasterRows, down - group * kRasterRows);
  Part part;
  part.row = static_cast<int>(group * kRasterRows + within % height) * tileRows;
  part.column = static_cast<int>(within / height) * tileColumns;
  part.slice = slice;
  part.batch = slice / static_cast<unsigned>(product.splits);
  part.begin = static_cast<int>(slice % static_cast<unsigned>(product.splits)) * product.depth;
  part.end = min(product.k, part.begin + product.depth);
  return part;
}

constexpr __host__ __device__ int threadsOf(const GemmTile &tile) { return kWarp * tile.warpsDown * tile.warpsAcross; }

// The tiles of so many slices.
template <typename T, typename Tile>
unsigned tilesOf(const Product<T> &product, const Tile &tile, unsigned slices) {
  auto down = static_cast<unsigned>((product.m + tile.rows - 1) / tile.rows);
  auto across = static_cast<unsigned>((product.n + tile.columns - 1) / tile.columns);
  return down * across * slices;
}

// Whether the kernels can count what the shape has.
sn_status checkGemmSize(const sn_gemm_shape &shape);

// The launchers of each kind of kernel. A plan's parts of k are in `product` already.
cudaError_t launchTensorCore(const Product<bf16> &product, int tile, bool transposeA, bool transposeB, unsigned slices,
                             cudaStream_t stream);
// Whether tensor copies can move all operands of a product, and whether c and aux.
bool suitsWarpgroup(const Product<bf16> &product);
bool outputsSuitWarpgroup(const Product<bf16> &product);
cudaError_t launchWarpgroup(const Product<bf16> &product, int tile, int cluster, bool transposeA, bool transposeB,
                            unsigned slices, int multiprocessors, cudaStream_t stream);
cudaError_t launchFloats(const Product<float> &product, int tile, bool transposeA, bool transposeB, unsigned slices,
                         cudaStream_t stream);
cudaError_t launchFewRows(const Product<float> &product, const RowNorm<float> &norm, bool transposeA, bool transposeB,
                          unsigned batch, const sn_stream *stream);
cudaError_t launchFewRows(const Product<bf16> &product, const RowNorm<bf16> &norm, bool transposeA, bool transposeB,
                          unsigned batch, const sn_stream *stream);

// Whether the kernel for few rows has room for a's normalised rows; a norm without gain is none.
bool normalizesItself(const sn_gemm_shape &shape);

// Whether rows and batches of an operand all begin at multiples of 16 bytes.
template <typename T>
bool rowsAreAligned(const T *first, int64_t stride, int64_t batch) {
  return isAligned(first) && stride % Vector<T>::kCount == 0 && batch % Vector<T>::kCount == 0;
}

}  // namespace sn::cuda
