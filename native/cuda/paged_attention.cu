// paged_attention.cu: attention over a cache in pages that sequences share.
//
// A block owns one head of up to four rows, neighbouring positions of one sequence, and reads what they see of keys and
// values once. What a row sees is cut into splits that begin at multiples of their size. Where there are few rows, each
// split is a block's (flash-decoding): it leaves its sums in the workspace, and the last block of a row to come adds
// them up, in the order of the splits; else one block goes through all of them, in the same order. So a row has the
// same bits alone and in any company. Rows, positions and tables are read by the kernel alone: a recording fits all.
//
// Of few rows a block also takes the keys and values of its sequence that are not in their pages yet, rounded as they
// will be there, and one block for each puts them there.
#include "cuda/attention_reading.cuh"
#include "cuda/operations.h"
#include "cuda/ptx/grid.h"

namespace sn::cuda {

namespace {

constexpr int kRows = 4;
constexpr int64_t kMostParts = 16384;          // blocks that splits of their own are worth
constexpr int64_t kCounters = kMostParts / 2;  // at the workspace's start, zero between calls

constexpr int64_t kNowhere = -1;

// A call's rows and where their positions lie.
struct Paged {
  int rows, sequences, heads, sharedHeads, headSize, pages, pageSize, tableStride, window;
  float scale;
  const int32_t *slots, *positions, *tables;
  Fault::Kind kind;
  Fault *fault;

  static Paged of(sn_stream *stream, const sn_paged_shape &s, const int32_t *slots, const int32_t *positions,
                  const int32_t *tables, Fault::Kind kind) {
    return {static_cast<int>(s.rows),
            static_cast<int>(s.sequences),
            static_cast<int>(s.heads),
            static_cast<int>(s.kv_heads),
            static_cast<int>(s.head_size),
            static_cast<int>(s.pages),
            static_cast<int>(s.page_size),
            static_cast<int>(s.table_stride),
            static_cast<int>(s.window <= INT32_MAX ? s.window : 0),
            scaleOf(s.scale, s.head_size),
            slots,
            positions,
            tables,
            kind,
            faultOf(stream)};
  }

  __device__ int first(int row) const {
    return window > 0 && positions[row] >= window ? positions[row] - window + 1 : 0;
  }

  __device__ bool isPlace(int row) const {
    return slots[row] >= 0 && slots[row] < sequences && positions[row] >= 0 && positions[row] / pageSize < tableStride;
  }

  // Where a position's head begins, in rows of all pages; kNowhere where it has no page.
  __device__ int64_t place(int slot, int head, int position) const {
    int page = tables[static_cast<int64_t>(slot) * tableStride + position / pageSize];
    if (page < 0 || page >= pages) return kNowhere;
    return (static_cast<int64_t>(page) * sharedHeads + head) * pageSize + position % pageSize;
  }

  __device__ bool isKnown(int row, int from) const {
    if (!isPlace(row)) return false;
    for (int i = from / pageSize; i <= positions[row] / pageSize; ++i) {
      if (place(slots[row], 0, i * pageSize) < 0) return false;
    }
    return true;
  }

  __device__ bool follows(int row) const {
    return slots[row] == slots[row - 1] && positions[row] == positions[row - 1] + 1;
  }

  // By one thread of the grid for each row that is refused: the first of them is noted.
  __device__ void note(int row) const {
    for (int other = 0; other < row; ++other) {
      int from = kind == Fault::kPagedAppend && isPlace(other) ? positions[other] : first(other);
      if (slots[other] != -1 && !isKnown(other, from)) return;
    }
    fault->note(kind, positions[row], row, slots[row]);
  }
};

// ---- append

// Eight columns of a row of keys and of values, one after another.
template <typename T, typename C>
struct PagedAppend {
  Paged paged;
  int64_t kStride, vStride;
  const T *k, *v;
  C *keys, *values;

