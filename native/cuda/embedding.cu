// embedding.cu: rows of tables, forward and backward.
//
// Backward, every token's row takes the gradients of all places where the token stands. The places are sorted by token
// first (a radix sort by one block: integers only), then each token's run of places is added by one warp, and a run
// that is long by a whole block: each row is written once, in an order that depends on the tokens alone, without
// atomics on floats. Sorting 65536 places moves a megabyte, adding their rows hundreds.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/ptx/grid.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// Columns that a warp has in hand at once.
constexpr int kSlice = 8 * kWarp;

// Loads under way.
constexpr int kAtOnce = 4;

__device__ __forceinline__ int laneOf() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warpOf() { return static_cast<int>(threadIdx.x) / kWarp; }

// ---- forward -------------------------------------------------------------------------------------------------------

template <typename T>
struct Forward {
  int64_t places, length, width, vocabulary, positions;
  float scale;
  const int32_t *tokens, *offsets;
  const T *tokenTable, *positionTable;
  T *out;
  Fault *fault;
};

// A warp a place.
template <typename T>
__global__ void __launch_bounds__(kThreads) embed(Forward<T> a) {
  releaseNextGrid();
  waitForPriorGrid();
  int64_t place = static_cast<int64_t>(blockIdx.x) * kWarps + warpOf();
  if (place >= a.places) return;
  int32_t token = a.tokens[place];
  int64_t position = place % a.length + (a.offsets == nullptr ? 0 : a.offsets[place / a.length]);
  bool tokenKnown = token >= 0 && token < a.vocabulary;
  bool positionKnown = a.positionTable == nullptr || (position >= 0 && position < a.positions);
  if (laneOf() == 0 && !tokenKnown) a.fault->note(Fault::kToken, token, place, a.vocabulary);
  if (laneOf() == 0 && !positionKnown) {
    a.fault->note(Fault::kPosition, static_cast<int32_t>(position), place, a.positions);
  }
  bool known = tokenKnown && positionKnown;
  for (int64_t first = 8 * laneOf(); first < a.width; first += kAtOnce * kSlice) {
    Packed<T, 8> word[kAtOnce], shift[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      int64_t column = first + i * kSlice, count = a.width - column;
      word[i] = shift[i] = {};
      if (!known || count <= 0) continue;
      word[i] = loadPacked<8>(a.tokenTable + token * a.width + column, count);
      if (a.positionTable != nullptr) shift[i] = loadPacked<8>(a.positionTable + position * a.width + column, count);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      int64_t column = first + i * kSlice;
      if (column >= a.width) break;
      float x[8], y[8];
      word[i].unpack(x);
      shift[i].unpack(y);
#pragma unroll
      for (int j = 0; j < 8; ++j) x[j] = fmaf(x[j], a.scale, y[j]);
      storeElements(a.out + place * a.width + column, a.width - column, x);
    }
  }
}

// ---- backward: places by token -------------------------------------------------------------------------------------

struct Occurrence {
  uint32_t token, place;
};

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kSortThreads = kWarp * kWarp;

