// paged_attention.cpp: attention over a cache in pages that sequences share.
//
// A part of the work is one head of a block of rows: up to 64 positions of one sequence, which share what is read and
// prepared of its keys and values (Dao 2023, algorithm 1). A row must have the same bits in every block, and alone:
//  - tiles of keys, blocks and strips of rows begin at multiples of their sizes, counted in positions;
//  - a score's terms are added by classes, columns that are alike modulo the lanes of a vector, and then class by
//  class.
//    So one query is multiplied by keys as they lie in the pages, columns side by side, and many queries by keys side
//    by side, without a transposed copy for the former or sums across lanes for the latter;
//  - what a row does not see is left out of its sums, not added as zero: it may be infinite.
#include "common/status.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kTile = 64;
constexpr int64_t kTileVectors = kTile / kLanes;
constexpr int64_t kBlock = 64;
constexpr int64_t kStrip = 8;

// As few rows are not worth a transposed copy of the keys.
constexpr int64_t kFewRows = 4;

// What the registers hold of sums: rows by vectors.
constexpr int kTogether = 4;
constexpr int kVectors = kLanes == 16 ? 4 : 2;

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows of neighbouring positions; 0 of them: a single row that gives zeros.
struct Block {
  int32_t row, rows;
};

// A call's rows and where their positions lie.
struct Paged {
  const sn_paged_shape &s;
  const int32_t *slots, *positions, *tables;

  const int32_t *table(int64_t row) const { return tables + slots[row] * s.table_stride; }

  int64_t first(int64_t row) const { return s.window > 0 ? most(positions[row] - s.window + 1, 0) : 0; }

  bool isPlace(int64_t row) const {
    return slots[row] >= 0 && slots[row] < s.sequences && positions[row] >= 0 &&
           positions[row] < s.table_stride * s.page_size;
  }

  // Whether all positions from `from` to the row's own have pages.
  bool isKnown(int64_t row, int64_t from) const {
    if (!isPlace(row)) return false;
    for (int64_t i = from / s.page_size; i <= positions[row] / s.page_size; ++i) {
      if (table(row)[i] < 0 || table(row)[i] >= s.pages) return false;
    }
    return true;
  }

  bool follows(int64_t row, int64_t other) const {
    return slots[row] == slots[other] && positions[row] == positions[other] + 1;
  }

  // Where a position's head begins in the pages.
  int64_t place(const int32_t *table, int64_t head, int64_t position) const {
    int64_t page = table[position / s.page_size];
    return ((page * s.kv_heads + head) * s.page_size + position % s.page_size) * s.head_size;
  }

  // The same of positions first .. last (exclusive), which need not be on one page.
  void places(const int32_t *table, int64_t head, int64_t first, int64_t last, int64_t *all) const {
    for (int64_t position = first; position < last;) {
      int64_t at = place(table, head, position), end = (position / s.page_size + 1) * s.page_size;
      for (; position < end && position < last; ++position, at += s.head_size) *all++ = at;
    }
  }

  sn_status refuse(int64_t row, const char *operation) const {
    return fail(SN_BAD_ARGUMENT, "%s: row %lld is position %d of sequence %d; it has no page there", operation,
                static_cast<long long>(row), positions[row], slots[row]);
  }
};

// A worker's memory, for rows of a padded width.
struct Scratch {
  float *queries, *sums;   // [kBlock][width]
  float *most, *totals;    // [kBlock], [kBlock][kLanes]
  float *scores;           // [kStrip][kTile]
  float *across, *values;  // [width][kTile], [kTile][width]

  Scratch(void *memory, int64_t width) {
    queries = static_cast<float *>(memory);
    sums = queries + kBlock * width;
    totals = sums + kBlock * width;
    scores = totals + kBlock * kLanes;
    across = scores + kStrip * kTile;
    values = across + kTile * width;
    most = values + kTile * width;
  }
};

template <typename C>
void prefetch(const C *row, int64_t size) {
  for (int64_t d = 0; d < size; d += static_cast<int64_t>(64 / sizeof(C))) __builtin_prefetch(row + d);
}

// Scores of one query by the keys at `places`, as they lie; meanwhile their values come from memory.
template <typename C>
void scoreOne(const float *query, const C *keys, const C *values, const int64_t *places, int64_t first, int64_t last,
              int64_t size, float *scores) {
  auto multiply = [&](int64_t place) {
    prefetch(values + place, size);
    Vec sums{};
    forVectors(size, [&](int64_t d, int64_t n) { sums = fma(load(query + d), loadUpTo(keys + place + d, n), sums); });
    return sums;
  };
  for (int64_t j = first / kLanes * kLanes; j < last; j += kLanes) {
    Vec sums[kLanes];
    for (int64_t r = 0; r < kLanes; ++r) {
      sums[r] = j + r >= first && j + r < last ? multiply(places[j + r]) : Vec{};
    }
    transpose(sums);
    Vec totals{};
    for (Vec sum : sums) totals += sum;
    store(scores + j, totals);
  }
}

