// sample.cu: the choice of the next token from a row of logits: repetition penalty, temperature, top-k, top-p, min-p,
// then a draw (Holtzman et al. 2020 for top-p). A block owns a row.
//
// Probabilities are whole numbers, in units of 2^-42 of the highest: their sums are the same in any order, so that a
// choice depends on the key alone. Scores are compared as keys, integers of the same order.
//
// What top-k and top-p leave is all from some threshold on: a key, and of those that have just this key the lowest ids.
// It is found among candidates: as many threads' highest keys as tokens are wanted bound the threshold from below, and
// what passes that bound is listed and sorted, some dozens of a vocabulary of 50257. Where the list does not hold the
// answer (a flat nucleus, a large k, many ties) the threshold is found by halving, each step a pass over the row.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/ptx/grid.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kMostThreads = 512;
constexpr int kListed = 2048;
constexpr int kAtOnce = 4;  // a thread's loads under way

using Mass = unsigned long long;
constexpr float kCertain = 0x1p42f;                    // the mass of the highest score
constexpr int64_t kMostVocabulary = int64_t{1} << 22;  // so many of them can be added

// 0: a score that is never drawn, NaN or -infinity.
__device__ __forceinline__ uint32_t keyOf(float score) {
  if (!(score > -INFINITY)) return 0;
  uint32_t bits = __float_as_uint(score + 0.0f);  // there is one zero
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float scoreOf(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// A token with its key, as one number: of two the better is larger, the lower id among equals.
struct Ranked {
  unsigned long long value;

  __device__ static Ranked of(uint32_t key, int id) {
    return {static_cast<unsigned long long>(key) << 32 | (0xffffffffu - static_cast<uint32_t>(id))};
  }
  __device__ uint32_t key() const { return static_cast<uint32_t>(value >> 32); }
  __device__ int id() const { return static_cast<int>(0xffffffffu - static_cast<uint32_t>(value)); }
};

template <typename T>
struct Sample {
  const sn_sampling *samplings;
  int vocabulary;
  int64_t stride;
  const T *logits;
  const int32_t *history;
  int64_t histories, historyStride;
  int32_t *tokens;
  float *logprobs;
  uint32_t *seen;  // a bit for each token of each row

  __host__ __device__ static int64_t seenWords(int64_t vocabulary) { return (vocabulary + 31) / 32; }
  __device__ const sn_sampling &how() const { return samplings[blockIdx.x]; }
  __device__ uint32_t *seenInRow() const { return seen + blockIdx.x * seenWords(vocabulary); }
};

// What the processors leave: the keys from one on, and of those with just that key the ids up to one.
struct Filter {
  uint32_t key = 1;
  int lastId = INT32_MAX;

  __device__ bool keeps(uint32_t key_, int id) const { return key_ > key || (key_ == key && id <= lastId); }
};

// A block's shared memory.
struct Shared {
  Ranked list[kListed];
  int listed;
  Ranked last;  // of the list's tokens that stay
  int token;
  Mass masses[kWarp];
  float floats[kWarp];
};

// A row's scores: what penalty and temperature make of the logits. Each warp has a range of ids, one after another.
template <typename T>
class Scores {
 public:
  static constexpr int kCount = AlignedRow<T>::kCount;

  __device__ Scores(const Sample<T> &a, float inverseTemperature)
      : row_(a.logits + blockIdx.x * a.stride, a.vocabulary),
        vocabulary_(a.vocabulary),
        penalty_(a.how().repetition_penalty),
        inverse_(inverseTemperature),
        seen_(a.how().repetition_penalty == 1 ? nullptr : a.seenInRow()) {
    int pieces = static_cast<int>(row_.pieces()), threads = static_cast<int>(blockDim.x);
    int share = (pieces + threads - 1) / threads * kWarp;
    begin_ = min(static_cast<int>(threadIdx.x) / kWarp * share, pieces);
    end_ = min(begin_ + share, pieces);
  }

  // The pieces of the warp.
  __device__ int begin() const { return begin_; }
  __device__ int end() const { return end_; }

  // f(id, logit, score) for the elements of a piece, in their order; elements outside of the row have -infinity.
  template <typename F>
  __device__ void forPiece(int piece, const typename AlignedRow<T>::Piece &loaded, F &&f) const {
    float logits[kCount];
    loaded.unpack(logits);
    int at = static_cast<int>(row_.place(piece));
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      int id = at + i;
      float score = logits[i];
      if (seen_ != nullptr && id >= 0 && id < vocabulary_ && (seen_[id / 32] >> (id % 32) & 1u) != 0) {
        score = score < 0 ? score * penalty_ : score / penalty_;
      }
      f(id, logits[i], score * inverse_);
    }
  }

  __device__ typename AlignedRow<T>::Piece load(int piece) const { return row_.load(piece); }

  // The same for all of the thread's elements.
  template <typename F>
  __device__ void forEach(F &&f) const {
    for (int first = begin_ + static_cast<int>(threadIdx.x) % kWarp; first < end_; first += kAtOnce * kWarp) {
      typename AlignedRow<T>::Piece loaded[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kWarp < end_) loaded[i] = row_.load(first + i * kWarp);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kWarp < end_) forPiece(first + i * kWarp, loaded[i], f);
      }
    }
  }

 private:
  AlignedRow<T> row_;
  int vocabulary_, begin_, end_;
  float penalty_, inverse_;
  const uint32_t *seen_;
};