  // `i` counts eight for each such part, whether the row ends within it or not.
  __device__ void operator()(int64_t i, int) const {
    int parts = (paged.headSize + 7) / 8;
    int64_t number = i / 8;
    auto column = static_cast<int>(number % parts) * 8, head = static_cast<int>(number / parts % paged.sharedHeads);
    auto row = static_cast<int>(number / parts / paged.sharedHeads);
    if (paged.slots[row] == -1) return;
    int64_t to = paged.isPlace(row) ? paged.place(paged.slots[row], head, paged.positions[row]) : -1;
    if (to < 0) {
      if (column == 0 && head == 0) paged.note(row);
      return;
    }
    int count = paged.headSize - column;
    float x[8];
    loadEight(k + row * kStride + head * paged.headSize + column, count, x);
    storeEight(keys + to * paged.headSize + column, count, x);
    loadEight(v + row * vStride + head * paged.headSize + column, count, x);
    storeEight(values + to * paged.headSize + column, count, x);
  }
};

// ---- attention

template <typename T, typename C>
struct PagedArguments {
  Paged paged;
  int64_t qStride, outStride;
  const T *q;
  int64_t kStride, vStride;
  const T *k, *v;  // the rows' own, which the pages do not have yet; null: they have them
  C *keys, *values;
  T *out;
  bool piecesIn;
  int splits;             // that have blocks of their own; 1: a block goes through all
  unsigned *counters;     // [rows][heads]
  SplitNumbers *numbers;  // [rows][heads][splits]; most is NaN where the row is refused
  float *sums;            // [rows][heads][splits][HeadSize]
};

template <typename C, int HeadSize>
constexpr int kSplitKeys = Reading<C, HeadSize>::kKeys < 128 ? 128 : Reading<C, HeadSize>::kKeys;

// One column of a row, from its splits in their order.
struct Merged {
  float most, total, sum;

  __device__ void add(SplitNumbers numbers, float other) {
    float next = fmaxf(most, numbers.most), base = next == -INFINITY ? 0.0f : next;
    float own = fastExp2(most - base), theirs = fastExp2(numbers.most - base);
    total = fmaf(own, total, __fmul_rn(theirs, numbers.total));
    sum = fmaf(own, sum, __fmul_rn(theirs, other));
    most = next;
  }
};

// What the pages do not have yet of a sequence.
template <typename C, int HeadSize>
struct OwnRows {
  // Of a call, at most: as many as shared memory has room for.
  static constexpr int kMost = HeadSize * sizeof(C) > 512 ? 4 : 8;

  unsigned rows;     // of the call, a bit each
  C *keys, *values;  // [kMost][HeadSize] in shared memory

  template <typename T>
  __device__ void load(const PagedArguments<T, C> &arguments, int slot, int shared) {
    const auto &paged = arguments.paged;
    for (int row = 0; row < paged.rows; ++row) rows |= (paged.slots[row] == slot ? 1u : 0u) << row;
    for (int i = static_cast<int>(threadIdx.x); i < paged.rows * HeadSize; i += kThreads) {
      int row = i / HeadSize, column = i % HeadSize;
      if ((rows >> row & 1u) == 0 || column >= paged.headSize) continue;
      int64_t at = shared * paged.headSize + column;
      keys[i] = fromFloat<C>(toFloat(arguments.k[row * arguments.kStride + at]));
      values[i] = fromFloat<C>(toFloat(arguments.v[row * arguments.vStride + at]));
    }
    __syncthreads();
  }

  // Puts a row into its page.
  template <typename T>
  __device__ void store(const PagedArguments<T, C> &arguments, int row, int shared) const {
    const auto &paged = arguments.paged;
    int64_t place = paged.place(paged.slots[row], shared, paged.positions[row]);
    if (place < 0) return;
    for (int i = static_cast<int>(threadIdx.x); i < paged.headSize; i += kThreads) {
      arguments.keys[place * paged.headSize + i] = keys[row * HeadSize + i];
      arguments.values[place * paged.headSize + i] = values[row * HeadSize + i];
    }
  }

