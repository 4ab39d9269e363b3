// attention_reading.cuh: how the kernels that attend to a cache read it: a warp takes rows of keys and values in
// 16-byte pieces, all in flight at once, and keeps a softmax of what it has read.
#pragma once

#include "cuda/attention.cuh"
#include "cuda/vector.h"

namespace sn::cuda {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

// 16 bytes of a row as they come, in four registers; elements of 2 bytes would take one each.
struct alignas(16) Piece {
  uint32_t word[4];
};

template <typename T>
__device__ __forceinline__ float elementOf(const Piece &piece, int i) {
  if constexpr (sizeof(T) == 4) return __uint_as_float(piece.word[i]);
  uint32_t pair = piece.word[i / 2];
  return __uint_as_float(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
}

__device__ __forceinline__ void placeElement(Piece *piece, int i, float x) { piece->word[i] = __float_as_uint(x); }
__device__ __forceinline__ void placeElement(Piece *piece, int i, bf16 x) {
  piece->word[i / 2] |= static_cast<uint32_t>(__bfloat16_as_ushort(x)) << 16 * (i % 2);
}

// How a warp reads rows of a cache: `kLanes` neighbouring lanes share a row, each with `kPieces` pieces of it.
template <typename T, int HeadSize>
struct Reading {
  static constexpr int kPiece = Vector<T>::kCount;
  static constexpr int kLanes = HeadSize / kPiece < kWarp ? HeadSize / kPiece : kWarp;
  static constexpr int kPieces = HeadSize / kPiece / kLanes;
  static constexpr int kElements = kPiece * kPieces;       // of a lane
  static constexpr int kAtOnce = kWarp / kLanes;           // rows of a warp
  static constexpr int kSteps = 8 / kPieces;               // rows of a lane, one after another
  static constexpr int kKeys = kWarps * kAtOnce * kSteps;  // rows of a block in all steps

  __device__ static int column(int piece) { return (piece * kLanes + static_cast<int>(threadIdx.x) % kLanes) * kPiece; }

  // The lane's elements of a row; those from headSize on are zero.
  __device__ static void load(const T *row, int headSize, bool inPieces, Piece (&pieces)[kPieces]) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      int first = column(i);
      pieces[i] = {};
      if (inPieces) {
        if (first < headSize) pieces[i] = *reinterpret_cast<const Piece *>(row + first);
      } else {
#pragma unroll
        for (int j = 0; j < kPiece; ++j) {
          if (first + j < headSize) placeElement(&pieces[i], j, row[first + j]);
        }
      }
    }
  }

  // Element i of all that the lane has of a row.
  __device__ static float element(const Piece (&pieces)[kPieces], int i) {
    return elementOf<T>(pieces[i / kPiece], i % kPiece);
  }
};

// What a split leaves of a row: sum and maximum of its softmax, in base 2.
struct alignas(8) SplitNumbers {
  float most, total;
};

// The softmax of a warp's part: of the keys that it has read, and in each lane of the elements that it has.
template <int R, int Elements>
struct RunningSums {
  float most[R], total[R], sums[R][Elements];

  __device__ RunningSums() {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      most[r] = -INFINITY;
      total[r] = 0;
#pragma unroll
      for (float &sum : sums[r]) sum = 0;
    }
  }

  // Adds those of lanes that read other rows. All have the same maximum.
  template <int Lanes>
  __device__ void addOtherLanes() {
#pragma unroll
    for (int distance = Lanes; distance < kWarp; distance *= 2) {
#pragma unroll
      for (int r = 0; r < R; ++r) {
        total[r] += __shfl_xor_sync(kAllLanes, total[r], distance);
#pragma unroll
        for (float &sum : sums[r]) sum += __shfl_xor_sync(kAllLanes, sum, distance);
      }
    }
  }
};

// Scores of the lane's key of each step: each lane multiplies what it has, then all that share the row add up.
template <typename T, int HeadSize, int R>
__device__ __forceinline__ void multiplyKeys(
    const Piece (&keys)[Reading<T, HeadSize>::kSteps][Reading<T, HeadSize>::kPieces],
    const float (&queries)[R][Reading<T, HeadSize>::kElements], float (&scores)[R][Reading<T, HeadSize>::kSteps]) {
  using Reader = Reading<T, HeadSize>;
#pragma unroll
  for (int step = 0; step < Reader::kSteps; ++step) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < Reader::kElements; ++i) {
        sum = fmaf(Reader::element(keys[step], i), queries[r][i], sum);
      }
#pragma unroll
      for (int distance = Reader::kLanes / 2; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, distance);
      }
      scores[r][step] = sum;
    }
  }
}

// Takes in the values of the lane's keys, weighted by their scores' powers (Dao 2023, algorithm 1, lines 9 and 10).
template <typename T, int HeadSize, int R>
__device__ __forceinline__ void addValues(
    const Piece (&values)[Reading<T, HeadSize>::kSteps][Reading<T, HeadSize>::kPieces],
    const float (&scores)[R][Reading<T, HeadSize>::kSteps], RunningSums<R, Reading<T, HeadSize>::kElements> *running) {
  using Reader = Reading<T, HeadSize>;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    float next = running->most[r];
#pragma unroll
    for (float score : scores[r]) next = fmaxf(next, score);
#pragma unroll
    for (int distance = Reader::kLanes; distance < kWarp; distance *= 2) {
      next = fmaxf(next, __shfl_xor_sync(kAllLanes, next, distance));
    }
    float base = next == -INFINITY ? 0.0f : next, shrink = fastExp2(running->most[r] - base);
    running->most[r] = next;
    float own = 0;
#pragma unroll
    for (float &sum : running->sums[r]) sum *= shrink;
#pragma unroll
    for (int step = 0; step < Reader::kSteps; ++step) {
      float p = fastExp2(scores[r][step] - base);
      own += p;
      if (p == 0) continue;  // what a row does not see may be infinite
#pragma unroll
      for (int i = 0; i < Reader::kElements; ++i) {
        float value = Reader::element(values[step], i);
        running->sums[r][i] = fmaf(p, value, running->sums[r][i]);
      }
    }
    running->total[r] = fmaf(running->total[r], shrink, own);
  }
}

}  // namespace sn::cuda
