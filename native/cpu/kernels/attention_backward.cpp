// attention_backward.cpp: dq, dk, dv from the saved log-sum-exp of each row (Dao 2023, algorithm 2).
//
// A part of the work is one key/value head with all query heads that share it: dk and dv are summed in registers and
// first caches for one block of keys at a time, dq in the worker's share of the workspace, always in the same order.
#include "cpu/kernels/attention.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

// Memory of a pair of blocks, in the worker's scratch.
struct GradientScratch {
  float *keys, *values, *dkeys, *dvalues;  // [kKeyBlock][width]
  float *queries, *douts;                  // [kQueryBlock][width]
  float *queriesAcross, *doutsAcross;      // [width][kQueryBlock]
  float *scores, *dscores;                 // [kKeyBlock][kQueryBlock]

  GradientScratch(void *memory, int64_t width) {
    keys = static_cast<float *>(memory);
    values = keys + kKeyBlock * width;
    dkeys = values + kKeyBlock * width;
    dvalues = dkeys + kKeyBlock * width;
    queries = dvalues + kKeyBlock * width;
    douts = queries + kQueryBlock * width;
    queriesAcross = douts + kQueryBlock * width;
    doutsAcross = queriesAcross + kQueryBlock * width;
    scores = doutsAcross + kQueryBlock * width;
    dscores = scores + kKeyBlock * kQueryBlock;
  }
};

// What a worker needs of the workspace: for each query head of a group dq [queries][width] and the row sums of
// dout * out [queries].
int64_t groupFloats(const sn_attention_shape &s) {
  return s.heads / s.kv_heads * s.queries * (padded(s.head_size) + 1);
}

template <typename T>
void loadAcross(const T *source, int64_t stride, int64_t rows, int64_t headSize, float factor, float *along,
                float *across) {
  int64_t width = padded(headSize);
  std::memset(static_cast<void *>(along), 0, static_cast<size_t>(kQueryBlock * width) * sizeof(float));
  copyRows(source, stride, rows, headSize, width, factor, along);
  transposeRows(along, kQueryBlock, width, across);
}

template <typename T>
void storeRows(const float *source, int64_t rows, int64_t headSize, T *out, int64_t stride) {
  int64_t width = padded(headSize);
  for (int64_t i = 0; i < rows; ++i) {
    forVectors(headSize,
               [&](int64_t d, int64_t n) { storeUpTo(out + i * stride + d, load(source + i * width + d), n); });
  }
}

}  // namespace