// One pass of the sort by a digit of the token, in which equal digits keep their order. Each warp has a share of the
// occurrences; shares and digits say where a warp's next occurrence of a digit goes: behind all of lower digits, and
// behind those of the same digit in earlier shares.
template <typename Load>
__device__ __forceinline__ void sortByDigit(uint32_t count, int shift, const Load &load, Occurrence *sorted,
                                            uint32_t *next, uint32_t *scratch) {
  int warps = static_cast<int>(blockDim.x) / kWarp;
  uint32_t share = (count + blockDim.x - 1) / blockDim.x * kWarp;
  uint32_t begin = min(share * warpOf(), count), end = min(begin + share, count);
  auto digitOf = [&](Occurrence o) { return (o.token >> shift) % kDigits; };
  // f(occurrence, exists) for the lane's occurrence of every 32 of the share.
  auto forStrips = [&](auto &&f) {
    for (uint32_t first = begin; first < end; first += kAtOnce * kWarp) {
      Occurrence loaded[kAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        uint32_t at = first + i * kWarp + laneOf();
        if (at < end) loaded[i] = load(at);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) f(loaded[i], first + i * kWarp + laneOf() < end);
    }
  };
  for (int i = static_cast<int>(threadIdx.x); i < kDigits * warps; i += static_cast<int>(blockDim.x)) next[i] = 0;
  __syncthreads();
  forStrips([&](Occurrence o, bool exists) {
    if (exists) atomicAdd(&next[digitOf(o) * warps + warpOf()], 1u);
  });
  __syncthreads();
  // From counts to where each begins: every thread has eight of them.
  constexpr int kEach = kDigits / kWarp;
  uint32_t counts[kEach], sum = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) sum += counts[i] = next[kEach * threadIdx.x + i];
  uint32_t before = blockSumBefore(sum, scratch);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    next[kEach * threadIdx.x + i] = before;
    before += counts[i];
  }
  __syncthreads();
  forStrips([&](Occurrence o, bool exists) {
    uint32_t digit = digitOf(o), alike = __ballot_sync(kAllLanes, exists);
#pragma unroll
    for (int bit = 0; bit < kDigitBits; ++bit) {
      bool own = (digit >> bit & 1u) != 0;
      uint32_t others = __ballot_sync(kAllLanes, own);
      alike &= own ? others : ~others;
    }
    uint32_t earlier = alike & ((1u << laneOf()) - 1u);
    uint32_t *place = &next[digit * warps + warpOf()];
    if (exists) sorted[*place + __popc(earlier)] = o;
    __syncwarp();
    if (exists && earlier == 0) *place += __popc(alike);
    __syncwarp();
  });
  __syncthreads();
}

// Leaves the occurrences in the order of their tokens, then of their places; tokens out of range count as `limit`. The
// two arrays take turns: the last pass writes to the first.
__global__ void __launch_bounds__(kSortThreads)
    sortOccurrences(uint32_t count, uint32_t limit, int32_t padding, int passes, const int32_t *tokens,
                    Occurrence *first, Occurrence *second) {
  SN_SHARED(uint32_t, next, kDigits * kWarp);
  SN_SHARED(uint32_t, scratch, kWarp);
  Occurrence *to = passes % 2 == 1 ? first : second, *from = passes % 2 == 1 ? second : first;
  auto fromTokens = [=](uint32_t place) {
    auto token = static_cast<uint32_t>(tokens[place]);
    return Occurrence{token < limit && tokens[place] != padding ? token : limit, place};
  };
  sortByDigit(count, 0, fromTokens, to, next, scratch);
  for (int pass = 1; pass < passes; ++pass) {
    Occurrence *sorted = to;
    to = from;
    from = sorted;
    sortByDigit(
        count, pass * kDigitBits, [=](uint32_t i) { return sorted[i]; }, to, next, scratch);
  }
}

// ---- backward: sums ------------------------------------------------------------------------------------------------

template <typename T>
struct Backward {
  uint32_t places;
  int64_t length, width, positions;
  float scale;     // of tokens' rows
  uint32_t limit;  // tokens from here on are out of range
  const Occurrence *occurrences;
  const T *dout;
  float *dtokenTable, *dpositionTable;
  int32_t accumulatePositions;

  __host__ __device__ int64_t slices() const { return (width + kSlice - 1) / kSlice; }
};

// Adds eight columns of `count` rows, 32 at most, in their order; the lanes know a row's place each.
template <typename T>
__device__ __forceinline__ void addRows(const Backward<T> &a, int64_t column, uint32_t place, int count,
                                        float (&sums)[8]) {
  for (int first = 0; first < count; first += kAtOnce) {
    Packed<T, 8> rows[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      int64_t row = __shfl_sync(kAllLanes, place, (first + i) % kWarp);
      if (first + i < count) rows[i] = loadPacked<8>(a.dout + row * a.width + column, a.width - column);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i >= count) break;
      float x[8];
      rows[i].unpack(x);
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[j] += x[j];
    }
  }
}

// The end of the run of `token`, which reaches up to `from` at least.
__device__ __forceinline__ uint32_t endOfRun(const Occurrence *occurrences, uint32_t from, uint32_t count,
                                             uint32_t token) {
  while (from < count) {
    uint32_t middle = from + (count - from) / 2;
    if (occurrences[middle].token == token) {
      from = middle + 1;
    } else {
      count = middle;
    }
  }
  return count;
}