__device__ __forceinline__ Ranked blockBest(Ranked best, Mass *scratch) {
  auto larger = [](Mass a, Mass b) { return a < b ? b : a; };
  Mass value = best.value;
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = larger(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) value = larger(value, scratch[warp]);
  __syncthreads();
  return {value};
}

// The largest key from `low` to `high` that holds(key) is true of, as it is of all below; `low` where it is of none.
template <typename F>
__device__ __forceinline__ uint32_t largestKey(uint32_t low, uint32_t high, F &&holds) {
  while (low < high) {
    uint32_t middle = high - (high - low) / 2;
    if (holds(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Sorts a power of two of tokens, the best first (Batcher 1968).
__device__ __forceinline__ void sortList(Ranked *list, int count) {
  for (int size = 2; size <= count; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      for (int i = static_cast<int>(threadIdx.x); i < count / 2; i += static_cast<int>(blockDim.x)) {
        int a = 2 * i - i % stride, b = a + stride;
        bool descends = (a & size) == 0;
        Ranked first = list[a], second = list[b];
        if ((first.value < second.value) == descends) {
          list[a] = second;
          list[b] = first;
        }
      }
      __syncthreads();
    }
  }
}

__device__ __forceinline__ Mass massOf(float score, float most) {
  return static_cast<Mass>(expf(score - most) * kCertain);
}

// Over the thread's elements that the filter keeps, the sum of their masses, or how many they are. A function of its
// own: so many passes would make the kernel several times as long.
template <typename T>
__device__ __noinline__ Mass sumKept(const Sample<T> &a, float inverseTemperature, float most, Filter filter,
                                     bool counts) {
  Mass sum = 0;
  Scores<T>(a, inverseTemperature).forEach([&](int id, float, float score) {
    if (filter.keeps(keyOf(score), id)) sum += counts ? Mass{1} : massOf(score, most);
  });
  return sum;
}

// The choice of one row's token, by all threads of a block.
template <typename T>
class Choice {
 public:
  // `own`: the highest key of the thread's scores, `best`: the row's.
  __device__ Choice(const Sample<T> &a, float inverseTemperature, Shared &shared, uint32_t own, uint32_t best)
      : a_(a),
        topK_(a.how().top_k < a.vocabulary ? static_cast<int>(a.how().top_k) : 0),
        inverse_(inverseTemperature),
        shared_(shared),
        own_(own),
        best_(best),
        most_(scoreOf(best)) {}

  __device__ int draw(float uniformNumber) {
    Filter filter;
    bool narrows = topK_ > 0 || a_.how().top_p < 1;
    if (narrows && !narrowByList(&filter)) narrowByHalving(&filter);
    if (a_.how().min_p > 0) {
      uint32_t least = keyOf(most_ + logf(a_.how().min_p));
      if (least > filter.key) filter = {least, INT32_MAX};
    }
    return drawFrom(filter, uniformNumber);
  }

 private:
  // The same over the row.
  __device__ Mass total(Filter filter, bool counts) const {
    return blockSum(sumKept(a_, inverse_, most_, filter, counts), shared_.masses);
  }

  // Lists all tokens from `bound` on and sorts them. Returns how many there are; `all`: the mass of the whole row,
  // where it is wanted.
  __device__ int list(uint32_t bound, Mass *all) {
    bool wantsAll = topK_ == 0;
    Mass own = 0;
    if (threadIdx.x == 0) shared_.listed = 0;
    __syncthreads();
    Scores<T>(a_, inverse_).forEach([&](int id, float, float score) {
      uint32_t key = keyOf(score);
      if (key != 0 && wantsAll) own += massOf(score, most_);
      if (key < bound) return;
      int place = atomicAdd(&shared_.listed, 1);
      if (place < kListed) shared_.list[place] = Ranked::of(key, id);
    });
    *all = wantsAll ? blockSum(own, shared_.masses) : 0;
    __syncthreads();
    int count = shared_.listed, padded = 1;
    if (count > kListed) return count;
    while (padded < count) padded *= 2;
    for (int i = count + static_cast<int>(threadIdx.x); i < padded; i += static_cast<int>(blockDim.x)) {
      shared_.list[i] = {0};
    }
    __syncthreads();
    sortList(shared_.list, padded);
    return count;
  }

  // Top-k and top-p among the best. False where those are too many, or too few.
  __device__ bool narrowByList(Filter *filter) {
    uint32_t bound = 1;
    if (a_.vocabulary > kListed) {
      // As many threads have such a key, each for a token of its own.
      int threads = static_cast<int>(blockDim.x), wanted = topK_ > 0 ? topK_ : threads / 2;
      if (wanted > threads) return false;
      bound = largestKey(1, best_, [&](uint32_t key) { return __syncthreads_count(own_ >= key) >= wanted; });
    }
    Mass all = 0;
    int count = list(bound, &all);
    if (count > kListed) return false;
    uint32_t least = topK_ > 0 && topK_ <= count ? shared_.list[topK_ - 1].key() : 1;
    *filter = {least, INT32_MAX};
    return a_.how().top_p >= 1 || narrowListByMass(count, least, all, filter);
  }

  // Top-p in the sorted list, of which keys below `least` are no part: the token that crosses p is the last.
  __device__ bool narrowListByMass(int count, uint32_t least, Mass all, Filter *filter) {
    int each = (count + static_cast<int>(blockDim.x) - 1) / static_cast<int>(blockDim.x);
    int first = each * static_cast<int>(threadIdx.x), end = min(first + each, count);
    auto massAt = [&](int i) {
      uint32_t key = shared_.list[i].key();
      return key >= least ? massOf(scoreOf(key), most_) : Mass{0};
    };
    Mass own = 0;
    for (int i = first; i < end; ++i) own += massAt(i);
    Mass listed = blockSum(own, shared_.masses), before = blockSumBefore(own, shared_.masses);
    double limit = static_cast<double>(a_.how().top_p) * static_cast<double>(topK_ > 0 ? listed : all);
    if (static_cast<double>(listed) < limit) return false;
    for (int i = first; i < end; ++i) {
      Mass upTo = before + massAt(i);
      if (static_cast<double>(before) < limit && static_cast<double>(upTo) >= limit) shared_.last = shared_.list[i];
      before = upTo;
    }
    __syncthreads();
    *filter = {shared_.last.key(), shared_.last.id()};
    return true;
  }

  // The same by passes over the row.
  __device__ void narrowByHalving(Filter *filter) const {
    auto massFrom = [&](uint32_t key) { return static_cast<double>(total({key}, false)); };
    uint32_t least = 1;
    if (topK_ > 0) {
      auto wanted = static_cast<Mass>(topK_);
      least = largestKey(1, best_, [&](uint32_t key) { return total({key}, true) >= wanted; });
    }
    *filter = {least};
    if (a_.how().top_p >= 1) return;
    double limit = static_cast<double>(a_.how().top_p) * massFrom(least);
    uint32_t last = largestKey(least, best_, [&](uint32_t key) { return massFrom(key) >= limit; });
    // So many of those with the last key stay as make up the rest.
    double rest = (limit - massFrom(last + 1)) / static_cast<double>(massOf(scoreOf(last), most_));
    Mass wanted = total({last + 1}, true) + static_cast<Mass>(ceil(rest));
    int low = 0, high = a_.vocabulary - 1;
    if (total({last, high}, true) <= wanted) low = high;
    while (low < high) {
      int middle = low + (high - low) / 2;
      if (total({last, middle}, true) >= wanted) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    *filter = {last, low};
  }

  // The token at which the sum of masses, in the order of ids, passes the drawn share of all.
  __device__ int drawFrom(const Filter &filter, float uniformNumber) {
    int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
    Mass own = warpSum(sumKept(a_, inverse_, most_, filter, false)), before = 0, all = 0;
    if (threadIdx.x % kWarp == 0) shared_.masses[warp] = own;
    __syncthreads();
    for (int other = 0; other < warps; ++other) {
      if (other < warp) before += shared_.masses[other];
      all += shared_.masses[other];
    }
    auto target = static_cast<Mass>(static_cast<double>(uniformNumber) * static_cast<double>(all));
    if (target >= before && target - before < own) findInWarp(filter, target - before);
    __syncthreads();
    return shared_.token;
  }

  // One warp looks for the token, 32 pieces at a time.
  __device__ void findInWarp(const Filter &filter, Mass left) {
    Scores<T> scores(a_, inverse_);
    int lane = static_cast<int>(threadIdx.x) % kWarp;
    for (int first = scores.begin(); first < scores.end(); first += kWarp) {
      // f(id, mass) for the elements of the lane's piece, if it has one.
      auto forMasses = [&](auto &&f) {
        int piece = first + lane;
        if (piece >= scores.end()) return;
        scores.forPiece(piece, scores.load(piece), [&](int id, float, float score) {
          if (filter.keeps(keyOf(score), id)) f(id, massOf(score, most_));
        });
      };
      Mass own = 0;
      forMasses([&](int, Mass mass) { own += mass; });
      Mass upTo = warpSumUpTo(own), all = __shfl_sync(kAllLanes, upTo, kWarp - 1);
      if (left >= all) {
        left -= all;
        continue;
      }
      Mass before = upTo - own;
      if (left < before || left >= upTo) return;
      forMasses([&](int id, Mass mass) {
        if (left >= before && left - before < mass) shared_.token = id;
        before += mass;
      });
      return;
    }
  }

  const Sample<T> &a_;
  const int topK_;
  const float inverse_;
  Shared &shared_;
  const uint32_t own_, best_;
  const float most_;
};

// Sets the bits of the history's tokens.
template <typename T>
__device__ __forceinline__ void markSeen(const Sample<T> &a) {
  uint32_t *seen = a.seenInRow();
  for (int i = static_cast<int>(threadIdx.x); i < Sample<T>::seenWords(a.vocabulary); i += blockDim.x) seen[i] = 0;
  __syncthreads();
  const sn_sampling &how = a.how();
  if (how.history < 0 || how.history >= a.histories || how.history_length > a.historyStride) return;
  const int32_t *history = a.history + how.history * a.historyStride;
  for (int64_t i = threadIdx.x; i < how.history_length; i += blockDim.x) {
    int32_t id = history[i];
    if (id >= 0 && id < a.vocabulary) atomicOr(&seen[id / 32], 1u << id % 32);
  }
  __syncthreads();
}

// log softmax of the logits at the token, by all threads.
template <typename T>
__device__ __forceinline__ float logprobOf(const Sample<T> &a, int token, float highest, float *scratch) {
  highest = blockMaximum(highest, scratch);
  float sum = 0;
  Scores<T>(a, 1).forEach([&](int, float logit, float) { sum += expf(logit - highest); });
  sum = blockSum(sum, scratch);
  return token < 0 ? NAN : toFloat(a.logits[blockIdx.x * a.stride + token]) - highest - logf(sum);
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads, 1) sampleRow(const __grid_constant__ Sample<T> a) {
  SN_SHARED(Shared, shared, 1);
  releaseNextGrid();
  waitForPriorGrid();
  if (a.how().repetition_penalty != 1) markSeen(a);
  Ranked own{0};
  float highest = -INFINITY;
  Scores<T>(a, 1).forEach([&](int id, float logit, float score) {
    uint32_t key = keyOf(score);
    Ranked ranked = Ranked::of(key, id);
    if (key != 0 && ranked.value > own.value) own = ranked;
    highest = fmaxf(highest, logit);
  });
  Ranked best = blockBest(own, shared[0].masses);
  bool chooses = best.key() != 0 && isfinite(scoreOf(best.key()));
  int token = chooses ? best.id() : -1;
  // Where the scores pass what a float can hold, the temperature is as good as 0.
  float inverse = 1.0f / a.how().temperature;
  if (chooses && a.how().temperature != 0 && isfinite(scoreOf(best.key()) * inverse)) {
    auto scaled = [&](Ranked ranked) { return ranked.key() == 0 ? 0 : keyOf(scoreOf(ranked.key()) * inverse); };
    sn_random_key key{a.how().seed, a.how().step, 0, nullptr};
    token = Choice<T>(a, inverse, shared[0], scaled(own), scaled(best)).draw(uniform(Philox::of(key, 0).word[0]));
  }
  if (threadIdx.x == 0) a.tokens[blockIdx.x] = token;
  if (a.logprobs == nullptr) return;
  float logprob = logprobOf(a, token, highest, shared[0].floats);
  if (threadIdx.x == 0) a.logprobs[blockIdx.x] = logprob;
}

}  // namespace

sn_status sample_workspace(const sn_device *, int64_t rows, int64_t vocabulary, int64_t *bytes) {
  *bytes = rows * Sample<float>::seenWords(vocabulary) * static_cast<int64_t>(sizeof(uint32_t));
  return SN_OK;
}

sn_status sample(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                 const void *logits, const sn_sampling *samplings, int64_t histories, int64_t history_stride,
                 const int32_t *history, int32_t *tokens, float *logprobs, void *workspace) {
  if (vocabulary > kMostVocabulary) {
    return fail(SN_BAD_SHAPE, "sample: vocabulary %lld; at most %lld on a GPU", static_cast<long long>(vocabulary),
                static_cast<long long>(kMostVocabulary));
  }
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Sample<T> work{};
    work.samplings = samplings;
    work.vocabulary = static_cast<int>(vocabulary);
    work.stride = stride;
    work.logits = static_cast<const T *>(logits);
    work.history = history;
    work.histories = histories;
    work.historyStride = history_stride;
    work.tokens = tokens;
    work.logprobs = logprobs;
    work.seen = static_cast<uint32_t *>(workspace);
    int64_t pieces = vocabulary / Scores<T>::kCount + 1, threads = (pieces + kWarp - 1) / kWarp * kWarp;
    if (threads > kMostThreads) threads = kMostThreads;
    return check(launchInStep(stream, sampleRow<T>, dim3(static_cast<unsigned>(rows)),
                              dim3(static_cast<unsigned>(threads)), 0, work),
                 "sample");
  });
}

}  // namespace sn::cuda
