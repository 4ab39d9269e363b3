// attention_decode.cu: attention of new queries over a key/value cache.
//
// One query reads all keys and values and computes little: what counts is that all multiprocessors read at once. So the
// cache's positions are split among blocks (flash-decoding), each of which reads a part in 16-byte pieces, all in
// flight at once, and leaves its sums in the workspace; the last block of a row to come adds them up, in the order of
// the splits. Where splits end depends on the capacity alone: a recording fits all lengths, and a sequence has the same
// bits in every batch. Blocks whose part is not filled yet return at once. Query heads that share keys are read for
// together. The queries' own keys and values are read where they are, and put into the cache for the calls to come.
//
// Many queries, a prompt's chunk, go through the blocks of attention_forward.
#include "cuda/attention_reading.cuh"
#include "cuda/operations.h"
#include "cuda/ptx/grid.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kFewQueries = 8;
constexpr int kMostSplits = 64;

// Counters at the workspace's start: how many blocks of a row have come. As many for every shape, so that their place,
// and that they are zero between calls, does not depend on it. Of more rows, sequences take turns.
constexpr int kCounters = 16384;

// How the positions of a cache are split among blocks.
struct Splits {
  int count;
  int keys;  // of each

  template <typename Reader>
  static Splits of(int64_t capacity) {
    int64_t blocks = (capacity + Reader::kKeys - 1) / Reader::kKeys;
    int64_t keys = (blocks + kMostSplits - 1) / kMostSplits * Reader::kKeys;
    return {static_cast<int>((capacity + keys - 1) / keys), static_cast<int>(keys)};
  }
};

// Rows are the queries of all heads that share keys: row r is query r / group of the group's head r % group. A block
// has R of them; "owner" is such a block of rows of one shared head of one sequence.
template <typename T>
struct DecodeArguments {
  AttentionSize size;
  Heads<const T> q;
  Heads<T> keys, values;  // the cache
  Heads<const T> k, v;    // what the cache does not have yet; without data: it has all
  Heads<T> out;
  Splits splits;
  int rowBlocks;      // of a shared head
  int firstSequence;  // of those of this launch
  bool piecesIn;
  unsigned *counters;     // [owners]
  SplitNumbers *numbers;  // [owners][splits][R]
  float *sums;            // [owners][splits][R][HeadSize]
};

// The rows' queries, by columns as a lane reads keys, scaled to scores in base 2; zero past the last row.
template <typename T, int HeadSize, int R>
__device__ __forceinline__ void loadQueries(const DecodeArguments<T> &arguments, int batch, int shared, int firstRow,
                                            float (&queries)[R][Reading<T, HeadSize>::kElements]) {
  using Reader = Reading<T, HeadSize>;
  const auto &size = arguments.size;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    int row = firstRow + r, query = row / size.group, head = shared * size.group + row % size.group;
    bool there = query < size.queries;
    const T *from = there ? arguments.q.at(batch, head) + query * arguments.q.rowStride : arguments.q.data;
    Piece pieces[Reader::kPieces];
    Reader::load(from, there ? size.headSize : 0, false, pieces);
#pragma unroll
    for (int i = 0; i < Reader::kElements; ++i) {
      queries[r][i] = Reader::element(pieces, i) * (size.scale * kLog2E);
    }
  }
}

// Writes column `column` of a row.
template <typename T>
__device__ __forceinline__ void storeOut(const DecodeArguments<T> &arguments, int batch, int shared, int row,
                                         int column, float value) {
  const auto &size = arguments.size;
  int query = row / size.group, head = shared * size.group + row % size.group;
  if (query >= size.queries || column >= size.headSize) return;
  arguments.out.at(batch, head)[query * arguments.out.rowStride + column] = fromFloat<T>(value);
}

// Adds up the splits first .. last (inclusive) of an owner's rows, always in the same order. By one block, after all
// have left their sums; they are read from the second-level cache, as other multiprocessors wrote them.
template <typename T, int HeadSize, int R>
__device__ void combineSplits(const DecodeArguments<T> &arguments, int owner, int batch, int shared, int firstRow,
                              int first, int last) {
  static_assert(R <= kWarps && kMostSplits <= 2 * kWarp);
  SN_SHARED(float, weights, R *kMostSplits);
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t base = static_cast<int64_t>(owner) * arguments.splits.count;
  if (warp < R) {
    float most[2], total[2], sum = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      int split = first + lane + i * kWarp;
      const SplitNumbers *from = arguments.numbers + (base + split) * R + warp;
      most[i] = split <= last ? __ldcg(&from->most) : -INFINITY;
      total[i] = split <= last ? __ldcg(&from->total) : 0.0f;
    }
    // A split of which the row saw nothing has -infinity; not all have.
    float highest = warpMaximum(fmaxf(most[0], most[1]));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      most[i] = highest == -INFINITY ? 0.0f : fastExp2(most[i] - highest);
      sum += most[i] * total[i];
    }
    sum = warpSum(sum);
