// attention_decode.cpp: attention of new tokens over a key/value cache.
//
// A few queries a head are a matter of reading the cache: dot products with one query at a time. More (a prompt's
// chunk) go through the same blocks as attention_forward.
#include "common/status.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kFewQueries = 4;

// One query over `keys` keys from `first` on; keys and values [keys][size]. `scores` has room for all.
template <typename T>
void attendOne(const T *q, const T *keys, const T *values, int64_t first, int64_t last, int64_t size, float scale,
               float *scores, float *sums, T *out) {
  float query[kMostHeadSize + kLanes];
  copyRows(q, size, 1, size, padded(size), scale, query);
  int64_t count = last - first;
  keys += first * size;
  values += first * size;
  float most = -INFINITY;
  for (int64_t j = 0; j < count; j += kLanes) {
    Vec rows[kLanes] = {};
    int64_t there = count - j < kLanes ? count - j : kLanes;
    for (int64_t r = 0; r < there; ++r) {
      const T *key = keys + (j + r) * size;
      forVectors(size, [&](int64_t d, int64_t n) { rows[r] = fma(load(query + d), loadUpTo(key + d, n), rows[r]); });
    }
    Vec dots = sumOfEach(rows);
    for (int64_t r = there; r < kLanes; ++r) dots[r] = -INFINITY;
    store(scores + j, dots);
    float highest = maximum(dots);
    most = highest > most ? highest : most;
  }
  Vec totals{};
  for (int64_t j = 0; j < count; j += kLanes) {
    Vec p = exp(load(scores + j) - most);
    totals += p;
    store(scores + j, p);
  }
  float factor = 1.0f / sum(totals);
  std::memset(static_cast<void *>(sums), 0, static_cast<size_t>(padded(size)) * sizeof(float));
  for (int64_t j = 0; j < count; ++j) {
    Vec p = broadcast(scores[j]);
    forVectors(size, [&](int64_t d, int64_t n) {
      store(sums + d, fma(p, loadUpTo(values + j * size + d, n), load(sums + d)));
    });
  }
  forVectors(size, [&](int64_t d, int64_t n) { storeUpTo(out + d, load(sums + d) * factor, n); });
}

sn_status checkLengths(const sn_cache_shape &s, const int32_t *lengths, const char *operation) {
  for (int64_t b = 0; b < s.batch; ++b) {
    if (lengths[b] < 0 || lengths[b] + s.queries > s.capacity) {
      return fail(SN_BAD_ARGUMENT, "%s: sequence %lld has %d positions; with %lld more they exceed the cache's %lld",
                  operation, static_cast<long long>(b), lengths[b], static_cast<long long>(s.queries),
                  static_cast<long long>(s.capacity));
    }
  }
  return SN_OK;
}

}  // namespace

sn_status cache_append(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *k,
                       const void *v, void *key_cache, void *value_cache) {
  const auto &s = *shape;
  if (sn_status status = checkLengths(s, lengths, "cache_append"); status != SN_OK) return status;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    int64_t rows = s.batch * s.queries;
    parallelRange(poolOf(stream), rows, rowsPerPart(2 * s.kv_heads * s.head_size), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t b = row / s.queries, position = lengths[b] + row % s.queries;
        for (int64_t h = 0; h < s.kv_heads; ++h) {
          int64_t to = ((b * s.kv_heads + h) * s.capacity + position) * s.head_size;
          auto bytes = static_cast<size_t>(s.head_size) * sizeof(T);
          std::memcpy(static_cast<T *>(key_cache) + to, static_cast<const T *>(k) + row * s.k_stride + h * s.head_size,
                      bytes);
          std::memcpy(static_cast<T *>(value_cache) + to,
                      static_cast<const T *>(v) + row * s.v_stride + h * s.head_size, bytes);
        }
      }
    });
  });
  return SN_OK;
}

// The worker's scratch is enough.
sn_status attention_decode_workspace(const sn_device *, const sn_cache_shape *, int64_t *bytes) {
  *bytes = 0;
  return SN_OK;
}

sn_status attention_decode(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *q,
                           const void *k, const void *v, void *key_cache, void *value_cache, void *out, void *) {
  const auto &s = *shape;
  if (sn_status status = checkLengths(s, lengths, "attention_decode"); status != SN_OK) return status;
  if (k != nullptr) cache_append(stream, shape, lengths, k, v, key_cache, value_cache);
  float scale = scaleOf(s.scale, s.head_size);
  // The scores of a query stand in the worker's scratch behind a row of sums.
  bool few = s.queries <= kFewQueries &&
             (s.capacity + kLanes + kMostHeadSize) * static_cast<int64_t>(sizeof(float)) <= kScratchBytes;
  int64_t blocks = few ? 1 : (s.queries + kQueryBlock - 1) / kQueryBlock;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    parallel(poolOf(stream), s.batch * s.heads * blocks, [&](int64_t part, int32_t worker) {
      int64_t index = part % (s.batch * s.heads), block = blocks - 1 - part / (s.batch * s.heads);
      int64_t b = index / s.heads, h = index % s.heads, shared = h / (s.heads / s.kv_heads);
      int64_t cache = (b * s.kv_heads + shared) * s.capacity * s.head_size;
      auto *queries = static_cast<const T *>(q) + b * s.queries * s.q_stride + h * s.head_size;
      auto *keys = static_cast<const T *>(key_cache) + cache, *values = static_cast<const T *>(value_cache) + cache;
      auto *target = static_cast<T *>(out) + b * s.queries * s.out_stride + h * s.head_size;
      Sight sight{lengths[b], true, s.window, lengths[b] + s.queries};
      void *memory = deviceOf(stream).scratch(worker);
      if (few) {
        auto *sums = static_cast<float *>(memory);
        for (int64_t i = 0; i < s.queries; ++i) {
          attendOne(queries + i * s.q_stride, keys, values, sight.first(i), sight.last(i), s.head_size, scale,
                    sums + kMostHeadSize, sums, target + i * s.out_stride);
        }
        return;
      }
      int64_t query = block * kQueryBlock;
      int64_t count = s.queries - query < kQueryBlock ? s.queries - query : kQueryBlock;
      Head<T> head{queries, keys, values, s.q_stride, s.head_size, s.head_size, s.head_size};
      AttentionScratch scratch(memory, padded(s.head_size));
      attendBlock(head, sight, scale, Dropout{}, 0, query, count, scratch, target, s.out_stride, nullptr);
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
