// attention_tiles.cuh: tiles of bf16 rows in shared memory and their products on the tensor cores, 16 rows a fragment.
//
// Accumulators are [16 rows][columns / 8][4]: lane l holds row l / 4, columns 2 (l % 4) and the next of each eight;
// then the same of row l / 4 + 8. Rounded in pairs they are the left operand of a further product: probabilities never
// leave their registers.
#pragma once

#include "cuda/attention.cuh"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/matrix.h"
#include "cuda/vector.h"

namespace sn::cuda {

// The order of a tile's 16-byte pieces: fragments read the same piece of eight neighbouring rows at once, so these lie
// in eight different groups of banks. Rows of whole 128 bytes all begin in the same bank and have each a permutation of
// its own; of other rows every second begins 64 bytes later, so two share one.
template <int Columns>
struct Pieces {
  static_assert(Columns % 32 == 0);
  static constexpr int kCount = Columns / 8;
  static constexpr int kMask = Columns % 64 == 0 ? 7 : 3;

  __device__ __forceinline__ static int permutation(int row) { return kMask == 7 ? row % 8 : row / 2 % 4; }
  __device__ __forceinline__ static int place(int row, int piece) {
    return row * Columns + 8 * (piece ^ permutation(row));
  }

  // place(row, lanePiece + piece) from place(row, lanePiece), for an even `piece` known when compiling and a lanePiece
  // of 0 or 1: one operation.
  __device__ __forceinline__ static int moved(int lanePlace, int piece) {
    return (lanePlace ^ 8 * (piece & kMask)) + 8 * (piece & ~kMask);
  }
};

// ---- between device and shared memory

// Begins to copy `Rows` rows from `first` on; those from `end` on, and columns from headSize on, become zeros. All
// threads of the block take part; the copies belong to their next group.
template <int Rows, int Columns, int Threads>
__device__ __forceinline__ void copyRows(bf16 *tile, const bf16 *head, int64_t stride, int first, int end, int headSize,
                                         bool inPieces) {
  // A thread has the same columns of every so many rows, so that one address leads to the others.
  constexpr int kPieces = Pieces<Columns>::kCount;
  constexpr int kAcross = kPieces % 8 != 0 ? 4 : kPieces < 32 ? kPieces & -kPieces : 32;
  constexpr int kDown = Threads / kAcross;
  static_assert(kPieces % kAcross == 0 && Threads % kAcross == 0 && (Rows % kDown == 0 || Rows < kDown));
  int row = static_cast<int>(threadIdx.x / kAcross), piece = static_cast<int>(threadIdx.x % kAcross);
  if (Rows < kDown && row >= Rows) return;
  const bf16 *from = head + (first + row) * stride + 8 * piece;
  int rows = end - first - row, columns = headSize - 8 * piece;
  if (inPieces) {
#pragma unroll
    for (int down = 0; down < Rows; down += kDown, from += kDown * stride) {
#pragma unroll
      for (int across = 0; across < kPieces; across += kAcross) {
        bool there = down < rows && 8 * across < columns;
        copyAsync<16>(tile + Pieces<Columns>::place(row + down, piece + across), from + 8 * across, there);
      }
    }
    return;
  }
#pragma unroll 1
  for (int down = 0; down < Rows; down += kDown, from += kDown * stride) {
#pragma unroll 1
    for (int across = 0; across < kPieces; across += kAcross) {
      bf16 *to = tile + Pieces<Columns>::place(row + down, piece + across);
#pragma unroll 1
      for (int i = 0; i < 8; ++i) {
        bool there = down < rows && 8 * across + i < columns;
        to[i] = there ? from[8 * across + i] : fromFloat<bf16>(0.0f);
      }
    }
  }
}

// Writes a warp's rows of a tile; `count` of them exist.
template <int Columns>
__device__ __forceinline__ void storeRows(bf16 *target, int64_t stride, const bf16 *rows, int count, int headSize,
                                          bool inPieces) {
  constexpr int kPieces = Pieces<Columns>::kCount;
  for (int i = static_cast<int>(threadIdx.x % kWarp); i < count * kPieces; i += kWarp) {
    int row = i / kPieces, piece = i % kPieces, columns = min(headSize - 8 * piece, 8);
    auto elements = *reinterpret_cast<const Vector<bf16> *>(rows + Pieces<Columns>::place(row, piece));
    bf16 *to = target + row * stride + 8 * piece;
    if (inPieces) {
      if (columns > 0) *reinterpret_cast<Vector<bf16> *>(to) = elements;
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        if (j < columns) to[j] = elements.element[j];
      }
    }
  }
}