#pragma unroll
    for (int i = 0; i < 2; ++i) weights[warp * kMostSplits + lane + i * kWarp] = most[i] / sum;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < R * HeadSize; i += kThreads) {
    int r = i / HeadSize, column = i % HeadSize;
    float sum = 0;
#pragma unroll 8
    for (int split = first; split <= last; ++split) {
      float part = __ldcg(arguments.sums + ((base + split) * R + r) * HeadSize + column);
      sum = fmaf(weights[r * kMostSplits + split - first], part, sum);
    }
    storeOut(arguments, batch, shared, firstRow + r, column, sum);
  }
}

// Puts keys and values of the queries into the cache: those that fall into a split, whoever sees it.
template <typename T>
__device__ void appendOwn(const DecodeArguments<T> &arguments, int batch, int shared, int split) {
  const int length = arguments.size.cache.lengths[batch], headSize = arguments.size.headSize;
  const int begin = max(length, split * arguments.splits.keys);
  const int end = min(length + arguments.size.queries, (split + 1) * arguments.splits.keys);
  for (int i = static_cast<int>(threadIdx.x); i < (end - begin) * headSize; i += kThreads) {
    int64_t key = begin + i / headSize, own = key - length, column = i % headSize;
    arguments.keys.at(batch, shared)[key * arguments.keys.rowStride + column] =
        arguments.k.at(batch, shared)[own * arguments.k.rowStride + column];
    arguments.values.at(batch, shared)[key * arguments.values.rowStride + column] =
        arguments.v.at(batch, shared)[own * arguments.v.rowStride + column];
  }
}

template <typename T, int HeadSize, int R>
__global__ void __launch_bounds__(kThreads) decode(DecodeArguments<T> arguments) {
  using Reader = Reading<T, HeadSize>;
  constexpr int kSteps = Reader::kSteps;
  SN_SHARED(float, warpSums, kWarps *R *HeadSize);
  SN_SHARED(SplitNumbers, warpNumbers, kWarps * R);
  SN_SHARED(bool, isLast, 1);
  releaseNextGrid();
  waitForPriorGrid();

  const auto &size = arguments.size;
  const int sharedHeads = size.heads / size.group;
  const int split = static_cast<int>(blockIdx.x) % arguments.splits.count;
  const int owner = static_cast<int>(blockIdx.x) / arguments.splits.count;
  const int firstRow = owner % arguments.rowBlocks * R, shared = owner / arguments.rowBlocks % sharedHeads;
  const int batch = arguments.firstSequence + owner / arguments.rowBlocks / sharedHeads;
  if (!size.cache.fits(batch)) {
    if (split == 0 && firstRow == 0 && shared == 0 && threadIdx.x == 0) size.cache.note(batch);
    return;
  }
  const bool hasOwn = arguments.k.data != nullptr;
  if (hasOwn && firstRow == 0) appendOwn(arguments, batch, shared, split);
  const Sight sight = size.sight(batch);
  auto queryOf = [&](int r) { return min((firstRow + r) / size.group, size.queries - 1); };
  const int first = sight.first(queryOf(0)), last = sight.last(queryOf(R - 1));
  const int firstSplit = first / arguments.splits.keys, lastSplit = (last - 1) / arguments.splits.keys;
  if (split < firstSplit || split > lastSplit) return;

  const T *keys = arguments.keys.at(batch, shared), *values = arguments.values.at(batch, shared);
  const int ownKeys = hasOwn ? size.cache.lengths[batch] : last;  // from here on
  // Row `key` of the cache, or of what it does not have yet.
  auto rowOf = [&](const T *cached, int64_t stride, const Heads<const T> &own, int key) {
    return key < ownKeys ? cached + key * stride : own.at(batch, shared) + (key - ownKeys) * own.rowStride;
  };
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  float queries[R][Reader::kElements];
  loadQueries<T, HeadSize>(arguments, batch, shared, firstRow, queries);
  RunningSums<R, Reader::kElements> running;
  const int begin = max(split * arguments.splits.keys, first / Reader::kKeys * Reader::kKeys);
  const int end = min((split + 1) * arguments.splits.keys, last);
#pragma unroll 1
  for (int block = begin; block < end; block += Reader::kKeys) {
    auto keyOf = [&](int step) { return block + (step * kWarps + warp) * Reader::kAtOnce + lane / Reader::kLanes; };
    Piece keyPieces[kSteps][Reader::kPieces], valuePieces[kSteps][Reader::kPieces];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      int key = keyOf(step), headSize = key >= first && key < end ? size.headSize : 0;
      const T *keyRow = rowOf(keys, arguments.keys.rowStride, arguments.k, key);
      const T *valueRow = rowOf(values, arguments.values.rowStride, arguments.v, key);
      Reader::load(keyRow, headSize, arguments.piecesIn, keyPieces[step]);
      Reader::load(valueRow, headSize, arguments.piecesIn, valuePieces[step]);
    }
    float scores[R][kSteps];
    multiplyKeys<T, HeadSize>(keyPieces, queries, scores);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      int from = sight.first(queryOf(r)), to = min(sight.last(queryOf(r)), end);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        int key = keyOf(step);
        if (key < from || key >= to) scores[r][step] = -INFINITY;
      }
    }
    addValues<T, HeadSize>(valuePieces, scores, &running);
  }

  running.template addOtherLanes<Reader::kLanes>();
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (lane == 0) warpNumbers[warp * R + r] = {running.most[r], running.total[r]};
    if (lane >= Reader::kLanes) continue;
