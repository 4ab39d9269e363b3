// row_norm.cuh: layer norm of a few rows by one block, for kernels that go on with them: sums in the order in which
// layer_norm.cu has them, so to the same bits.
#pragma once

#include "cuda/vector.h"

namespace sn::cuda {

// The columns whose sums one warp has in layer_norm.cu; those of a wider row are shared by as many threads.
constexpr int kWarpNormWidth = 1024;
constexpr int kNormThreads = 256;

// The sum of squares of what exists of an eight, less mu.
__device__ __forceinline__ float squaresOf(const float (&s)[8], int64_t count, float mu) {
  float squares = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float difference = j < count ? s[j] - mu : 0.0f;
    squares = fmaf(difference, difference, squares);
  }
  return squares;
}

__device__ __forceinline__ float sumOf(const float (&s)[8]) {
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

__device__ __forceinline__ float rstdOf(float squares, float width, float epsilon) {
  return 1.0f / sqrtf(squares / width + epsilon);
}

// (s - mean) rstd gain + bias of an eight, of which `count` exist.
template <typename T>
__device__ __forceinline__ void normalizeEight(const T *gain, const T *bias, int64_t count, float mean, float rstd,
                                               float (&s)[8]) {
  auto packedGain = loadPacked<8>(gain, count);
  auto packedBias = bias == nullptr ? Packed<T, 8>{} : loadPacked<8>(bias, count);
  float factor[8], shift[8];
  packedGain.unpack(factor);
  packedBias.unpack(shift);
#pragma unroll
  for (int j = 0; j < 8; ++j) s[j] = fmaf((s[j] - mean) * rstd, factor[j], shift[j]);
}

template <typename T>
struct RowNorm {
  static constexpr int kRows = 8;  // at most

  const T *x, *gain, *bias;
  T *out;
  float epsilon;
  int rows, width;

  static RowNorm of(const sn_row_norm &norm, const void *x, int64_t rows, int64_t width) {
    return {static_cast<const T *>(x),
            static_cast<const T *>(norm.gain),
            static_cast<const T *>(norm.bias),
            static_cast<T *>(norm.out),
            norm.epsilon,
            static_cast<int>(rows),
            static_cast<int>(width)};
  }

  // store(row, column, count, eight) for all eights, by all threads of a block of whole warps.
  template <typename F>
  __device__ __forceinline__ void normalize(F &&store) const {
    constexpr int kMostParts = kNormThreads / kWarp;
    SN_SHARED(float, totals, kRows *kMostParts);
    SN_SHARED(float, squares, kRows *kMostParts);
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warps = static_cast<int>(blockDim.x) / kWarp, parts = width <= kWarpNormWidth ? 1 : kMostParts;
    // f(row, column, count, eight) for what a warp has of each part of a row that is its own; then(part) after each.
    auto forParts = [&](auto &&f, auto &&then) {
#pragma unroll 1
      for (int part = warp; part < rows * parts; part += warps) {
        int row = part / parts;
#pragma unroll 4
        for (int column = 8 * (part % parts * kWarp + lane); column < width; column += 8 * kWarp * parts) {
          float eight[8];
          loadPacked<8>(x + row * static_cast<int64_t>(width) + column, width - column).unpack(eight);
          f(row, column, width - column, eight);
        }
        then(part);
      }
    };
    auto rowSum = [&](const float *sums, int row) {
      float sum = sums[row * parts];
      for (int part = 1; part < parts; ++part) sum += sums[row * parts + part];
      return sum;
    };
    auto meanOf = [&](int row) { return rowSum(totals, row) / static_cast<float>(width); };
    // Each lane's sum of a part becomes that of the warp.
    float sum = 0;
    auto keep = [&](float *sums) {
      return [&sum, sums, lane](int part) {
        float all = warpSum(sum);
        if (lane == 0) sums[part] = all;
        sum = 0;
      };
    };
    forParts([&](int, int, int, const float(&s)[8]) { sum += sumOf(s); }, keep(totals));
    __syncthreads();
    forParts([&](int row, int, int count, const float(&s)[8]) { sum += squaresOf(s, count, meanOf(row)); },
             keep(squares));
    __syncthreads();
    forParts(
        [&](int row, int column, int count, float(&s)[8]) {
          float rstd = rstdOf(rowSum(squares, row), static_cast<float>(width), epsilon);
          normalizeEight(gain + column, bias == nullptr ? nullptr : bias + column, count, meanOf(row), rstd, s);
          store(row, column, count, s);
        },
        [](int) {});
  }

  // The same to shared memory, whose rows have `stride`, and to `out` where `keeps`. All threads see it then.
  __device__ __forceinline__ void normalizeInto(T *shared, int stride, bool keeps) const {
    normalize([&](int row, int column, int count, const float(&s)[8]) {
      storeElements(shared + row * stride + column, count, s);
      if (keeps) storeElements(out + row * static_cast<int64_t>(width) + column, count, s);
    });
    __syncthreads();
  }

  // The rows from `first` on, of a block of as many.
  __device__ __forceinline__ RowNorm from(int first) const {
    int64_t at = first * static_cast<int64_t>(width);
    return {x + at, gain, bias, out + at, epsilon, min(kRows, rows - first), width};
  }
};

}  // namespace sn::cuda
