// attention.h: what the forward, backward and cached passes of attention share: blocks, masks, dropped probabilities.
#pragma once

#include <cmath>

#include "cpu/kernels/block_product.h"
#include "cpu/kernels/random.h"

namespace sn::cpu::SN_ISA {

// Scores are kept as [keys][queries], so that each lane of a vector is a query of its own and its softmax needs no sums
// across lanes.
constexpr int64_t kQueryBlock = kLanes == 16 ? 48 : kLanes == 8 ? 48 : 32;
constexpr int64_t kKeyBlock = 64;
constexpr int64_t kQueryVectors = kQueryBlock / kLanes;
constexpr int64_t kMostHeadSize = 256;

inline int64_t padded(int64_t size) { return (size + kLanes - 1) / kLanes * kLanes; }

// Which keys a query sees, counted from the first key of the sequence.
struct Sight {
  int64_t offset;  // keys before the first query, less one query's own: query i is key i + offset
  bool causal;
  int64_t window;
  int64_t keys;
  const int32_t *starts = nullptr;  // the first key of each query's own sequence, which never falls; null: zeros

  int64_t first(int64_t query) const {
    int64_t from = window > 0 ? query + offset - window + 1 : 0;
    if (starts != nullptr && starts[query] > from) from = starts[query];
    return from > 0 ? from : 0;
  }

  int64_t last(int64_t query) const {  // exclusive
    int64_t to = causal ? query + offset + 1 : keys;
    return to < 0 ? 0 : to < keys ? to : keys;
  }
};

// Of sequence b of a call.
inline Sight sightOf(const sn_attention_shape &s, int64_t b) {
  int64_t keys = s.key_lengths == nullptr ? s.keys : s.key_lengths[b];
  return {s.keys - s.queries, s.causal != 0, s.window,
          keys < 0        ? 0
          : keys < s.keys ? keys
                          : s.keys,
          s.key_starts == nullptr ? nullptr : s.key_starts + b * s.queries};
}

// Hides what queries `query ..` must not see of keys `key .. key + count`: scores [count][kQueryBlock] become
// -infinity.
inline void hide(const Sight &sight, int64_t query, int64_t queries, int64_t key, int64_t count, float *scores) {
  for (int64_t i = 0; i < queries; ++i) {
    int64_t first = sight.first(query + i) - key, last = sight.last(query + i) - key;
    for (int64_t j = 0; j < count && j < first; ++j) scores[j * kQueryBlock + i] = -INFINITY;
    for (int64_t j = last > 0 ? last : 0; j < count; ++j) scores[j * kQueryBlock + i] = -INFINITY;
  }
}

// Whether every query of the block sees every key of the block.
inline bool seesAll(const Sight &sight, int64_t query, int64_t queries, int64_t key, int64_t count) {
  return sight.last(query) >= key + count && sight.first(query + queries - 1) <= key;
}

// Factors of dropped probabilities: 0, or 1 / (1 - p).
struct Dropout {
  float p = 0;
  sn_random_key key{};
  int64_t keys = 0;

  // Multiplies [count][kQueryBlock] values; `row` numbers the block's first query among all of the call.
  void apply(int64_t row, int64_t queries, int64_t first, int64_t count, float *values) const {
    if (p == 0) return;
    float scale = 1.0f / (1.0f - p);
    for (int64_t i = 0; i < queries; ++i) {
      int64_t begin = (row + i) * keys + first;  // of count elements that may start within a group of four
      forRandom(key, begin / 4 * 4, begin + count, [&](int64_t at, WordVec words, int64_t n) {
        Vec factors = uniform(words) >= p ? broadcast(scale) : Vec{};
        for (int64_t lane = at < begin ? begin - at : 0; lane < n; ++lane) {
          values[(at + lane - begin) * kQueryBlock + i] *= factors[lane];
        }
      });
    }
  }
};

inline float scaleOf(float scale, int64_t headSize) {
  return scale == 0 ? 1.0f / std::sqrt(static_cast<float>(headSize)) : scale;
}

// One head's queries, keys and values.
template <typename T>
struct Head {
  const T *q, *k, *v;
  int64_t qStride, kStride, vStride, headSize;
};

// Memory of one block of queries, in the worker's scratch.
struct AttentionScratch {
  float *rows;           // [kQueryBlock or kKeyBlock][width]
  float *queriesAcross;  // [width][kQueryBlock]
  float *keys, *values;  // [kKeyBlock][width]
  float *scores;         // [kKeyBlock][kQueryBlock]
  float *out;            // [kQueryBlock][width]