#pragma unroll
    for (int i = 0; i < Reader::kElements; ++i) {
      int column = Reader::column(i / Reader::kPiece) + i % Reader::kPiece;
      warpSums[(warp * R + r) * HeadSize + column] = running.sums[r][i];
    }
  }
  __syncthreads();

  const bool alone = firstSplit == lastSplit;
  const int64_t place = (static_cast<int64_t>(owner) * arguments.splits.count + split) * R;
  for (int i = static_cast<int>(threadIdx.x); i < R * HeadSize; i += kThreads) {
    int r = i / HeadSize, column = i % HeadSize;
    float most = -INFINITY, total = 0, sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) most = fmaxf(most, warpNumbers[w * R + r].most);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      // A row may see nothing of a split that others see.
      float weight = most == -INFINITY ? 0.0f : fastExp2(warpNumbers[w * R + r].most - most);
      total = fmaf(weight, warpNumbers[w * R + r].total, total);
      sum = fmaf(weight, warpSums[(w * R + r) * HeadSize + column], sum);
    }
    if (alone) {
      storeOut(arguments, batch, shared, firstRow + r, column, sum / total);
    } else {
      arguments.sums[(place + r) * HeadSize + column] = sum;
      if (column == 0) arguments.numbers[place + r] = {most, total};
    }
  }
  if (alone) return;

  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    // The last one to come sets it back to zero.
    auto others = static_cast<unsigned>(lastSplit - firstSplit);
    isLast[0] = atomicInc(arguments.counters + owner, others) == others;
    __threadfence();
  }
  __syncthreads();
  if (isLast[0]) {
    combineSplits<T, HeadSize, R>(arguments, owner, batch, shared, firstRow, firstSplit, lastSplit);
  }
}

// ---- launchers

// How a shape is worked on: sequences in launches of as many as there are counters for.
struct DecodePlan {
  Splits splits;
  int rowsOfBlock, rowBlocks;
  int64_t owners;     // of a sequence
  int64_t sequences;  // of a launch
  int64_t numbersBytes, sumsBytes;

  template <typename T, int HeadSize>
  static DecodePlan of(const sn_cache_shape &s) {
    DecodePlan plan{};
    int64_t rows = s.heads / s.kv_heads * s.queries;
    plan.splits = Splits::of<Reading<T, HeadSize>>(s.capacity);
    plan.rowsOfBlock = rows == 1 ? 1 : 4;
    plan.rowBlocks = static_cast<int>((rows + plan.rowsOfBlock - 1) / plan.rowsOfBlock);
    plan.owners = s.kv_heads * plan.rowBlocks;
    plan.sequences = plan.owners > kCounters ? 0 : std::min<int64_t>(kCounters / plan.owners, s.batch);
    int64_t parts = plan.sequences * plan.owners * plan.splits.count * plan.rowsOfBlock;
    plan.numbersBytes = parts * static_cast<int64_t>(sizeof(SplitNumbers));
    plan.sumsBytes = parts * HeadSize * static_cast<int64_t>(sizeof(float));
    return plan;
  }

  int64_t bytes() const {
    if (splits.count == 1) return 0;
    return kCounters * static_cast<int64_t>(sizeof(unsigned)) + numbersBytes + sumsBytes;
  }
};

// Calls f(T{}, head size) with what the kernels are made for.
template <typename F>
auto withDecode(const sn_cache_shape &s, F &&f) {
  return withType(s.dtype, [&](auto t) {
    return withHeadSize<32, 64, 128, 256>(static_cast<int>(s.head_size), [&](auto size) { return f(t, size); });
  });
}