  // The row of a position; -1: the pages have it.
  __device__ int find(const int32_t *positions, int position) const {
    for (unsigned left = rows; left != 0; left &= left - 1) {
      int row = __ffs(static_cast<int>(left)) - 1;
      if (positions[row] == position) return row;
    }
    return -1;
  }
};

// Rows `row` .. row + count of one run, count <= R.
template <int HeadSize, int R, typename T, typename C>
__device__ void attendRows(const PagedArguments<T, C> &arguments, int row, int count, int head, int ownSplit,
                           OwnRows<C, HeadSize> own) {
  using Reader = Reading<C, HeadSize>;
  constexpr int kSteps = Reader::kSteps, kKeys = Reader::kKeys, kSplit = kSplitKeys<C, HeadSize>;
  constexpr int kColumns = (R * HeadSize + kThreads - 1) / kThreads;  // of a thread
  SN_SHARED(int64_t, places, kKeys);
  SN_SHARED(float, warpSums, kWarps *R *HeadSize);
  SN_SHARED(SplitNumbers, warpNumbers, kWarps * R);
  SN_SHARED(Merged, merged, kColumns * kThreads);  // each thread's own, which registers have no room for
  SN_SHARED(bool, isLast, 1);

  const auto &paged = arguments.paged;
  const int slot = paged.slots[row], shared = head / (paged.heads / paged.sharedHeads);
  const int firstKey = paged.first(row), lastKey = paged.positions[row] + count;
  int split = firstKey / kSplit, lastSplit = (lastKey - 1) / kSplit;
  const int firstSplit = split, allSplits = lastSplit - split + 1;
  if (arguments.splits > 1) {
    if (ownSplit < split || ownSplit > lastSplit) return;
    split = lastSplit = ownSplit;
  }
  if (arguments.k != nullptr) {
    own.load(arguments, slot, shared);
    for (int r = 0; r < count && head % (paged.heads / paged.sharedHeads) == 0; ++r) {
      int at = paged.positions[row + r] / kSplit;
      if (at >= split && at <= lastSplit) own.store(arguments, row + r, shared);
    }
  }

  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  float queries[R][Reader::kElements];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const T *query = arguments.q + (row + (r < count ? r : 0)) * arguments.qStride + head * paged.headSize;
#pragma unroll
    for (int i = 0; i < Reader::kElements; ++i) {
      int column = Reader::column(i / Reader::kPiece) + i % Reader::kPiece;
      queries[r][i] = column < paged.headSize ? toFloat(query[column]) * (paged.scale * kLog2E) : 0.0f;
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) merged[c * kThreads + threadIdx.x] = {-INFINITY, 0, 0};
  unsigned refused = 0;
#pragma unroll 1
  for (; split <= lastSplit; ++split) {
    RunningSums<R, Reader::kElements> running;
#pragma unroll 1
    for (int block = split * kSplit; block < (split + 1) * kSplit; block += kKeys) {
      if (block + kKeys <= firstKey || block >= lastKey) continue;
      __syncthreads();  // all are done with the places of before
      bool misses = false;
      for (int k = static_cast<int>(threadIdx.x); k < kKeys; k += kThreads) {
        bool seen = block + k >= firstKey && block + k < lastKey;
        int64_t place = seen ? paged.place(slot, shared, block + k) : kNowhere;
        misses = misses || (seen && place < 0);
        int ownRow = place < 0 ? -1 : own.find(paged.positions, block + k);
        places[k] = ownRow < 0 ? place : kNowhere - 1 - ownRow;
      }
      if (__syncthreads_or(misses)) {
        for (int r = 0; r < count; ++r) {
          for (int k = 0; k < kKeys; ++k) {
            bool seen = block + k >= paged.first(row + r) && block + k <= paged.positions[row + r];
            if (seen && places[k] == kNowhere) refused |= 1u << r;
          }
        }
      }
      auto keyOf = [&](int step) { return (step * kWarps + warp) * Reader::kAtOnce + lane / Reader::kLanes; };
      Piece keyPieces[kSteps][Reader::kPieces], valuePieces[kSteps][Reader::kPieces];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        int64_t place = places[keyOf(step)];
        int64_t inPages = place < 0 ? 0 : place * paged.headSize, inOwn = (kNowhere - 1 - place) * HeadSize;
        int headSize = place == kNowhere ? 0 : paged.headSize;
        const C *key = place < kNowhere ? own.keys + inOwn : arguments.keys + inPages;
        const C *value = place < kNowhere ? own.values + inOwn : arguments.values + inPages;
        Reader::load(key, headSize, arguments.piecesIn, keyPieces[step]);
        Reader::load(value, headSize, arguments.piecesIn, valuePieces[step]);
      }
      float scores[R][kSteps];
      multiplyKeys<C, HeadSize>(keyPieces, queries, scores);
#pragma unroll
      for (int r = 0; r < R; ++r) {
        int from = r < count ? paged.first(row + r) : 0, to = r < count ? paged.positions[row + r] : -1;
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          int key = block + keyOf(step);
          if (key < from || key > to || (refused >> r & 1u) != 0) scores[r][step] = -INFINITY;
        }
      }
      addValues<C, HeadSize>(valuePieces, scores, &running);
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
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      int i = static_cast<int>(threadIdx.x) + c * kThreads, r = i / HeadSize;
      if (i >= R * HeadSize) continue;
      SplitNumbers numbers{-INFINITY, 0};
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) numbers.most = fmaxf(numbers.most, warpNumbers[w * R + r].most);
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        float weight = numbers.most == -INFINITY ? 0.0f : fastExp2(warpNumbers[w * R + r].most - numbers.most);
        numbers.total = fmaf(weight, warpNumbers[w * R + r].total, numbers.total);
        sum = fmaf(weight, warpSums[(w * R + r) * HeadSize + i % HeadSize], sum);
      }
      if (arguments.splits == 1 || allSplits == 1) {
        merged[i].add(numbers, sum);
      } else if (r < count) {
        int64_t part = (static_cast<int64_t>(row + r) * paged.heads + head) * arguments.splits + ownSplit;
        if (refused >> r & 1u) numbers.most = NAN;
        arguments.sums[part * HeadSize + i % HeadSize] = sum;
        if (i % HeadSize == 0) arguments.numbers[part] = numbers;
      }
    }
  }

  if (arguments.splits > 1 && allSplits > 1) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      // The last one to come sets it back to zero.
      auto others = static_cast<unsigned>(allSplits - 1);
      isLast[0] = atomicInc(arguments.counters + row * paged.heads + head, others) == others;
      __threadfence();
    }
    __syncthreads();
    if (!isLast[0]) return;
    for (int r = 0; r < count; ++r) {
      int64_t part = (static_cast<int64_t>(row + r) * paged.heads + head) * arguments.splits + firstSplit;
      for (int i = 0; i < allSplits; ++i) {
        if (isnan(__ldcg(&arguments.numbers[part + i].most))) refused |= 1u << r;
      }
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      int i = static_cast<int>(threadIdx.x) + c * kThreads, r = i / HeadSize;
      if (r >= count) continue;
      int64_t part = (static_cast<int64_t>(row + r) * paged.heads + head) * arguments.splits + firstSplit;
#pragma unroll 4
      for (int64_t end = part + allSplits; part < end; ++part) {
        SplitNumbers numbers{__ldcg(&arguments.numbers[part].most), __ldcg(&arguments.numbers[part].total)};
        merged[i].add(numbers, __ldcg(arguments.sums + part * HeadSize + i % HeadSize));
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    int i = static_cast<int>(threadIdx.x) + c * kThreads, r = i / HeadSize, column = i % HeadSize;
    if (r >= count || column >= paged.headSize) continue;
    float value = (refused >> r & 1u) != 0 ? 0.0f : merged[i].sum / merged[i].total;
    arguments.out[(row + r) * arguments.outStride + head * paged.headSize + column] = fromFloat<T>(value);
  }
  if (refused != 0 && head == 0 && threadIdx.x == 0) {
    for (int r = 0; r < count; ++r) {
      if (refused >> r & 1u) paged.note(row + r);
    }
  }
}