// Adds a run by all warps: each sums a part of it, then the parts are added in their order.
template <typename T>
__device__ __forceinline__ void addLongRun(const Backward<T> &a, uint32_t begin, int64_t slice, float *scratch) {
  uint32_t token = a.occurrences[begin].token, end = endOfRun(a.occurrences, begin, a.places, token);
  uint32_t share = (end - begin + kWarps - 1) / kWarps;
  uint32_t first = min(begin + share * warpOf(), end), last = min(first + share, end);
  float sums[8] = {};
  for (; first < last; first += kWarp) {
    int count = static_cast<int>(min(last - first, static_cast<uint32_t>(kWarp)));
    uint32_t place = laneOf() < count ? a.occurrences[first + laneOf()].place : 0;
    addRows(a, slice * kSlice + 8 * laneOf(), place, count, sums);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) scratch[8 * threadIdx.x + j] = sums[j];
  __syncthreads();
  int64_t column = slice * kSlice + threadIdx.x;
  if (column < a.width) {
    float *target = a.dtokenTable + token * a.width + column, total = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) total += scratch[warp * kSlice + threadIdx.x];
    *target = fmaf(total, a.scale, *target);
  }
  __syncthreads();
}

// A block has eight neighbours of the sorted occurrences and a slice of the columns. Where a run begins, its rows are
// added: by the warp where its first lanes see the run's end, else by all warps afterwards.
template <typename T>
__global__ void __launch_bounds__(kThreads) addRuns(Backward<T> a) {
  SN_SHARED(float, scratch, 8 * kThreads);
  SN_SHARED(int, isLong, kWarps);
  static_assert(kSlice == kThreads);
  int64_t slice = blockIdx.x % a.slices(), column = slice * kSlice + 8 * laneOf();
  auto first = static_cast<uint32_t>(blockIdx.x / a.slices() * kWarps);
  // Lane 0 looks at the occurrence before the warp's, the others at the warp's own and those behind it.
  uint32_t own = first + warpOf(), seen = own + laneOf() - 1u;
  Occurrence o{a.limit, 0};
  bool exists = (own > 0 || laneOf() > 0) && seen < a.places;
  if (exists) o = a.occurrences[seen];
  uint32_t token = __shfl_sync(kAllLanes, o.token, 1);
  uint32_t alike = __ballot_sync(kAllLanes, exists && o.token == token);
  bool begins = own < a.places && token != a.limit && (alike & 1u) == 0;
  int length = begins ? __ffs(static_cast<int>(~(alike >> 1))) - 1 : 0;
  bool reachesOut = length == kWarp - 1;
  if (length > 0 && !reachesOut) {
    int64_t count = a.width - column;
    float *target = a.dtokenTable + token * a.width + column;
    auto before = loadPacked<8>(target, count);
    uint32_t place = __shfl_down_sync(kAllLanes, o.place, 1);
    float sums[8] = {}, old[8];
    addRows(a, column, place, length, sums);
    before.unpack(old);
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[j] = fmaf(sums[j], a.scale, old[j]);
    storeElements(target, count, sums);
  }
  if (laneOf() == 0) isLong[warpOf()] = reachesOut;
  if (!__syncthreads_or(reachesOut)) return;
  for (int warp = 0; warp < kWarps; ++warp) {
    if (isLong[warp]) addLongRun(a, first + warp, slice, scratch);
  }
}

// A warp has a position and a slice of the columns.
template <typename T>
__global__ void __launch_bounds__(kThreads) addPositions(Backward<T> a) {
  int64_t number = static_cast<int64_t>(blockIdx.x) * kWarps + warpOf();
  int64_t position = number / a.slices(), column = number % a.slices() * kSlice + 8 * laneOf();
  bool keeps = position >= a.length && a.accumulatePositions;
  if (position >= a.positions || keeps) return;
  int64_t count = a.width - column;
  float *target = a.dpositionTable + position * a.width + column, sums[8] = {};
  if (a.accumulatePositions) loadPacked<8>(target, count).unpack(sums);
  auto sequences = position < a.length ? static_cast<uint32_t>(a.places / a.length) : 0u;
  for (uint32_t first = 0; first < sequences; first += kWarp) {
    auto place = static_cast<uint32_t>((first + laneOf()) * a.length + position);
    addRows(a, column, place, static_cast<int>(min(sequences - first, static_cast<uint32_t>(kWarp))), sums);
  }
  storeElements(target, count, sums);
}