// Keys side by side: [padded size][kTile].
template <typename C>
void turnKeys(const C *keys, const int64_t *places, int64_t first, int64_t last, int64_t size, float *across) {
  for (int64_t j = first / kLanes * kLanes; j < last; j += kLanes) {
    forVectors(size, [&](int64_t d, int64_t n) {
      Vec rows[kLanes];
      for (int64_t r = 0; r < kLanes; ++r) {
        rows[r] = j + r >= first && j + r < last ? loadUpTo(keys + places[j + r] + d, n) : Vec{};
      }
      transpose(rows);
      for (int64_t r = 0; r < kLanes; ++r) store(across + (d + r) * kTile + j, rows[r]);
    });
  }
}

// Scores of several by keys side by side.
template <int Rows>
void scoreRows(const float *queries, int64_t width, const float *across, int64_t last, float *scores) {
  constexpr int kColumns = 2;
  for (int64_t j = 0; j < last; j += kColumns * kLanes) {
    Vec totals[Rows][kColumns] = {};
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      Vec sums[Rows][kColumns] = {};
      for (int64_t d = lane; d < width; d += kLanes) {
        Vec keys[kColumns];
#pragma GCC unroll 2
        for (int c = 0; c < kColumns; ++c) keys[c] = load(across + d * kTile + j + c * kLanes);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          Vec query = broadcast(queries[r * width + d]);
#pragma GCC unroll 2
          for (int c = 0; c < kColumns; ++c) sums[r][c] = fma(query, keys[c], sums[r][c]);
        }
      }
      for (int r = 0; r < Rows; ++r) {
        for (int c = 0; c < kColumns; ++c) totals[r][c] += sums[r][c];
      }
    }
    for (int r = 0; r < Rows; ++r) {
      for (int c = 0; c < kColumns; ++c) store(scores + r * kTile + j + c * kLanes, totals[r][c]);
    }
  }
}