template <typename T>
cudaError_t launchChunk(sn_stream *stream, const sn_cache_shape &s, const int32_t *lengths, const void *q,
                        const void *keyCache, const void *valueCache, void *out) {
  ForwardArguments<T> arguments{};
  arguments.size = sizeOf(stream, s, lengths, Fault::kDecodeFull);
  arguments.q = newRows(static_cast<const T *>(q), s, s.q_stride);
  arguments.k = cacheRows(static_cast<const T *>(keyCache), s);
  arguments.v = cacheRows(static_cast<const T *>(valueCache), s);
  arguments.out = newRows(static_cast<T *>(out), s, s.out_stride);
  arguments.piecesIn =
      arguments.q.inPieces(s.head_size) && arguments.k.inPieces(s.head_size) && arguments.v.inPieces(s.head_size);
  arguments.piecesOut = arguments.out.inPieces(s.head_size);
  return launchForward(stream, arguments);
}

template <typename T, int HeadSize>
cudaError_t launchDecode(sn_stream *stream, const sn_cache_shape &s, const DecodePlan &plan, const int32_t *lengths,
                         const void *q, const void *k, const void *v, void *keyCache, void *valueCache, void *out,
                         void *workspace) {
  DecodeArguments<T> arguments{};
  arguments.size = sizeOf(stream, s, lengths, Fault::kDecodeFull);
  arguments.q = newRows(static_cast<const T *>(q), s, s.q_stride);
  arguments.keys = cacheRows(static_cast<T *>(keyCache), s);
  arguments.values = cacheRows(static_cast<T *>(valueCache), s);
  arguments.k = newRows(static_cast<const T *>(k), s, s.k_stride);
  arguments.v = newRows(static_cast<const T *>(v), s, s.v_stride);
  arguments.out = newRows(static_cast<T *>(out), s, s.out_stride);
  arguments.splits = plan.splits;
  arguments.rowBlocks = plan.rowBlocks;
  arguments.piecesIn = arguments.keys.inPieces(s.head_size) && arguments.values.inPieces(s.head_size);
  if (k != nullptr && !(arguments.k.inPieces(s.head_size) && arguments.v.inPieces(s.head_size))) {
    arguments.piecesIn = false;
  }
  if (workspace != nullptr) {
    arguments.counters = static_cast<unsigned *>(workspace);
    arguments.numbers = reinterpret_cast<SplitNumbers *>(arguments.counters + kCounters);
    arguments.sums = reinterpret_cast<float *>(reinterpret_cast<char *>(arguments.numbers) + plan.numbersBytes);
  }
  auto kernel = plan.rowsOfBlock == 1 ? decode<T, HeadSize, 1> : decode<T, HeadSize, 4>;
  for (int64_t first = 0; first < s.batch; first += plan.sequences) {
    arguments.firstSequence = static_cast<int>(first);
    int64_t blocks = std::min(plan.sequences, s.batch - first) * plan.owners * plan.splits.count;
    cudaError_t error = launchInStep(stream, kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, arguments);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

sn_status attention_decode_workspace(const sn_device *, const sn_cache_shape *shape, int64_t *bytes) {
  const auto &s = *shape;
  sn_status status = checkAttentionSize(s.batch, s.queries, s.capacity, s.heads, "attention_decode_workspace");
  if (status != SN_OK) return status;
  *bytes = s.queries > kFewQueries ? 0 : withDecode(s, [&](auto t, auto headSize) {
    return DecodePlan::of<decltype(t), decltype(headSize)::value>(s).bytes();
  });
  return SN_OK;
}

sn_status attention_decode(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *q,
                           const void *k, const void *v, void *key_cache, void *value_cache, void *out,
                           void *workspace) {
  const auto &s = *shape;
  sn_status status = checkAttentionSize(s.batch, s.queries, s.capacity, s.heads, "attention_decode");
  if (status != SN_OK) return status;
  if (s.queries > kFewQueries) {
    if (k != nullptr) {
      status = cache_append(stream, shape, lengths, k, v, key_cache, value_cache);
      if (status != SN_OK) return status;
    }
    return withType(s.dtype, [&](auto t) {
      return check(launchChunk<decltype(t)>(stream, s, lengths, q, key_cache, value_cache, out), "attention_decode");
    });
  }
  return withDecode(s, [&](auto t, auto headSize) {
    using T = decltype(t);
    constexpr int kHeadSize = decltype(headSize)::value;
    auto plan = DecodePlan::of<T, kHeadSize>(s);
    if (plan.sequences == 0) {
      return fail(SN_UNSUPPORTED, "attention_decode: %lld heads are more than a GPU's %d counters",
                  static_cast<long long>(s.heads), kCounters);
    }
    if (plan.bytes() > 0 && workspace == nullptr) {
      return fail(SN_BAD_ARGUMENT, "attention_decode: workspace is null");
    }
    return check(launchDecode<T, kHeadSize>(stream, s, plan, lengths, q, k, v, key_cache, value_cache, out, workspace),
                 "attention_decode");
  });
}

}  // namespace sn::cuda
