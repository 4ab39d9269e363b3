// attention.cuh: what the kernels of attention share: where rows lie, which keys a row sees, which probabilities are
// dropped, and in which order blocks start.
//
// Rows and keys are counted in 32 bits: the launchers refuse more than kMostRows. Scores are kept in base 2, as 2^x is
// what the hardware computes: 2^(s log2 e) = e^s.
#pragma once

#include <cmath>

#include "cuda/device.h"
#include "cuda/math.h"
#include "cuda/ptx/convert.h"

namespace sn::cuda {

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

// So that sums of a few row numbers stay within 32 bits.
constexpr int64_t kMostRows = int64_t{1} << 28;

// A tensor [batch][heads][rows][head_size], wherever its strides (in elements) put the rows.
template <typename T>
struct Heads {
  T *data;
  int64_t batchStride, headStride, rowStride;

  __device__ T *at(int batch, int head) const { return data + batch * batchStride + head * headStride; }

  // Whether rows of `headSize` can be copied in pieces of 16 bytes.
  bool inPieces(int64_t headSize) const {
    constexpr auto kPiece = static_cast<int64_t>(16 / sizeof(T));
    bool strides = batchStride % kPiece == 0 && headStride % kPiece == 0 && rowStride % kPiece == 0;
    return strides && headSize % kPiece == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
  }
};

// Which keys a row sees: both ends of the range only grow with the row.
struct Sight {
  int keys;
  int offset;  // row i is the query of key i + offset
  bool causal;
  int window;             // 0: none
  const int32_t *starts;  // the first key of each row's own sequence, which never falls; null: zeros

  __device__ int first(int row) const {
    int from = window > 0 ? row + offset - window + 1 : 0;
    // Tiles reach past the last row.
    if (starts != nullptr) from = max(from, min(starts[min(row, keys - offset - 1)], keys));
    return max(from, 0);
  }
  __device__ int last(int row) const { return causal ? min(max(row + offset + 1, 0), keys) : keys; }  // exclusive

  // The rows that see any of the keys key .. key + count.
  __device__ int firstRow(int key) const { return causal ? max(key - offset, 0) : 0; }
  __device__ int lastRow(int key, int count, int rows) const {  // exclusive
    int end = window > 0 ? min(max(key + count - 1 + window - offset, 0), rows) : rows;
    if (starts == nullptr) return end;
    int begin = 0;
    while (begin < end) {
      int middle = (begin + end) / 2;
      if (starts[middle] < key + count) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return end;
  }
};

// What the rows of a tile see, where `first` finds a row's first key in shared memory: registers are for products.
template <typename First>
struct TileSight {
  Sight sight;
  First first;

  __device__ int last(int row) const { return sight.last(row); }

  // Of the rows from .. to (inclusive) and keys key .. key + count: do all see all? Does none see any?
  __device__ bool all(int from, int to, int key, int count) const {
    return last(from) >= key + count && first(to) <= key;
  }
  __device__ bool none(int from, int to, int key, int count) const {
    return last(to) <= key || first(from) >= key + count;
  }
};

// The filled positions of a cache's sequences. Only the device knows them: a kernel that meets a sequence without room
// for `queries` more leaves it alone, and notes it.
struct CacheLengths {
  const int32_t *lengths;
  int queries, capacity;
  Fault::Kind kind;
  Fault *fault;

  __device__ bool fits(int batch) const { return lengths[batch] >= 0 && lengths[batch] <= capacity - queries; }

  // By one thread of the grid for each sequence that does not fit: the first of them is noted.
  __device__ void note(int batch) const {
    for (int other = 0; other < batch; ++other) {
      if (!fits(other)) return;
    }
    fault->note(kind, lengths[batch], batch, capacity, queries);
  }
};

// Sizes and mask of a call.
struct AttentionSize {
  int batch, queries, keys, heads;
  int group;  // query heads that share a head of keys and values
  int headSize;
  bool causal;
  int window;
  float scale;
  bool cached;  // keys: what the cache holds of each sequence; else all `keys`
  CacheLengths cache;
  const int32_t *keyLengths;  // of each sequence, the others are padding; null: none is
  const int32_t *keyStarts;   // of each row, where sequences are packed; null: they are not