// What the sort can count.
constexpr int64_t kMostPlaces = int64_t{1} << 31;

cudaError_t sort(cudaStream_t stream, uint32_t count, uint32_t limit, int32_t padding, const int32_t *tokens,
                 Occurrence *occurrences) {
  int passes = 1;
  while (passes * kDigitBits < 32 && limit >> (passes * kDigitBits) != 0) ++passes;
  // A small sort needs no more warps than have something to do.
  uint32_t threads = (count + kAtOnce * kWarp - 1) / (kAtOnce * kWarp) * kWarp;
  if (threads > kSortThreads) threads = kSortThreads;
  return launch(sortOccurrences, dim3(1), dim3(threads), 0, stream, count, limit, padding, passes, tokens, occurrences,
                occurrences + count);
}

}  // namespace

sn_status embedding_forward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                            int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                            const int32_t *offsets, const void *token_table, const void *position_table, void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Forward<T> work{batch * length,
                    length,
                    width,
                    vocabulary,
                    positions,
                    scale,
                    tokens,
                    offsets,
                    static_cast<const T *>(token_table),
                    static_cast<const T *>(position_table),
                    static_cast<T *>(out),
                    faultOf(stream)};
    auto blocks = static_cast<unsigned>((work.places + kWarps - 1) / kWarps);
    return check(launchInStep(stream, embed<T>, dim3(blocks), dim3(kThreads), 0, work), "embedding_forward");
  });
}

sn_status embedding_backward_workspace(const sn_device *, int64_t batch, int64_t length, int64_t *bytes) {
  *bytes = 2 * batch * length * static_cast<int64_t>(sizeof(Occurrence));
  return SN_OK;
}

sn_status embedding_backward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                             int64_t vocabulary, int64_t positions, float scale, int32_t padding, const int32_t *tokens,
                             const void *dout, int32_t accumulate_positions, float *dtoken_table,
                             float *dposition_table, void *workspace) {
  if (workspace == nullptr) return fail(SN_BAD_ARGUMENT, "embedding_backward: workspace is null");
  if (batch * length >= kMostPlaces) {
    return fail(SN_BAD_SHAPE, "embedding_backward: batch %lld, length %lld; fewer than 2^31 tokens on a GPU",
                static_cast<long long>(batch), static_cast<long long>(length));
  }
  auto *occurrences = static_cast<Occurrence *>(workspace);
  auto count = static_cast<uint32_t>(batch * length);
  // Tokens are signed: one below zero is out of range in any vocabulary.
  auto limit = static_cast<uint32_t>(vocabulary < kMostPlaces ? vocabulary : kMostPlaces);
  if (dtoken_table != nullptr) {
    cudaError_t error = sort(handleOf(stream), count, limit, padding, tokens, occurrences);
    if (error != cudaSuccess) return check(error, "embedding_backward");
  }
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Backward<T> work{count,
                     length,
                     width,
                     positions,
                     scale,
                     limit,
                     occurrences,
                     static_cast<const T *>(dout),
                     dtoken_table,
                     dposition_table,
                     accumulate_positions};
    auto launchOn = [&](auto *kernel, int64_t blocks) {
      return launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, handleOf(stream), work);
    };
    cudaError_t last = cudaSuccess;
    if (dtoken_table != nullptr) last = launchOn(addRuns<T>, (int64_t{count} + kWarps - 1) / kWarps * work.slices());
    if (last == cudaSuccess && dposition_table != nullptr) {
      last = launchOn(addPositions<T>, (positions * work.slices() + kWarps - 1) / kWarps);
    }
    return check(last, "embedding_backward");
  });
}

}  // namespace sn::cuda