template <int HeadSize, typename T, typename C>
__global__ void __launch_bounds__(kThreads) attendPages(const __grid_constant__ PagedArguments<T, C> arguments) {
  using Own = OwnRows<C, HeadSize>;
  SN_SHARED(C, ownKeys, Own::kMost * HeadSize);
  SN_SHARED(C, ownValues, Own::kMost * HeadSize);
  const Own own{0, ownKeys, ownValues};
  releaseNextGrid();
  waitForPriorGrid();
  const auto &paged = arguments.paged;
  auto number = static_cast<int>(blockIdx.x);
  int split = number % arguments.splits, head = number / arguments.splits % paged.heads;
  int row = number / arguments.splits / paged.heads;
  if (!paged.isPlace(row)) {
    if (split != 0) return;
    T *out = arguments.out + row * arguments.outStride + head * paged.headSize;
    for (int i = static_cast<int>(threadIdx.x); i < paged.headSize; i += kThreads) out[i] = fromFloat<T>(0);
    if (paged.slots[row] != -1 && head == 0 && threadIdx.x == 0) paged.note(row);
    return;
  }
  auto goesOn = [&](int next) { return paged.follows(next) && paged.positions[next] % kRows != 0; };
  if (row > 0 && goesOn(row)) return;
  int count = 1;
  while (row + count < paged.rows && goesOn(row + count) && paged.isPlace(row + count)) ++count;
  if (count == 1) {
    attendRows<HeadSize, 1>(arguments, row, count, head, split, own);
  } else {
    attendRows<HeadSize, kRows>(arguments, row, count, head, split, own);
  }
}