  // Of a sequence that fits.
  __device__ Sight sight(int sequence) const {
    int there = cached ? cache.lengths[sequence] + queries : keys;
    // Where there is padding, nothing depends on a row's place: one number says all.
    if (keyLengths != nullptr) there = min(max(keyLengths[sequence], 0), keys);
    const int32_t *starts = keyStarts == nullptr ? nullptr : keyStarts + static_cast<int64_t>(sequence) * queries;
    return {there, there - queries, causal, window, starts};
  }
};

inline float scaleOf(float scale, int64_t headSize) {
  return scale == 0 ? 1.0f / std::sqrt(static_cast<float>(headSize)) : scale;
}

// Windows wider than all that there can be are none.
inline int windowOf(int64_t window) { return static_cast<int>(window <= 2 * kMostRows ? window : 0); }

inline AttentionSize sizeOf(const sn_attention_shape &s) {
  return {static_cast<int>(s.batch),
          static_cast<int>(s.queries),
          static_cast<int>(s.keys),
          static_cast<int>(s.heads),
          static_cast<int>(s.heads / s.kv_heads),
          static_cast<int>(s.head_size),
          s.causal != 0,
          windowOf(s.window),
          scaleOf(s.scale, s.head_size),
          false,
          {},
          s.key_lengths,
          s.key_starts};
}

// Over a cache, of which only the device knows how much is filled.
inline AttentionSize sizeOf(sn_stream *stream, const sn_cache_shape &s, const int32_t *lengths, Fault::Kind kind) {
  auto queries = static_cast<int>(s.queries), capacity = static_cast<int>(s.capacity);
  return {static_cast<int>(s.batch),
          queries,
          capacity,
          static_cast<int>(s.heads),
          static_cast<int>(s.heads / s.kv_heads),
          static_cast<int>(s.head_size),
          true,
          windowOf(s.window),
          scaleOf(s.scale, s.head_size),
          true,
          {lengths, queries, capacity, kind, faultOf(stream)},
          nullptr,
          nullptr};
}

// A cache's keys or values.
template <typename T>
Heads<T> cacheRows(T *data, const sn_cache_shape &s) {
  return {data, s.kv_heads * s.capacity * s.head_size, s.capacity * s.head_size, s.head_size};
}

// What a call adds to a cache, or asks of it.
template <typename T>
Heads<T> newRows(T *data, const sn_cache_shape &s, int64_t stride) {
  return {data, s.queries * stride, s.head_size, stride};
}

// Dropped probabilities, numbered row * keys + key over all rows of the call.
struct ProbabilityDropout {
  float p;
  sn_random_key key;
  int64_t keys;

  // As of the kernel's start: the clock is read once.
  __device__ ProbabilityDropout now() const { return {p, keyNow(key), keys}; }

  // Bit i: whether element index + i is kept, for four neighbours.
  __device__ unsigned keepFour(int64_t index) const {
    unsigned kept = keepGroup(index / 4);
    auto within = static_cast<unsigned>(index % 4);
    if (within != 0) kept |= keepGroup(index / 4 + 1) << 4;
    return kept >> within;
  }

  __device__ bool keep(int64_t index) const { return (keepGroup(index / 4) >> (index % 4) & 1u) != 0; }

 private:
  __device__ unsigned keepGroup(int64_t group) const {
    Philox random = Philox::of(key, group);
    unsigned kept = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) kept |= uniform(random.word[i]) >= p ? 1u << i : 0u;
    return kept;
  }
};

// What a block works on: a block of rows of one head of one sequence.
struct Turn {
  int batch, head, block;
};

// The order in which blocks start: heads in bands whose rows the second-level cache can hold; within a band the blocks
// that see most first, so that the end of the grid is short.
struct Order {
  int blocks;  // of each head
  int heads;   // of each sequence
  int all;     // heads of all sequences
  int band;    // of them, in a band
  bool descending;

