// vector.h: a few neighbouring elements at a time, in 16-byte accesses where the address allows it.
#pragma once

#include "cuda/math.h"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

// 16 bytes of elements.
template <typename T>
struct alignas(16) Vector {
  static constexpr int kCount = 16 / static_cast<int>(sizeof(T));

  T element[kCount];
};

template <typename T>
__host__ __device__ __forceinline__ bool isAligned(const T *p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Vector<T>) == 0;
}

// Elements as they lie in memory. A kernel loads all that it needs in this form and unpacks later: to convert a number
// is to wait for it, and the loads after it would wait too.
template <typename T, int Count>
struct Packed {
  static constexpr int kBytes = Count * static_cast<int>(sizeof(T)), kWords = kBytes / 4;
  // What one access moves.
  static constexpr int kAccess = kBytes < 16 ? kBytes : 16;

  uint32_t word[kWords];

  __device__ __forceinline__ void unpack(float (&x)[Count]) const {
    if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
      for (int i = 0; i < Count; ++i) x[i] = __uint_as_float(word[i]);
    } else {
      // A bf16 is the upper half of a float.
#pragma unroll
      for (int i = 0; i < Count; i += 2) {
        x[i] = __uint_as_float(word[i / 2] << 16);
        x[i + 1] = __uint_as_float(word[i / 2] & 0xffff0000u);
      }
    }
  }
};

__device__ __forceinline__ uint32_t bitsOf(float x) { return __float_as_uint(x); }
__device__ __forceinline__ uint32_t bitsOf(bf16 x) { return __bfloat16_as_ushort(x); }

// The elements p[0] .. p[Count], of which those from `first` on and before `last` exist; the others are `rest`.
template <int Count, typename T>
__device__ __forceinline__ Packed<T, Count> loadPacked(const T *p, int64_t first, int64_t last, float rest = 0.0f) {
  using Loaded = Packed<T, Count>;
  Loaded packed;
  if (first <= 0 && last >= Count && reinterpret_cast<uintptr_t>(p) % Loaded::kAccess == 0) {
#pragma unroll
    for (int i = 0; i < Loaded::kWords; i += Loaded::kAccess / 4) {
      if constexpr (Loaded::kAccess == 16) {
        auto four = reinterpret_cast<const uint4 *>(p)[i / 4];
        packed.word[i] = four.x;
        packed.word[i + 1] = four.y;
        packed.word[i + 2] = four.z;
        packed.word[i + 3] = four.w;
      } else {
        auto two = reinterpret_cast<const uint2 *>(p)[i / 2];
        packed.word[i] = two.x;
        packed.word[i + 1] = two.y;
      }
    }
    return packed;
  }
  constexpr int kInWord = 4 / static_cast<int>(sizeof(T));
#pragma unroll
  for (int i = 0; i < Loaded::kWords; ++i) {
    packed.word[i] = 0;
#pragma unroll
    for (int j = 0; j < kInWord; ++j) {
      int at = i * kInWord + j;
      T element = at >= first && at < last ? p[at] : fromFloat<T>(rest);
      packed.word[i] |= bitsOf(element) << (32 / kInWord * j);
    }
  }
  return packed;
}

template <int Count, typename T>
__device__ __forceinline__ Packed<T, Count> loadPacked(const T *p, int64_t count) {
  return loadPacked<Count>(p, 0, count);
}

// Stores those of x that exist, as above.
template <typename T, int Count>
__device__ __forceinline__ void storeElements(T *p, int64_t first, int64_t last, const float (&x)[Count]) {
  using Stored = Packed<T, Count>;
  if (first <= 0 && last >= Count && reinterpret_cast<uintptr_t>(p) % Stored::kAccess == 0) {
    constexpr int kAtOnce = Stored::kAccess / static_cast<int>(sizeof(T));
#pragma unroll
    for (int i = 0; i < Count; i += kAtOnce) {
      struct alignas(Stored::kAccess) {
        T element[kAtOnce];
      } vector;
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) vector.element[j] = fromFloat<T>(x[i + j]);
      *reinterpret_cast<decltype(vector) *>(p + i) = vector;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    if (i >= first && i < last) p[i] = fromFloat<T>(x[i]);
  }
}

template <typename T, int Count>
__device__ __forceinline__ void storeElements(T *p, int64_t count, const float (&x)[Count]) {
  storeElements(p, 0, count, x);
}

// A row in pieces of 16 bytes at aligned addresses, wherever it starts: its first piece may begin before it. Few rows
// of an odd width are aligned themselves.
template <typename T>
class AlignedRow {
 public:
  static constexpr int kCount = Vector<T>::kCount;
  using Piece = Packed<T, kCount>;

  __device__ AlignedRow(const T *start, int64_t count)
      : start_(start),
        count_(count),
        shift_(static_cast<int>(reinterpret_cast<uintptr_t>(start) % sizeof(Vector<T>) / sizeof(T))) {}

  // How many pieces hold its first `count` elements.
  __device__ int64_t pieces(int64_t count) const { return (count + shift_ + kCount - 1) / kCount; }
  __device__ int64_t pieces() const { return pieces(count_); }

  // The number of a piece's first element.
  __device__ int64_t place(int64_t piece) const { return piece * kCount - shift_; }

  // What lies outside of the row is -infinity.
  __device__ Piece load(int64_t piece) const {
    int64_t at = place(piece);
    return loadPacked<kCount>(start_ + at, -at, count_ - at, -INFINITY);
  }

 private:
  const T *start_;
  int64_t count_;
  int shift_;
};

// Eight elements, of which the first `count` exist; the others are `rest`.
template <typename T>
__device__ __forceinline__ void loadEight(const T *p, int count, float (&x)[8], float rest = 0.0f) {
  loadPacked<8>(p, 0, count, rest).unpack(x);
}

template <typename T>
__device__ __forceinline__ void storeEight(T *p, int count, const float (&x)[8]) {
  storeElements(p, 0, count, x);
}

// The uniform numbers of elements first .. first + 8 of a random tensor; `first` is a multiple of 4.
__device__ __forceinline__ void uniformEight(const sn_random_key &key, int64_t first, float (&x)[8]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    Philox random = Philox::of(key, first / 4 + half);
#pragma unroll
    for (int j = 0; j < 4; ++j) x[4 * half + j] = uniform(random.word[j]);
  }
}

// What one block of forEights works on.
constexpr int kEightThreads = 256;
constexpr int64_t kEightElements = 8 * kEightThreads;

// f(first, count) for eights of elements, `count` of which exist, one a thread. A kernel of a step, where it is
// launched as one (launchInStep).
template <typename F>
__global__ void __launch_bounds__(kEightThreads) forEights(int64_t count, F f) {
  releaseNextGrid();
  waitForPriorGrid();
  int64_t first = 8 * (static_cast<int64_t>(blockIdx.x) * kEightThreads + threadIdx.x);
  if (first < count) f(first, static_cast<int>(count - first < 8 ? count - first : 8));
}

inline dim3 blocksOfEights(int64_t count) {
  return dim3(static_cast<unsigned>((count + kEightElements - 1) / kEightElements));
}

// Launches it.
template <typename F>
cudaError_t launchEights(cudaStream_t stream, int64_t count, const F &f) {
  return launch(forEights<F>, blocksOfEights(count), dim3(kEightThreads), 0, stream, count, f);
}

}  // namespace sn::cuda