// ---- launchers

template <typename C, int HeadSize>
int splitsOf(const sn_paged_shape &s) {
  constexpr int kSplit = kSplitKeys<C, HeadSize>;
  int64_t splits = (s.table_stride * s.page_size + kSplit - 1) / kSplit;
  return s.rows * s.heads <= kMostParts / splits ? static_cast<int>(splits) : 1;
}

// Calls f(T{}, C{}, head size) with what the kernels are made for.
template <typename F>
auto withPaged(const sn_paged_shape &s, F &&f) {
  return withHeadSize<32, 64, 128, 256>(static_cast<int>(s.head_size), [&](auto size) {
    if (s.dtype == SN_BF16) return f(bf16{}, bf16{}, size);
    return s.cache_dtype == SN_BF16 ? f(float{}, bf16{}, size) : f(float{}, float{}, size);
  });
}

sn_status checkPagedSize(const sn_paged_shape &s, const char *operation) {
  if (s.rows * s.heads <= INT32_MAX && s.rows * s.kv_heads <= INT32_MAX / 8) return SN_OK;
  return fail(SN_UNSUPPORTED, "%s: rows %lld, heads %lld are more than a GPU's grid holds", operation,
              static_cast<long long>(s.rows), static_cast<long long>(s.heads));
}

}  // namespace

