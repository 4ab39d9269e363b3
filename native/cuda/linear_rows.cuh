// linear_rows.cuh: where a product with packed weights has its rows of x from: memory, shared memory in which a block
// has normalised them, or the workspace, in which a kernel has left them as the weights' format wants them. Each is a
// class with
//   load(tile, step)  what a lane has of a step of a tile of eight rows; fragments(..) makes registers of it
//   begin(shared)     called by all threads, after the kernel before has ended
#pragma once

#include "cuda/linear_formats.cuh"
#include "cuda/ptx/grid.h"
#include "cuda/row_norm.cuh"

namespace sn::cuda {

// Rows of floats in memory, all of which begin at multiples of 16 bytes.
template <typename Format>
struct Direct {
  using Loaded = typename Format::Numbers;
  // Of a multiprocessor: the next kernel's come while this one's are there. Other formats have no registers for that.
  static constexpr int kBlocks = Format::kFormat == SN_WEIGHT_BF16 ? 2 : 1;

  const float *first;
  int64_t stride;
  int rows, in;  // `in` is a multiple of 4

  size_t sharedBytes() const { return 0; }
  __device__ __forceinline__ void begin(float *) {}

  __device__ __forceinline__ Loaded load(int tile, int step) const {
    return Format::numbers([&](int row, int place) {
      int k = step * Format::kDepth + place;
      if (k >= in) return Four{};
      // Of a row too many the sums are not used.
      return *reinterpret_cast<const Four *>(first + min(tile * kRows + row, rows - 1) * stride + k);
    });
  }

  static __device__ __forceinline__ auto fragments(const Loaded &x) { return Format::fragments(x); }
};

// Rows of whole units in shared memory: zeros behind what there is of them.
__device__ __forceinline__ void normalizePadded(const RowNorm<float> &norm, float *shared, int stride, bool keeps) {
  for (int i = static_cast<int>(threadIdx.x); i < norm.rows * stride; i += static_cast<int>(blockDim.x)) {
    if (i % stride >= norm.width) shared[i] = 0;
  }
  norm.normalizeInto(shared, stride, keeps);
}

// Up to eight rows that each block normalises into its shared memory.
template <typename Format>
struct Normalized {
  using Loaded = typename Format::Numbers;
  static constexpr int kBlocks = 1;

  RowNorm<float> norm;
  Direct<Format> normalized;

  // Rows behind each other start in different banks.
  static int strideOf(int64_t in) { return static_cast<int>((in + kUnit - 1) / kUnit * kUnit) + 16; }

  size_t sharedBytes() const { return sizeof(float) * static_cast<size_t>(norm.rows * normalized.stride); }

  __device__ __forceinline__ void begin(float *shared) {
    normalizePadded(norm, shared, static_cast<int>(normalized.stride), blockIdx.x == 0);
    normalized.first = shared;
  }

  __device__ __forceinline__ Loaded load(int tile, int step) const { return normalized.load(tile, step); }

  static __device__ __forceinline__ auto fragments(const Loaded &x) { return Format::fragments(x); }
};

// What prepareRows left.
template <typename Format>
struct Prepared {
  using Loaded = typename Format::Fragments;
  static constexpr int kBlocks = 1;

  const unsigned char *first;
  int tiles;  // of a step

  size_t sharedBytes() const { return 0; }
  __device__ __forceinline__ void begin(float *) {}

  __device__ __forceinline__ Loaded load(int tile, int step) const {
    int64_t place = static_cast<int64_t>(step) * tiles + tile;
    return Format::read(first + place * Format::kPreparedBytes);
  }

  static __device__ __forceinline__ Loaded fragments(const Loaded &x) { return x; }
};

constexpr int kPrepareThreads = 128;

// A warp a step of a tile.
template <typename Format, typename T>
__global__ void __launch_bounds__(kPrepareThreads)
    prepareRows(const T *x, int64_t stride, int rows, int in, int tiles, int64_t count, unsigned char *prepared) {
  releaseNextGrid();
  waitForPriorGrid();
  int64_t number = static_cast<int64_t>(blockIdx.x) * (kPrepareThreads / kWarp) + threadIdx.x / kWarp;
  if (number >= count) return;
  int tile = static_cast<int>(number % tiles), first = static_cast<int>(number / tiles) * Format::kDepth;
  auto numbers = Format::numbers([&](int row, int place) {
    Four four;
    const T *from = x + min(tile * kRows + row, rows - 1) * stride + first + place;
    loadPacked<4>(from, in - first - place).unpack(four.element);
    return four;
  });
  Format::write(Format::fragments(numbers), prepared + number * Format::kPreparedBytes);
}

// The same of rows that are normalised first: a block a tile. Tiles behind the last row repeat it.
template <typename Format>
__global__ void __launch_bounds__(kNormThreads)
    prepareNormalized(RowNorm<float> norm, int stride, int tiles, int steps, unsigned char *prepared) {
  SN_DYNAMIC_SHARED(memory);
  auto *shared = reinterpret_cast<float *>(memory);
  releaseNextGrid();
  waitForPriorGrid();
  int tile = static_cast<int>(blockIdx.x), first = min(tile * kRows, norm.rows - 1);
  auto own = norm.from(first);
  normalizePadded(own, shared, stride, first == tile * kRows);
  const Direct<Format> rows{shared, stride, own.rows, steps * Format::kDepth};
  for (int step = static_cast<int>(threadIdx.x) / kWarp; step < steps; step += kNormThreads / kWarp) {
    int64_t place = static_cast<int64_t>(step) * tiles + tile;
    Format::write(Format::fragments(rows.load(0, step)), prepared + place * Format::kPreparedBytes);
  }
}

// Rows as floats, padded with zeros to `padded`.
template <typename T>
struct PadRows {
  const T *x;
  int64_t stride, in, padded;
  float *out;

  __device__ void operator()(int64_t first, int) const {
    int64_t k = first % padded;
    float numbers[8];
    loadPacked<8>(x + first / padded * stride + k, in - k).unpack(numbers);
    storeElements(out + first, 8, numbers);
  }
};

}  // namespace sn::cuda
