// attention_warpgroup.cuh: tiles of bf16 rows of heads for sm_90a: how tensor copies see them, and what is done to the
// accumulators of warpgroup products.
//
// A tile lies in shared memory as its boxes do: columns 0 to 63 of all its rows, 128 swizzled bytes each, then columns
// 64 to 127. Rows that are not there are zero when loaded and left out when stored; rows may begin before the first.
//
// Accumulators are those of attention_tiles.cuh, 64 rows of which each warp has 16: thread t holds of eights of columns
// [4 n], [4 n + 1]: row t / 4 of its warp, columns 8 n + 2 (t % 4) and the next; [4 n + 2], [4 n + 3]: 8 rows below.
#pragma once

#include "cuda/attention.cuh"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/ptx/warpgroup.h"

namespace sn::cuda {

constexpr int kWarpgroup = 128;
constexpr int kGroupRows = 64;   // of a warpgroup's product
constexpr int kBoxColumns = 64;  // that a swizzled box may have: 128 bytes

// Boxes of `boxRows` rows by 64 columns, addressed by column, row, head and sequence.
template <typename T>
cudaError_t describeHeads(TensorMap *map, const Heads<T> &tensor, int batch, int heads, int rows, int headSize,
                          int boxRows) {
  auto unsignedOf = [](auto x) { return static_cast<uint64_t>(x); };
  return describeTensor(map, Element::bf16, tensor.data,
                        {{unsignedOf(headSize), 1, kBoxColumns},
                         {unsignedOf(rows), unsignedOf(tensor.rowStride), static_cast<uint32_t>(boxRows)},
                         {unsignedOf(heads), unsignedOf(tensor.headStride), 1},
                         {unsignedOf(batch), unsignedOf(tensor.batchStride), 1}},
                        true);
}

#if SN_HOPPER

// Loads `rows` rows of a head, all its columns; their bytes count at the barrier.
template <int Rows, int HeadSize>
__device__ __forceinline__ void loadRows(bf16 *tile, const TensorMap *map, int row, int head, int batch,
                                         Mbarrier *barrier) {
#pragma unroll
  for (int column = 0; column < HeadSize; column += kBoxColumns) {
    loadTile(tile + Rows * column, map, column, row, head, batch, barrier);
  }
}

// Stores a tile's rows.
template <int Rows, int HeadSize>
__device__ __forceinline__ void storeRows(const TensorMap *map, int row, int head, int batch, const bf16 *tile) {
#pragma unroll
  for (int column = 0; column < HeadSize; column += kBoxColumns) {
    storeTile(map, column, row, head, batch, tile + Rows * column);
  }
}

// By one warp: makes zeros of a tile's rows from `row` on.
template <int Rows, int HeadSize>
__device__ __forceinline__ void clearRows(bf16 *tile, int row) {
  constexpr int kPieces = kBoxColumns * sizeof(bf16) / sizeof(uint4);  // of a row
  for (int column = 0; column < HeadSize; column += kBoxColumns) {
    auto *pieces = reinterpret_cast<uint4 *>(tile + Rows * column);
    for (int i = row * kPieces + static_cast<int>(threadIdx.x % kWarp); i < Rows * kPieces; i += kWarp) {
      pieces[i] = make_uint4(0, 0, 0, 0);
    }
  }
}

// Stages that are filled and emptied again and again: the stage of each use, and the parity of its phase.
template <int Stages>
struct Ring {
  static __device__ __forceinline__ int stage(int use) { return use % Stages; }
  static __device__ __forceinline__ uint32_t parity(int use) { return static_cast<uint32_t>(use / Stages) & 1u; }
};

// ---- products of 64 rows

// scores = left right^T, the rows of both being of HeadSize columns: 64 of a tile of LeftRows, and all of one of Rows.
template <int HeadSize, int LeftRows, int Rows>
__device__ __forceinline__ void multiplyTransposed(float (&scores)[Rows / 2], const bf16 *left, const bf16 *right) {
#pragma unroll
  for (int column = 0; column < HeadSize; column += kBoxColumns) {
    uint64_t a = describeInner(left + LeftRows * column), b = describeInner(right + Rows * column);
#pragma unroll
    for (int step = 0; step < kBoxColumns / 16; ++step) {
      multiplyWarpgroup<Rows>(scores, advance<Major::inner>(a, step), advance<Major::inner>(b, step),
                              column + step > 0);
    }
  }
}

// sums += left right, or = where not `add`, for 64 x Rows of `left` in registers, as packRows makes them, and a tile of
// Rows rows.
template <int HeadSize, int Rows>
__device__ __forceinline__ void multiplyRows(float (&sums)[HeadSize / 2], const uint32_t (&left)[Rows / 16][4],
                                             const bf16 *right, bool add = true) {
  uint64_t b = describeOuter(right, Rows * kBoxColumns * sizeof(bf16));
#pragma unroll
  for (int step = 0; step < Rows / 16; ++step) {
    multiplyWarpgroup<HeadSize, Major::outer>(sums, left[step], advance<Major::outer>(b, step), add || step > 0);
  }
}

// Accumulators, rounded, as the left operand of a further product: they stay where they are.
template <int Count>
__device__ __forceinline__ void packRows(uint32_t (&left)[Count / 8][4], const float (&sums)[Count]) {
#pragma unroll
  for (int i = 0; i < Count / 2; ++i) left[i / 4][i % 4] = packBf16(sums[2 * i], sums[2 * i + 1]);
}

// Writes accumulators, rounded, times a factor for each of the thread's two rows, as 64 rows of a tile of `Rows`.
template <int Rows, int Count>
__device__ __forceinline__ void placeRows(bf16 *tile, const float (&sums)[Count], const float (&factor)[2]) {
  int warp = static_cast<int>(threadIdx.x % kWarpgroup / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  int row = lane % 16;
  bf16 *rows = tile + (16 * warp + row) * kBoxColumns;
#pragma unroll
  for (int eight = 0; eight < Count / 4; eight += 2) {
    constexpr int kEights = kBoxColumns / 8;
    uint32_t registers[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float *pair = sums + 4 * eight + 2 * i;
      registers[i] = packBf16(pair[0] * factor[i % 2], pair[1] * factor[i % 2]);
    }
    int piece = (eight % kEights + lane / 16) ^ row % 8;
    storeMatrix4(rows + eight / kEights * Rows * kBoxColumns + 8 * piece, registers);
  }
}

// ---- masks

// Hides columns from `end` on in each of the thread's two rows, counted from the first column of the accumulators.
template <int Count>
__device__ __forceinline__ void hideFrom(float (&scores)[Count], const int (&end)[2]) {
  int column = 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    if (column + i / 4 * 8 + i % 2 >= end[i / 2 % 2]) scores[i] = -INFINITY;
  }
}

// Hides columns before `begin`.
template <int Count>
__device__ __forceinline__ void hideBefore(float (&scores)[Count], const int (&begin)[2]) {
  int column = 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    if (column + i / 4 * 8 + i % 2 < begin[i / 2 % 2]) scores[i] = -INFINITY;
  }
}