sn_status paged_append(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots, const int32_t *positions,
                       const int32_t *tables, const void *k, const void *v, void *key_pages, void *value_pages) {
  const auto &s = *shape;
  if (sn_status status = checkPagedSize(s, "paged_append"); status != SN_OK) return status;
  return withType(s.dtype, [&](auto t) {
    return withType(s.cache_dtype, [&](auto c) {
      using T = decltype(t);
      using C = decltype(c);
      PagedAppend<T, C> work{Paged::of(stream, s, slots, positions, tables, Fault::kPagedAppend),
                             s.k_stride,
                             s.v_stride,
                             static_cast<const T *>(k),
                             static_cast<const T *>(v),
                             static_cast<C *>(key_pages),
                             static_cast<C *>(value_pages)};
      int64_t parts = s.rows * s.kv_heads * ((s.head_size + 7) / 8);
      return check(launchInStep(stream, forEights<PagedAppend<T, C>>, blocksOfEights(8 * parts), dim3(kEightThreads), 0,
                                8 * parts, work),
                   "paged_append");
    });
  });
}

sn_status paged_attention_workspace(const sn_device *, const sn_paged_shape *shape, int64_t *bytes) {
  const auto &s = *shape;
  if (sn_status status = checkPagedSize(s, "paged_attention_workspace"); status != SN_OK) return status;
  *bytes = withPaged(s, [&](auto, auto c, auto size) {
    int64_t splits = splitsOf<decltype(c), decltype(size)::value>(s);
    if (splits == 1) return int64_t{0};
    auto part = static_cast<int64_t>(sizeof(SplitNumbers) + decltype(size)::value * sizeof(float));
    return kCounters * static_cast<int64_t>(sizeof(unsigned)) + s.rows * s.heads * splits * part;
  });
  return SN_OK;
}

sn_status paged_attention(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                          const int32_t *positions, const int32_t *tables, const void *q, const void *k, const void *v,
                          void *key_pages, void *value_pages, void *out, void *workspace) {
  const auto &s = *shape;
  if (sn_status status = checkPagedSize(s, "paged_attention"); status != SN_OK) return status;
  return withPaged(s, [&](auto t, auto c, auto size) {
    using T = decltype(t);
    using C = decltype(c);
    constexpr int kHeadSize = decltype(size)::value;
    if (k != nullptr && s.rows > OwnRows<C, kHeadSize>::kMost) {
      sn_status status = paged_append(stream, shape, slots, positions, tables, k, v, key_pages, value_pages);
      if (status != SN_OK) return status;
      k = v = nullptr;
    }
    PagedArguments<T, C> arguments{};
    arguments.paged = Paged::of(stream, s, slots, positions, tables, Fault::kPagedAttention);
    arguments.qStride = s.q_stride;
    arguments.outStride = s.out_stride;
    arguments.q = static_cast<const T *>(q);
    arguments.kStride = s.k_stride;
    arguments.vStride = s.v_stride;
    arguments.k = static_cast<const T *>(k);
    arguments.v = static_cast<const T *>(v);
    arguments.keys = static_cast<C *>(key_pages);
    arguments.values = static_cast<C *>(value_pages);
    arguments.out = static_cast<T *>(out);
    arguments.piecesIn =
        isAligned(arguments.keys) && isAligned(arguments.values) && s.head_size % Vector<C>::kCount == 0;
    arguments.splits = splitsOf<C, kHeadSize>(s);
    if (arguments.splits > 1) {
      if (workspace == nullptr) return fail(SN_BAD_ARGUMENT, "paged_attention: workspace is null");
      arguments.counters = static_cast<unsigned *>(workspace);
      arguments.numbers = reinterpret_cast<SplitNumbers *>(arguments.counters + kCounters);
      arguments.sums = reinterpret_cast<float *>(arguments.numbers + s.rows * s.heads * arguments.splits);
    }
    auto blocks = static_cast<unsigned>(s.rows * s.heads * arguments.splits);
    return check(launchInStep(stream, attendPages<kHeadSize, T, C>, dim3(blocks), dim3(kThreads), 0, arguments),
                 "paged_attention");
  });
}

}  // namespace sn::cuda