  AttentionScratch(void *memory, int64_t width) {
    rows = static_cast<float *>(memory);
    queriesAcross = rows + kKeyBlock * width;
    keys = queriesAcross + width * kQueryBlock;
    values = keys + kKeyBlock * width;
    scores = values + kKeyBlock * width;
    out = scores + kKeyBlock * kQueryBlock;
  }
};

// Queries `query .. query + queries` of one head (Dao 2023, algorithm 1). `row` numbers the first of them for dropout.
template <typename T>
inline void attendBlock(const Head<T> &head, const Sight &sight, float scale, const Dropout &dropout, int64_t row,
                        int64_t query, int64_t queries, const AttentionScratch &scratch, T *out, int64_t outStride,
                        float *lse) {
  int64_t width = padded(head.headSize), across = padded(queries);
  std::memset(static_cast<void *>(scratch.rows), 0, static_cast<size_t>(kQueryBlock * width) * sizeof(float));
  copyRows(head.q + query * head.qStride, head.qStride, queries, head.headSize, width, scale, scratch.rows);
  transposeRows(scratch.rows, kQueryBlock, width, scratch.queriesAcross);

  Vec most[kQueryVectors], total[kQueryVectors];
  for (int64_t v = 0; v < kQueryVectors; ++v) {
    most[v] = broadcast(-INFINITY);
    total[v] = Vec{};
  }
  bool first = true;
  int64_t lastKey = sight.last(query + queries - 1);
  for (int64_t key = sight.first(query) / kKeyBlock * kKeyBlock; key < lastKey; key += kKeyBlock) {
    int64_t count = lastKey - key < kKeyBlock ? lastKey - key : kKeyBlock;
    copyRows(head.k + key * head.kStride, head.kStride, count, head.headSize, width, 1, scratch.keys);
    copyRows(head.v + key * head.vStride, head.vStride, count, head.headSize, width, 1, scratch.values);
    product(scratch.keys, width, 1, count, scratch.queriesAcross, kQueryBlock, across, head.headSize, true,
            scratch.scores, kQueryBlock);
    if (!seesAll(sight, query, queries, key, count)) hide(sight, query, queries, key, count, scratch.scores);

    for (int64_t v = 0; v < across / kLanes; ++v) {
      float *column = scratch.scores + v * kLanes;
      Vec highest = most[v];
      for (int64_t j = 0; j < count; ++j) highest = maximum(highest, load(column + j * kQueryBlock));
      Vec base = highest == -INFINITY ? broadcast(0) : highest;
      Vec shrink = exp(most[v] - base), sums{};
      for (int64_t j = 0; j < count; ++j) {
        Vec p = exp(load(column + j * kQueryBlock) - base);
        sums += p;
        store(column + j * kQueryBlock, p);
      }
      total[v] = fma(total[v], shrink, sums);
      most[v] = highest;
      for (int64_t lane = 0; !first && lane < kLanes && v * kLanes + lane < queries; ++lane) {
        float factor = shrink[lane];
        if (factor == 1) continue;
        float *target = scratch.out + (v * kLanes + lane) * width;
        for (int64_t d = 0; d < width; d += kLanes) store(target + d, load(target + d) * factor);
      }
    }
    dropout.apply(row, queries, key, count, scratch.scores);
    product(scratch.scores, 1, kQueryBlock, queries, scratch.values, width, width, count, first, scratch.out, width);
    first = false;
  }

  for (int64_t i = 0; i < queries; ++i) {
    float sums = total[i / kLanes][i % kLanes], highest = most[i / kLanes][i % kLanes];
    bool blind = first || !(sums != 0);
    T *target = out + (query + i) * outStride;
    float factor = blind ? 0.0f : 1.0f / sums;
    forVectors(head.headSize, [&](int64_t d, int64_t n) {
      storeUpTo(target + d, blind ? Vec{} : load(scratch.out + i * width + d) * factor, n);
    });
    if (lse != nullptr) lse[query + i] = blind ? -INFINITY : highest + std::log(sums);
  }
}

}  // namespace sn::cpu::SN_ISA