// Rounds accumulators into 16 rows of a tile, from column 8 * `piece` on, times a factor for each of the lane's rows.
template <int Columns, int N>
__device__ __forceinline__ void placeRows(bf16 *rows, int piece, const float (&sums)[N][4], float upper, float lower) {
  int lane = static_cast<int>(threadIdx.x % kWarp), row = lane / 4, column = 2 * (lane % 4);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    auto *high = reinterpret_cast<uint32_t *>(rows + Pieces<Columns>::place(row, piece + n) + column);
    auto *low = reinterpret_cast<uint32_t *>(rows + Pieces<Columns>::place(row + 8, piece + n) + column);
    *high = packBf16(sums[n][0] * upper, sums[n][1] * upper);
    *low = packBf16(sums[n][2] * lower, sums[n][3] * lower);
  }
}

// ---- products

// Columns 16 * step .. 16 * step + 16 of 16 rows, as a left operand.
template <int Columns>
__device__ __forceinline__ void loadLeft(uint32_t (&a)[4], const bf16 *rows, int step) {
  int lane = static_cast<int>(threadIdx.x % kWarp), lanePlace = Pieces<Columns>::place(lane % 16, lane / 16);
  loadMatrix4(a, rows + Pieces<Columns>::moved(lanePlace, 2 * step));
}

// The same of 16 rows whose transpose is the right operand: two columns of eight.
template <int Columns>
__device__ __forceinline__ void loadRight(uint32_t (&b)[4], const bf16 *rows, int step) {
  int lane = static_cast<int>(threadIdx.x % kWarp);
  int lanePlace = Pieces<Columns>::place(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  loadMatrix4(b, rows + Pieces<Columns>::moved(lanePlace, 2 * step));
}

// Columns 8 * piece .. 8 * piece + 16 of 16 rows that are the right operand as they are.
template <int Columns>
__device__ __forceinline__ void loadRightRows(uint32_t (&b)[4], const bf16 *rows, int piece) {
  int lane = static_cast<int>(threadIdx.x % kWarp), lanePlace = Pieces<Columns>::place(lane % 16, lane / 16);
  loadMatrix4Transposed(b, rows + Pieces<Columns>::moved(lanePlace, piece));
}

// sums = left right^T over all columns: 16 M rows by 8 N. `left(a, m, step)` gives the left operand's fragments.
template <int Columns, int M, int N, typename Left>
__device__ __forceinline__ void multiplyTransposed(float (&sums)[M][N][4], Left &&left, const bf16 *right) {
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (float &sum : sums[m][n]) sum = 0;
    }
  }