  __device__ Turn turn(unsigned block) const {
    int number = static_cast<int>(block), perBand = band * blocks;
    int start = number / perBand * band, within = number % perBand;
    int width = min(band, all - start), head = start + within % width, turn = within / width;
    return {head / heads, head % heads, descending ? blocks - 1 - turn : turn};
  }

  // Of a grid of one dimension.
  int64_t count() const { return static_cast<int64_t>(all) * blocks; }

  // Heads that read `bytesOfHead` each.
  static Order of(const Device &device, int batch, int heads, int64_t rows, int rowsOfBlock, int64_t bytesOfHead,
                  bool descending) {
    // Half of the cache: the rest is for what streams through.
    int64_t band = static_cast<int64_t>(device.cacheBytes) / 2 / bytesOfHead;
    int all = batch * heads;
    if (band > all) band = all;
    if (band < 1) band = 1;
    auto blocks = static_cast<int>((rows + rowsOfBlock - 1) / rowsOfBlock);
    return {blocks, heads, all, static_cast<int>(band), descending};
  }
};

// Calls f(integral_constant) with the least size that kernels are made for and that holds `headSize`.
template <int Size, int... Larger, typename F>
auto withHeadSize(int headSize, F &&f) {
  if constexpr (sizeof...(Larger) > 0) {
    if (headSize > Size) return withHeadSize<Larger...>(headSize, std::forward<F>(f));
  }
  return f(std::integral_constant<int, Size>{});
}

template <typename F>
auto withFlag(bool flag, F &&f) {
  return flag ? f(std::true_type{}) : f(std::false_type{});
}

// Whether the call can be counted in 32 bits, blocks included; says so if not.
sn_status checkAttentionSize(int64_t batch, int64_t queries, int64_t keys, int64_t heads, const char *operation);

// The forward pass, over given keys or over a cache.
template <typename T>
struct ForwardArguments {
  AttentionSize size;
  Heads<const T> q, k, v;
  Heads<T> out;
  float *lse;  // null: not wanted
  ProbabilityDropout dropout;
  bool piecesIn, piecesOut;
  Order order;  // filled in by the launcher
};

cudaError_t launchForward(const sn_stream *stream, ForwardArguments<bf16> arguments);
cudaError_t launchForward(const sn_stream *stream, ForwardArguments<float> arguments);

// On sm_90a, where it suits: the others are for any call.
bool suitsWarpgroups(const ForwardArguments<bf16> &arguments);
cudaError_t launchForwardWarpgroups(const sn_stream *stream, const ForwardArguments<bf16> &arguments);

// What the backward pass needs to know of a row.
struct alignas(16) RowNumbers {
  float lse;  // log-sum-exp of the row's scores, in base 2; infinite where it sees nothing, so that its powers are 0
  float sum;  // of dout * out over the columns: what softmax's gradient subtracts
  int first;  // the first key that it sees
};

// The backward pass.
template <typename T>
struct BackwardArguments {
  AttentionSize size;
  Heads<const T> q, k, v, out, dout;
  Heads<T> dq, dk, dv;
  const float *lse;
  RowNumbers *rows;  // workspace
  ProbabilityDropout dropout;
  bool piecesIn, piecesOut;
  Order order;
};

cudaError_t launchBackward(const sn_stream *stream, BackwardArguments<bf16> arguments);
cudaError_t launchBackward(const sn_stream *stream, BackwardArguments<float> arguments);

// On sm_90a, where it suits: the others are for any call. Its workspace is larger.
bool suitsWarpgroups(const BackwardArguments<bf16> &arguments);
int64_t warpgroupBackwardBytes(const Device &device, const AttentionSize &size);
cudaError_t launchBackwardWarpgroups(const sn_stream *stream, const BackwardArguments<bf16> &arguments,
                                     void *workspace);

}  // namespace sn::cuda
