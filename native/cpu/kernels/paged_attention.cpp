// paged_attention.cpp: attention over a cache in pages that sequences share.
#include "common/status.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

bool isPage(const sn_paged_shape &s, int32_t page) { return page >= 0 && page < s.pages; }

// Whether a row has a sequence, a position and all the pages up to it.
bool isKnown(const sn_paged_shape &s, const int32_t *tables, int32_t slot, int32_t position) {
  if (slot < 0 || slot >= s.sequences || position < 0 || position >= s.table_stride * s.page_size) return false;
  int64_t first = s.window > 0 && position >= s.window ? (position - s.window + 1) / s.page_size : 0;
  for (int64_t i = first; i <= position / s.page_size; ++i) {
    if (!isPage(s, tables[slot * s.table_stride + i])) return false;
  }
  return true;
}

sn_status failure(const sn_paged_shape &s, const int32_t *slots, const int32_t *positions, const int32_t *tables,
                  const char *operation) {
  for (int64_t row = 0; row < s.rows; ++row) {
    if (slots[row] != -1 && !isKnown(s, tables, slots[row], positions[row])) {
      return fail(SN_BAD_ARGUMENT, "%s: row %lld is position %d of sequence %d; it has no page there", operation,
                  static_cast<long long>(row), positions[row], slots[row]);
    }
  }
  return SN_OK;
}

// Where a position's head begins in the pages.
int64_t placeOf(const sn_paged_shape &s, const int32_t *table, int64_t head, int64_t position) {
  return ((table[position / s.page_size] * s.kv_heads + head) * s.page_size + position % s.page_size) * s.head_size;
}

// One query over positions `first` to `last`, exclusive. `scores` has room for all.
template <typename T, typename C>
void attendOne(const sn_paged_shape &s, const int32_t *table, int64_t head, const T *q, const C *keys, const C *values,
               int64_t first, int64_t last, float *scores, float *sums, T *out) {
  int64_t size = s.head_size;
  float query[kMostHeadSize + kLanes];
  copyRows(q, size, 1, size, padded(size), scaleOf(s.scale, size), query);
  int64_t count = last - first;
  float most = -INFINITY;
  for (int64_t j = 0; j < count; j += kLanes) {
    Vec rows[kLanes] = {};
    int64_t there = count - j < kLanes ? count - j : kLanes;
    for (int64_t r = 0; r < there; ++r) {
      const C *key = keys + placeOf(s, table, head, first + j + r);
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
    const C *value = values + placeOf(s, table, head, first + j);
    forVectors(size, [&](int64_t d, int64_t n) { store(sums + d, fma(p, loadUpTo(value + d, n), load(sums + d))); });
  }
  forVectors(size, [&](int64_t d, int64_t n) { storeUpTo(out + d, load(sums + d) * factor, n); });
}

}  // namespace

sn_status paged_append(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots, const int32_t *positions,
                       const int32_t *tables, const void *k, const void *v, void *key_pages, void *value_pages) {
  const auto &s = *shape;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    withType(s.cache_dtype, [&](auto c) {
      using C = decltype(c);
      parallelRange(poolOf(stream), s.rows, rowsPerPart(2 * s.kv_heads * s.head_size), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          if (slots[row] < 0 || slots[row] >= s.sequences || positions[row] < 0 ||
              positions[row] >= s.table_stride * s.page_size) {
            continue;
          }
          const int32_t *table = tables + slots[row] * s.table_stride;
          if (!isPage(s, table[positions[row] / s.page_size])) continue;
          for (int64_t h = 0; h < s.kv_heads; ++h) {
            int64_t to = placeOf(s, table, h, positions[row]);
            const T *key = static_cast<const T *>(k) + row * s.k_stride + h * s.head_size;
            const T *value = static_cast<const T *>(v) + row * s.v_stride + h * s.head_size;
            forVectors(s.head_size, [&](int64_t d, int64_t n) {
              storeUpTo(static_cast<C *>(key_pages) + to + d, loadUpTo(key + d, n), n);
              storeUpTo(static_cast<C *>(value_pages) + to + d, loadUpTo(value + d, n), n);
            });
          }
        }
      });
    });
  });
  return failure(s, slots, positions, tables, "paged_append");
}

sn_status paged_attention_workspace(const sn_device *, const sn_paged_shape *shape, int64_t *bytes) {
  const auto &s = *shape;
  *bytes = s.rows * s.heads * (s.table_stride * s.page_size + kLanes) * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status paged_attention(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                          const int32_t *positions, const int32_t *tables, const void *q, const void *key_pages,
                          const void *value_pages, void *out, void *workspace) {
  const auto &s = *shape;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    withType(s.cache_dtype, [&](auto c) {
      using C = decltype(c);
      parallel(poolOf(stream), s.rows * s.heads, [&](int64_t part, int32_t) {
        int64_t row = part / s.heads, h = part % s.heads;
        T *target = static_cast<T *>(out) + row * s.out_stride + h * s.head_size;
        if (!isKnown(s, tables, slots[row], positions[row])) {
          for (int64_t d = 0; d < s.head_size; ++d) target[d] = T{};
          return;
        }
        int64_t last = positions[row] + 1, first = s.window > 0 && last > s.window ? last - s.window : 0;
        float *scores = static_cast<float *>(workspace) + part * (s.table_stride * s.page_size + kLanes);
        float sums[kMostHeadSize + kLanes];
        attendOne(s, tables + slots[row] * s.table_stride, h / (s.heads / s.kv_heads),
                  static_cast<const T *>(q) + row * s.q_stride + h * s.head_size, static_cast<const C *>(key_pages),
                  static_cast<const C *>(value_pages), first, last, scores, sums, target);
      });
    });
  });
  return failure(s, slots, positions, tables, "paged_attention");
}

}  // namespace sn::cpu::SN_ISA