// ---- softmax

// That of a thread's two rows while their keys pass by (Milakov and Gimelshein 2018).
struct RowSoftmax {
  float most[2] = {-INFINITY, -INFINITY};  // of the scores so far, in base 2
  float total[2] = {0, 0};                 // of the thread's own columns
  float shrink[2];                         // what the last update makes of all that came before

  // Turns scores into powers below the new maximum. Unmasked: no score is -infinity.
  template <bool Masked, int Count>
  __device__ __forceinline__ void update(float (&scores)[Count], float scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = -INFINITY, own = 0;
#pragma unroll
      for (int i = 2 * half; i < Count; i += 4) highest = fmaxf(highest, fmaxf(scores[i], scores[i + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
      float next = fmaxf(most[half], highest * scale);
      float base = Masked && next == -INFINITY ? 0.0f : next;  // a row that has seen nothing yet
      shrink[half] = fastExp2(most[half] - base);
      most[half] = next;
#pragma unroll
      for (int i = 2 * half; i < Count; i += 4) {
        scores[i] = fastExp2(fmaf(scores[i], scale, -base));
        scores[i + 1] = fastExp2(fmaf(scores[i + 1], scale, -base));
        own += scores[i] + scores[i + 1];
      }
      total[half] = fmaf(total[half], shrink[half], own);
    }
  }

  // Once many keys have passed, new maxima are rare.
  template <int Count>
  __device__ __forceinline__ void shrinkSums(float (&sums)[Count]) const {
    if (!__any_sync(kAllLanes, shrink[0] != 1 || shrink[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < Count; ++i) sums[i] *= shrink[i / 2 % 2];
  }

  // The sums over whole rows.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (float &sum : total) {
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
  }

  __device__ __forceinline__ bool blind(int half) const { return total[half] == 0; }
  __device__ __forceinline__ float lse(int half) const {
    return blind(half) ? -INFINITY : (most[half] + log2f(total[half])) * kLn2;
  }
};

#endif

}  // namespace sn::cuda