sn_status attention_backward_workspace(const sn_device *device, const sn_attention_shape *shape, int64_t *bytes) {
  *bytes = device->threads * groupFloats(*shape) * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status attention_backward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                             const void *v, const void *out, const float *lse, const void *dout, void *dq, void *dk,
                             void *dv, void *workspace) {
  const auto &s = *shape;
  const float scale = scaleOf(s.scale, s.head_size);
  const Dropout dropout{s.dropout, keyNow(s.key), s.keys};
  const int64_t group = s.heads / s.kv_heads, width = padded(s.head_size), size = s.head_size;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    parallel(poolOf(stream), s.batch * s.kv_heads, [&](int64_t part, int32_t worker) {
      int64_t b = part / s.kv_heads, shared = part % s.kv_heads;
      const Sight sight = sightOf(s, b);
      GradientScratch scratch(deviceOf(stream).scratch(worker), width);
      float *dqueries = static_cast<float *>(workspace) + worker * groupFloats(s);
      float *rowSums = dqueries + group * s.queries * width;
      std::memset(static_cast<void *>(dqueries), 0, static_cast<size_t>(group * s.queries * width) * sizeof(float));

      auto queryAt = [&](int64_t h, int64_t i) { return (b * s.queries + i) * s.q_stride + h * size; };
      auto outAt = [&](int64_t h, int64_t i) { return (b * s.queries + i) * s.out_stride + h * size; };
      auto keyAt = [&](int64_t j) { return (b * s.keys + j) * s.k_stride + shared * size; };
      auto valueAt = [&](int64_t j) { return (b * s.keys + j) * s.v_stride + shared * size; };

      for (int64_t g = 0; g < group; ++g) {
        for (int64_t i = 0; i < s.queries; ++i) {
          auto *o = static_cast<const T *>(out) + outAt(shared * group + g, i);
          auto *d = static_cast<const T *>(dout) + outAt(shared * group + g, i);
          Vec total{};
          forVectors(size, [&](int64_t j, int64_t n) { total = fma(loadUpTo(o + j, n), loadUpTo(d + j, n), total); });
          rowSums[g * s.queries + i] = sum(total);
        }
      }

      for (int64_t key = 0; key < s.keys; key += kKeyBlock) {
        int64_t count = s.keys - key < kKeyBlock ? s.keys - key : kKeyBlock;
        copyRows(static_cast<const T *>(k) + keyAt(key), s.k_stride, count, size, width, 1, scratch.keys);
        copyRows(static_cast<const T *>(v) + valueAt(key), s.v_stride, count, size, width, 1, scratch.values);
        std::memset(static_cast<void *>(scratch.dkeys), 0, static_cast<size_t>(2 * kKeyBlock * width) * sizeof(float));
        for (int64_t g = 0; g < group; ++g) {
          int64_t h = shared * group + g, row = (b * s.heads + h) * s.queries;
          for (int64_t query = 0; query < s.queries; query += kQueryBlock) {
            int64_t queries = s.queries - query < kQueryBlock ? s.queries - query : kQueryBlock;
            if (sight.last(query + queries - 1) <= key || sight.first(query) >= key + count) continue;
            int64_t across = padded(queries);
            loadAcross(static_cast<const T *>(q) + queryAt(h, query), s.q_stride, queries, size, scale, scratch.queries,
                       scratch.queriesAcross);
            loadAcross(static_cast<const T *>(dout) + outAt(h, query), s.out_stride, queries, size, 1, scratch.douts,
                       scratch.doutsAcross);
            product(scratch.keys, width, 1, count, scratch.queriesAcross, kQueryBlock, across, size, true,
                    scratch.scores, kQueryBlock);
            if (!seesAll(sight, query, queries, key, count)) hide(sight, query, queries, key, count, scratch.scores);
            product(scratch.values, width, 1, count, scratch.doutsAcross, kQueryBlock, across, size, true,
                    scratch.dscores, kQueryBlock);
            // With dropout factors z: dv takes p z, and dp is dout v^T times z.
            dropout.apply(row + query, queries, key, count, scratch.dscores);
            for (int64_t i = 0; i < across; i += kLanes) {
              int64_t there = queries - i < kLanes ? queries - i : kLanes;
              Vec base = loadUpToOr(lse + row + query + i, there, INFINITY);
              base = base == -INFINITY ? broadcast(INFINITY) : base;
              Vec sums = loadUpTo(rowSums + g * s.queries + query + i, there);
              for (int64_t j = 0; j < count; ++j) {
                float *score = scratch.scores + j * kQueryBlock + i, *dscore = scratch.dscores + j * kQueryBlock + i;
                Vec p = exp(load(score) - base);
                store(score, p);
                store(dscore, p * (load(dscore) - sums));
              }
            }
            float *dquery = dqueries + (g * s.queries + query) * width;
            product(scratch.dscores, 1, kQueryBlock, queries, scratch.keys, width, width, count, false, dquery, width);
            product(scratch.dscores, kQueryBlock, 1, count, scratch.queries, width, width, queries, false,
                    scratch.dkeys, width);
            dropout.apply(row + query, queries, key, count, scratch.scores);
            product(scratch.scores, kQueryBlock, 1, count, scratch.douts, width, width, queries, false, scratch.dvalues,
                    width);
          }
        }
        storeRows(scratch.dkeys, count, size, static_cast<T *>(dk) + keyAt(key), s.k_stride);
        storeRows(scratch.dvalues, count, size, static_cast<T *>(dv) + valueAt(key), s.v_stride);
      }
      for (int64_t g = 0; g < group; ++g) {
        float *sums = dqueries + g * s.queries * width;
        for (int64_t i = 0; i < s.queries * width; i += kLanes) store(sums + i, load(sums + i) * scale);
        storeRows(sums, s.queries, size, static_cast<T *>(dq) + queryAt(shared * group + g, 0), s.q_stride);
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