// sums += p values, for rows of a strip and keys first .. last.
template <int Rows, int Vectors, typename C>
void addColumns(const float *p, const C *values, const int64_t *places, int64_t first, int64_t last, float *sums,
                int64_t width) {
  Vec own[Rows][Vectors];
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Vectors; ++c) own[r][c] = load(sums + r * width + c * kLanes);
  }
  for (int64_t j = first; j < last; ++j) {
    Vec value[Vectors];
#pragma GCC unroll 4
    for (int c = 0; c < Vectors; ++c) value[c] = load(values + places[j] + c * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      Vec factor = broadcast(p[r * kTile + j]);
#pragma GCC unroll 4
      for (int c = 0; c < Vectors; ++c) own[r][c] = fma(factor, value[c], own[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Vectors; ++c) store(sums + r * width + c * kLanes, own[r][c]);
  }
}

template <int Rows, typename C>
void addValues(const float *p, const C *values, const int64_t *places, int64_t first, int64_t last, float *sums,
               int64_t width) {
  if (first >= last) return;
  int64_t d = 0;
  for (; d + kVectors * kLanes <= width; d += kVectors * kLanes) {
    addColumns<Rows, kVectors>(p, values + d, places, first, last, sums + d, width);
  }
  for (; d < width; d += kLanes) addColumns<Rows, 1>(p, values + d, places, first, last, sums + d, width);
}

// Scores of keys first .. last become powers; what was summed before is brought to the same base.
void soften(int64_t first, int64_t last, float *scores, float *highest, float *totals, float *sums, int64_t width) {
  int64_t begin = first / kLanes * kLanes;
  for (int64_t j = begin; j < first; ++j) scores[j] = -INFINITY;
  for (int64_t j = last; j < padded(last); ++j) scores[j] = -INFINITY;
  Vec next = broadcast(*highest);
  for (int64_t j = begin; j < last; j += kLanes) next = maximum(next, load(scores + j));
  float now = maximum(next);
  float base = now == -INFINITY ? 0.0f : now;
  Vec shrink = exp(broadcast(*highest - base)), powers{};
  for (int64_t j = begin; j < last; j += kLanes) {
    Vec p = exp(load(scores + j) - base);
    powers += p;
    store(scores + j, p);
  }
  if (now != *highest) {
    for (int64_t d = 0; d < width; d += kLanes) store(sums + d, load(sums + d) * shrink);
  }
  store(totals, fma(load(totals), shrink, powers));
  *highest = now;
}

// A strip of rows, and what they see of a tile.
struct Strip {
  int64_t rows, first[kStrip], last[kStrip];
  int64_t from = 0, to = kTile;  // what all see; empty at the tile's end where that is nothing

  Strip(const Paged &paged, int64_t row, int64_t left, int64_t tile) {
    rows = least(kStrip - paged.positions[row] % kStrip, left);
    for (int64_t r = 0; r < rows; ++r) {
      first[r] = most(paged.first(row + r) - tile, 0);
      last[r] = least(paged.positions[row + r] + 1 - tile, kTile);
      from = most(from, first[r]);
      to = least(to, last[r]);
    }
    if (from >= to) from = to = kTile;
  }
};

// sums += p values, each row's keys in their order: those before what all see, those, and the rest.
template <typename C>
void addStrip(const Strip &strip, const float *p, const C *values, const int64_t *places, float *sums, int64_t width) {
  auto add = [&](int64_t r, int64_t first, int64_t last) {
    addValues<1>(p + r * kTile, values, places, first, last, sums + r * width, width);
  };
  int64_t together = 0;
  for (int64_t r = 0; r < strip.rows; ++r) add(r, strip.first[r], least(strip.from, strip.last[r]));
  for (; together + kTogether <= strip.rows; together += kTogether) {
    addValues<kTogether>(p + together * kTile, values, places, strip.from, strip.to, sums + together * width, width);
  }
  for (int64_t r = together; r < strip.rows; ++r) add(r, strip.from, strip.to);
  for (int64_t r = 0; r < strip.rows; ++r) add(r, strip.to, strip.last[r]);
}

// One head of a block.
template <typename T, typename C>
void attend(const Paged &paged, Block block, int64_t head, const T *q, const C *keys, const C *values,
            const Scratch &scratch, T *out) {
  const auto &s = paged.s;
  const int64_t size = s.head_size, width = padded(size), shared = head / (s.heads / s.kv_heads), row = block.row;
  const int32_t *table = paged.table(row);
  const int64_t firstKey = paged.first(row), lastKey = paged.positions[row] + block.rows;
  const bool few = block.rows <= kFewRows, inPlace = size == width && (few || sizeof(C) == sizeof(float));
  auto zero = [](float *memory, int64_t count) {
    std::memset(static_cast<void *>(memory), 0, static_cast<size_t>(count) * sizeof(float));
  };
  copyRows(q + row * s.q_stride + head * size, s.q_stride, block.rows, size, width, scaleOf(s.scale, size),
           scratch.queries);
  zero(scratch.sums, block.rows * width);
  zero(scratch.totals, block.rows * kLanes);
  for (int64_t i = 0; i < block.rows; ++i) scratch.most[i] = -INFINITY;
  int64_t places[kTile] = {}, inOrder[kTile];
  for (int64_t j = 0; j < kTile; ++j) inOrder[j] = j * width;

  for (int64_t tile = firstKey / kTile * kTile; tile < lastKey; tile += kTile) {
    int64_t begin = most(firstKey - tile, 0), end = least(lastKey - tile, kTile);
    paged.places(table, shared, tile + begin, tile + end, places + begin);
    int64_t ahead[kTile], next = few ? least(lastKey - tile - kTile, kTile) : 0;
    if (next > 0) paged.places(table, shared, tile + kTile, tile + kTile + next, ahead);
    if (!few) turnKeys(keys, places, begin, end, size, scratch.across);
    for (int64_t j = begin; !inPlace && j < end; ++j) {
      copyRows(values + places[j], size, 1, size, width, 1, scratch.values + j * width);
    }

    for (int64_t i = 0; i < block.rows;) {
      const Strip strip(paged, row + i, block.rows - i, tile);
      const float *queries = scratch.queries + i * width;
      float *sums = scratch.sums + i * width;
      for (int64_t r = 0; r < strip.rows;) {
        float *scores = scratch.scores + r * kTile;
        if (few) {
          scoreOne(queries + r * width, keys, values, places, strip.first[r], strip.last[r], size, scores);
          ++r;
        } else if (r + kTogether <= strip.rows) {
          scoreRows<kTogether>(queries + r * width, width, scratch.across, strip.last[r + kTogether - 1], scores);
          r += kTogether;
        } else {
          scoreRows<1>(queries + r * width, width, scratch.across, strip.last[r], scores);
          ++r;
        }
      }
      for (int64_t r = 0; r < strip.rows; ++r) {
        if (strip.first[r] >= strip.last[r]) continue;
        soften(strip.first[r], strip.last[r], scratch.scores + r * kTile, scratch.most + i + r,
               scratch.totals + (i + r) * kLanes, sums + r * width, width);
      }
      if (few && i == 0) {
        for (int64_t j = 0; j < next; ++j) prefetch(keys + ahead[j], size);
      }
      if (inPlace) {
        addStrip(strip, scratch.scores, values, places, sums, width);
      } else {
        addStrip(strip, scratch.scores, scratch.values, inOrder, sums, width);
      }
      i += strip.rows;
    }
  }

  for (int64_t i = 0; i < block.rows; ++i) {
    float factor = 1.0f / sum(load(scratch.totals + i * kLanes));
    T *target = out + (row + i) * s.out_stride + head * size;
    const float *sums = scratch.sums + i * width;
    forVectors(size, [&](int64_t d, int64_t n) { storeUpTo(target + d, load(sums + d) * factor, n); });
  }
}

}  // namespace

