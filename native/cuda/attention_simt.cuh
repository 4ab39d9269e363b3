// attention_simt.cuh: tiles of fp32 rows in shared memory and their products by fused multiply-adds, for the kernels of
// attention in fp32: 256 threads as 16 x 16.
//
// Thread (x, y) has rows y R .. y R + R of a tile; of scores the columns x, x + 16, ..; of sums over a head's columns
// 4 x .. 4 x + 4, and the same 64 further on. The 16 threads of a row are neighbours in a warp.
#pragma once

#include "cuda/attention.cuh"
#include "cuda/vector.h"

namespace sn::cuda {

constexpr int kSide = 16;
constexpr int kSimtThreads = kSide * kSide;

// Tiles begin each row four banks further, so that neighbouring rows are read together without conflicts.
template <int Columns>
constexpr int kTileStride = Columns + 4;

// Copies rows first .. first + Rows; those from `end` on, and columns from headSize on, become zeros.
template <int Rows, int Columns>
__device__ __forceinline__ void copyRows(float *tile, const float *head, int64_t stride, int first, int end,
                                         int headSize, bool inPieces) {
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < Rows * Columns / 4; i += kSimtThreads) {
    int row = i / (Columns / 4), column = i % (Columns / 4) * 4;
    int count = first + row < end ? headSize - column : 0;
    const float *from = head + (first + row) * stride + column;
    Vector<float> piece;
    if (inPieces && count >= 4) {
      piece = *reinterpret_cast<const Vector<float> *>(from);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) piece.element[j] = j < count ? from[j] : 0.0f;
    }
    *reinterpret_cast<Vector<float> *>(tile + row * kTileStride<Columns> + column) = piece;
  }
}

// sums = left right^T over all columns, for the thread's R rows of `left` and C of `right`.
template <int Columns, int R, int C>
__device__ __forceinline__ void multiplyTransposed(float (&sums)[R][C], const float *left, const float *right) {
  int x = static_cast<int>(threadIdx.x % kSide), y = static_cast<int>(threadIdx.x / kSide);
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (float &sum : sums[r]) sum = 0;
  }
#pragma unroll 2
  for (int column = 0; column < Columns; column += 4) {
    Vector<float> a[R], b[C];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      a[r] = *reinterpret_cast<const Vector<float> *>(left + (y * R + r) * kTileStride<Columns> + column);
    }
#pragma unroll
    for (int c = 0; c < C; ++c) {
      b[c] = *reinterpret_cast<const Vector<float> *>(right + (x + kSide * c) * kTileStride<Columns> + column);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < C; ++c) sums[r][c] = fmaf(a[r].element[i], b[c].element[i], sums[r][c]);
      }
    }
  }
}

// Leaves the thread's scores in a tile of 16 C columns.
template <int R, int C>
__device__ __forceinline__ void placeScores(float *tile, const float (&scores)[R][C]) {
  int x = static_cast<int>(threadIdx.x % kSide), y = static_cast<int>(threadIdx.x / kSide);
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int c = 0; c < C; ++c) tile[(y * R + r) * kTileStride<kSide * C> + x + kSide * c] = scores[r][c];
  }
}

// sums += left right, for the thread's R rows of `left`, a tile of `Depth` columns, and its columns of `right`.
template <int Columns, int Depth, int R>
__device__ __forceinline__ void multiply(float (&sums)[R][Columns / kSide], const float *left, const float *right) {
  int x = static_cast<int>(threadIdx.x % kSide), y = static_cast<int>(threadIdx.x / kSide);
#pragma unroll 2
  for (int k = 0; k < Depth; ++k) {
    float a[R];
#pragma unroll
    for (int r = 0; r < R; ++r) a[r] = left[(y * R + r) * kTileStride<Depth> + k];
#pragma unroll
    for (int c = 0; c < Columns / kSide; c += 4) {
      auto b = *reinterpret_cast<const Vector<float> *>(right + k * kTileStride<Columns> + 4 * x + kSide * c);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int r = 0; r < R; ++r) sums[r][c + i] = fmaf(a[r], b.element[i], sums[r][c + i]);
      }
    }
  }
}

// Writes the thread's sums of one row, times `factor`.
template <int N>
__device__ __forceinline__ void storeSums(float *row, const float (&sums)[N], float factor, int headSize) {
  int x = static_cast<int>(threadIdx.x % kSide);
#pragma unroll
  for (int c = 0; c < N; c += 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int column = 4 * x + kSide * c + i;
      if (column < headSize) row[column] = sums[c + i] * factor;
    }
  }
}

}  // namespace sn::cuda