#pragma unroll
  for (int step = 0; step < Columns / 16; ++step) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) left(a[m], m, step);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      loadRight<Columns>(b, right + 8 * n * Columns, step);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        multiplyAdd(sums[m][n], a[m], b[0], b[1]);
        multiplyAdd(sums[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// sums += left right for the accumulators `left`, 16 M rows by 8 Depth, rounded, and 8 Depth rows of `right`, its
// columns from 8 * piece on.
template <int Columns, int M, int Depth, int N>
__device__ __forceinline__ void multiplyRounded(float (&sums)[M][N][4], const float (&left)[M][Depth][4],
                                                const bf16 *right, int piece = 0) {
#pragma unroll
  for (int k = 0; k < Depth; k += 2) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) {
      a[m][0] = packBf16(left[m][k][0], left[m][k][1]);
      a[m][1] = packBf16(left[m][k][2], left[m][k][3]);
      a[m][2] = packBf16(left[m][k + 1][0], left[m][k + 1][1]);
      a[m][3] = packBf16(left[m][k + 1][2], left[m][k + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      loadRightRows<Columns>(b, right + 8 * k * Columns + 8 * piece, n);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        multiplyAdd(sums[m][n], a[m], b[0], b[1]);
        multiplyAdd(sums[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// ---- masks

// Hides the keys from `key` on that the rows from `row` on do not see.
template <int M, int N, typename First>
__device__ __forceinline__ void maskKeys(float (&scores)[M][N][4], const TileSight<First> &sight, int row, int key) {
  int lane = static_cast<int>(threadIdx.x % kWarp), column = key + 2 * (lane % 4);
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int own = row + 16 * m + 8 * half + lane / 4;
      int first = sight.first(own) - column, last = sight.last(own) - column;
#pragma unroll
      for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          bool seen = 8 * n + i >= first && 8 * n + i < last;
          if (!seen) scores[m][n][2 * half + i] = -INFINITY;
        }
      }
    }
  }
}

// The same where keys are the rows, from `key` on, and the columns are queries from `row` on.
template <int M, int N, typename First>
__device__ __forceinline__ void maskQueries(float (&scores)[M][N][4], const TileSight<First> &sight, int row, int key) {
  int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      int query = row + 8 * n + 2 * (lane % 4) + i;
      int first = sight.first(query) - key - lane / 4, last = sight.last(query) - key - lane / 4;
#pragma unroll
      for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          bool seen = 16 * m + 8 * half >= first && 16 * m + 8 * half < last;
          if (!seen) scores[m][n][2 * half + i] = -INFINITY;
        }
      }
    }
  }
}

// ---- dropped probabilities

// For accumulators of 16 queries by 8 N keys: bit 4 n + i is whether element i of the lane's [n] is kept. `row`: the
// number of the first query of all.
template <int N>
__device__ __forceinline__ uint32_t keptByQuery(const ProbabilityDropout &dropout, int64_t row, int key) {
  static_assert(N <= 8);
  // Two neighbouring lanes hold four neighbours of two rows: each draws for one row and gives the other half away.
  int lane = static_cast<int>(threadIdx.x % kWarp), odd = lane % 2;
  int64_t index = (row + lane / 4 + 8 * odd) * dropout.keys + key + lane % 4 / 2 * 4;
  uint32_t kept = 0;
#pragma unroll 1
  for (int n = 0; n < N; ++n) {
    unsigned own = dropout.keepFour(index + 8 * n), other = __shfl_xor_sync(kAllLanes, own, 1);
    unsigned upper = odd ? other : own, lower = odd ? own : other;
    kept |= ((upper >> 2 * odd & 3u) | (lower >> 2 * odd & 3u) << 2) << 4 * n;
  }
  return kept;
}

// The same for 16 keys by 8 N queries.
template <int N>
__device__ __forceinline__ uint32_t keptByKey(const ProbabilityDropout &dropout, int64_t row, int key) {
  static_assert(N <= 8);
  // Four lanes, 4 apart, hold four neighbouring keys of four pairs (query, half of the keys): each draws for one.
  int lane = static_cast<int>(threadIdx.x % kWarp), own = lane / 4 % 4;
  int64_t index = (row + 2 * (lane % 4) + own % 2) * dropout.keys + key + lane / 16 * 4 + own / 2 * 8;
  uint32_t kept = 0;
#pragma unroll 1
  for (int n = 0; n < N; ++n) {
    unsigned drawn = dropout.keepFour(index + 8 * n * dropout.keys);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      unsigned pair = __shfl_sync(kAllLanes, drawn, (lane & 0x13) | i << 2);
      kept |= (pair >> own & 1u) << (4 * n + i);
    }
  }
  return kept;
}

// Drops probabilities of 16 M queries by 8 N keys; what is left is scaled with the sums.
template <int M, int N>
__device__ __forceinline__ void drop(float (&p)[M][N][4], const ProbabilityDropout &dropout, int64_t row, int key) {
#pragma unroll
  for (int m = 0; m < M; ++m) {
    uint32_t kept = keptByQuery<N>(dropout, row + 16 * m, key);
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) p[m][n][i] = (kept >> (4 * n + i) & 1u) != 0 ? p[m][n][i] : 0.0f;
    }
  }
}

}  // namespace sn::cuda