sn_status paged_append(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots, const int32_t *positions,
                       const int32_t *tables, const void *k, const void *v, void *key_pages, void *value_pages) {
  const auto &s = *shape;
  const Paged paged{s, slots, positions, tables};
  auto isKnown = [&](int64_t row) { return paged.isKnown(row, positions[row]); };
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    withType(s.cache_dtype, [&](auto c) {
      using C = decltype(c);
      parallelRange(poolOf(stream), s.rows, rowsPerPart(2 * s.kv_heads * s.head_size), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          for (int64_t h = 0; isKnown(row) && h < s.kv_heads; ++h) {
            int64_t to = paged.place(paged.table(row), h, positions[row]);
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
  for (int64_t row = 0; row < s.rows; ++row) {
    if (slots[row] != -1 && !isKnown(row)) return paged.refuse(row, "paged_append");
  }
  return SN_OK;
}

// A list of blocks.
sn_status paged_attention_workspace(const sn_device *, const sn_paged_shape *shape, int64_t *bytes) {
  *bytes = shape->rows * static_cast<int64_t>(sizeof(Block));
  return SN_OK;
}

sn_status paged_attention(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                          const int32_t *positions, const int32_t *tables, const void *q, const void *k, const void *v,
                          void *key_pages, void *value_pages, void *out, void *workspace) {
  const auto &s = *shape;
  if (workspace == nullptr) return fail(SN_BAD_ARGUMENT, "paged_attention: workspace is null");
  // A row that is refused here is refused below, too, and in the same words but for the operation.
  if (k != nullptr) paged_append(stream, shape, slots, positions, tables, k, v, key_pages, value_pages);
  const Paged paged{s, slots, positions, tables};
  auto *blocks = static_cast<Block *>(workspace);
  int64_t count = 0, refused = -1;
  for (int64_t row = 0; row < s.rows; ++row) {
    if (!paged.isKnown(row, paged.first(row))) {
      if (refused < 0 && slots[row] != -1) refused = row;
      blocks[count++] = {static_cast<int32_t>(row), 0};
      continue;
    }
    bool goesOn = count > 0 && blocks[count - 1].rows > 0 && paged.follows(row, row - 1) && positions[row] % kBlock > 0;
    if (goesOn) {
      ++blocks[count - 1].rows;
    } else {
      blocks[count++] = {static_cast<int32_t>(row), 1};
    }
  }
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    withType(s.cache_dtype, [&](auto c) {
      using C = decltype(c);
      parallel(poolOf(stream), count * s.heads, [&](int64_t part, int32_t worker) {
        // Heads one after the other: their keys and values stay in a core's cache. The last block sees most.
        int64_t head = part / count;
        Block block = blocks[count - 1 - part % count];
        if (block.rows == 0) {
          T *target = static_cast<T *>(out) + block.row * s.out_stride + head * s.head_size;
          for (int64_t d = 0; d < s.head_size; ++d) target[d] = T{};
          return;
        }
        Scratch scratch(deviceOf(stream).scratch(worker), padded(s.head_size));
        attend(paged, block, head, static_cast<const T *>(q), static_cast<const C *>(key_pages),
               static_cast<const C *>(value_pages), scratch, static_cast<T *>(out));
      });
    });
  });
  return refused < 0 ? SN_OK : paged.refuse(refused, "paged_attention");
}

}  // namespace sn::cpu::SN_ISA
