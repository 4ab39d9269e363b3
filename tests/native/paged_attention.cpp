// sn_paged_append and sn_paged_attention: rows of several sequences, whose pages lie in any order and are shared,
// against the formula in double precision; and that no row's bits depend on the company that it has.
#include <algorithm>
#include <numeric>

#include "testing.h"

using namespace sn::testing;

namespace {

struct Row {
  int32_t slot, position;
};

// The dtypes of queries and of pages that go together.
struct Dtypes {
  sn_dtype rows, pages;
};
constexpr Dtypes kDtypes[] = {{SN_F32, SN_F32}, {SN_F32, SN_BF16}, {SN_BF16, SN_BF16}};

struct Case {
  int64_t heads, kvHeads, headSize, pageSize, window, gap;
  std::vector<int32_t> lengths;  // of each sequence
  std::vector<Row> rows;
};

void addRun(std::vector<Row> *rows, int32_t slot, int32_t first, int32_t last) {
  for (int32_t position = first; position <= last; ++position) rows->push_back({slot, position});
}

// Runs of every kind: whole ones, such as begin and end anywhere, single rows, rows against the order, padding between.
// On an emulated GPU each row takes its time.
std::vector<Row> rowsOf(const std::vector<int32_t> &lengths) {
  const int32_t longest = cudaDevice() == nullptr ? 70 : 9;
  std::vector<Row> rows;
  for (size_t s = 0; s < lengths.size(); ++s) {
    int32_t last = lengths[s] - 1, slot = static_cast<int32_t>(s);
    rows.push_back({-1, 5});
    addRun(&rows, slot, std::max(last - longest, 0), last);
    rows.push_back({slot, last / 2});
    rows.push_back({slot, 0});
    addRun(&rows, slot, last / 3, std::min(last / 3 + 4, last));
  }
  for (size_t s = 0; s < lengths.size(); ++s) rows.push_back({static_cast<int32_t>(s), lengths[s] - 1});
  return rows;
}

std::vector<Case> cases() {
  std::vector<Case> all = {
      {1, 1, 1, 1, 0, 0, {1, 3}, {}},       {3, 3, 7, 7, 0, 3, {40, 7, 15}, {}},
      {2, 1, 33, 16, 0, 1, {65, 130}, {}},  {4, 2, 64, 16, 0, 0, {300, 64, 128}, {}},
      {1, 1, 64, 32, 70, 8, {290, 66}, {}}, {2, 2, 129, 32, 0, 0, {97}, {}},
      {1, 1, 256, 7, 5, 4, {80, 2}, {}},    {6, 2, 40, 1, 33, 0, {50, 129}, {}},
      {2, 2, 16, 16, 1, 0, {20}, {}},       {1, 1, 128, 16, 0, 8, {200}, {}},
      {2, 1, 32, 16, 0, 0, {600, 513}, {}},
  };
  for (auto &c : all) c.rows = rowsOf(c.lengths);
  return all;
}

// Sequences' keys and values in pages of any order. The first two share those pages that both fill. What no position
// fills is poison, and where there is a window pages before what any row sees are gone.
class Cache {
 public:
  Cache(const Case &c, Dtypes dtypes, uint32_t order) : keys_(dtypes.pages, 0), values_(dtypes.pages, 0) {
    auto sequences = static_cast<int64_t>(c.lengths.size());
    int64_t longest = *std::max_element(c.lengths.begin(), c.lengths.end());
    s.rows = static_cast<int64_t>(c.rows.size());
    s.sequences = sequences;
    s.heads = c.heads;
    s.kv_heads = c.kvHeads;
    s.head_size = c.headSize;
    s.page_size = c.pageSize;
    s.table_stride = (longest + c.pageSize - 1) / c.pageSize + 1;
    s.pages = sequences * s.table_stride + 3;
    s.q_stride = s.k_stride = s.v_stride = (c.heads + 2 * c.kvHeads) * c.headSize + c.gap;
    s.out_stride = c.heads * c.headSize + c.gap;
    s.dtype = dtypes.rows;
    s.cache_dtype = dtypes.pages;
    s.window = c.window;

    std::vector<int32_t> numbers(static_cast<size_t>(s.pages));
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), std::mt19937(order));
    tables.assign(static_cast<size_t>(s.sequences * s.table_stride), -1);
    int64_t size = s.pages * s.kv_heads * s.page_size * s.head_size, next = 0;
    keys_ = Tensor(dtypes.pages, size);
    values_ = Tensor(dtypes.pages, size);
    for (int32_t b = 0; b < s.sequences; ++b) {
      int64_t length = c.lengths[static_cast<size_t>(b)], shared = b == 1 ? std::min<int64_t>(length, c.lengths[0]) : 0;
      for (int64_t page = 0; page * s.page_size < length; ++page) {
        bool isShared = (page + 1) * s.page_size <= shared;
        pageOf(b, page) = isShared ? pageOf(0, page) : numbers[static_cast<size_t>(next++)];
      }
      // A position's numbers are its own whatever page it has; a shared one's are the first sequence's.
      for (int64_t position = 0; position < length; ++position) {
        bool isShared = (position / s.page_size + 1) * s.page_size <= shared;
        auto seed = static_cast<uint32_t>(1000 * (isShared ? 0 : b) + position);
        auto drawn = Numbers(seed).normal(2 * s.kv_heads * s.head_size);
        for (int64_t i = 0; i < s.kv_heads * s.head_size; ++i) {
          size_t at = place({b, static_cast<int32_t>(position)}, i / s.head_size, i % s.head_size);
          keys_.set(at, drawn[static_cast<size_t>(2 * i)]);
          values_.set(at, drawn[static_cast<size_t>(2 * i + 1)]);
        }
      }
    }
    if (s.window > 0) forget(c);
  }

  int32_t &pageOf(int32_t slot, int64_t index) { return tables[static_cast<size_t>(slot * s.table_stride + index)]; }

  // Where an element of a position lies.
  size_t place(Row row, int64_t head, int64_t d) {
    int64_t page = pageOf(row.slot, row.position / s.page_size);
    return static_cast<size_t>(((page * s.kv_heads + head) * s.page_size + row.position % s.page_size) * s.head_size +
                               d);
  }

  int64_t firstSeen(Row row) const {
    return s.window > 0 && row.position >= s.window ? row.position - s.window + 1 : 0;
  }

  sn_status attend(const Machine &on, const std::vector<Row> &rows, Tensor &q, Tensor &out, Bytes &workspace) {
    Ints slots, positions;
    for (auto row : rows) {
      slots.push_back(row.slot);
      positions.push_back(row.position);
    }
    s.rows = static_cast<int64_t>(rows.size());
    int64_t bytes = -1;
    REQUIRE(sn_paged_attention_workspace(on.device, &s, &bytes) == SN_OK);
    REQUIRE(bytes >= 0);
    if (static_cast<size_t>(bytes) > workspace.size()) workspace.assign(static_cast<size_t>(bytes), 0);
    return on.status(sn_paged_attention(on.stream, &s, slots.data(), positions.data(), tables.data(), q, nullptr,
                                        nullptr, keys_, values_, out, workspace.data()));
  }

  Tensor &keys() { return keys_; }
  Tensor &values() { return values_; }

  sn_paged_shape s{};
  Ints tables;

 private:
  // Takes from the tables what only positions without a row in this case would see.
  void forget(const Case &c) {
    for (int32_t b = 0; b < s.sequences; ++b) {
      int64_t first = s.table_stride;
      for (auto row : c.rows) {
        if (row.slot == b) first = std::min(first, firstSeen(row) / s.page_size);
      }
      for (int64_t i = 0; i < first; ++i) pageOf(b, i) = -7;
    }
  }

  Tensor keys_, values_;
};

// The formula; a row without a sequence gives zeros, what lies between rows stays poison.
std::vector<double> reference(Cache &cache, const std::vector<Row> &rows, const Tensor &q) {
  const auto &s = cache.s;
  std::vector<double> out(rows.size() * static_cast<size_t>(s.out_stride), NAN);
  double scale = s.scale == 0 ? 1 / std::sqrt(static_cast<double>(s.head_size)) : static_cast<double>(s.scale);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t h = 0; h < s.heads; ++h) {
      double *target = &out[i * static_cast<size_t>(s.out_stride) + static_cast<size_t>(h * s.head_size)];
      std::fill_n(target, s.head_size, 0.0);
      if (rows[i].slot < 0) continue;
      int64_t shared = h / (s.heads / s.kv_heads);
      std::vector<double> p;
      int64_t first = cache.firstSeen(rows[i]);
      for (int64_t j = first; j <= rows[i].position; ++j) {
        size_t key = cache.place({rows[i].slot, static_cast<int32_t>(j)}, shared, 0);
        double score = 0;
        for (int64_t d = 0; d < s.head_size; ++d) {
          score += q[i * static_cast<size_t>(s.q_stride) + static_cast<size_t>(h * s.head_size + d)] *
                   cache.keys()[key + static_cast<size_t>(d)];
        }
        p.push_back(scale * score);
      }
      double most = *std::max_element(p.begin(), p.end()), total = 0;
      for (double &x : p) total += x = std::exp(x - most);
      for (int64_t j = first; j <= rows[i].position; ++j) {
        size_t value = cache.place({rows[i].slot, static_cast<int32_t>(j)}, shared, 0);
        for (int64_t d = 0; d < s.head_size; ++d) {
          target[d] += p[static_cast<size_t>(j - first)] / total * cache.values()[value + static_cast<size_t>(d)];
        }
      }
    }
  }
  return out;
}

// Queries of as many rows; those of equal rows are equal.
Tensor queriesOf(const sn_paged_shape &s, const std::vector<Row> &rows) {
  Tensor q(s.dtype, static_cast<int64_t>(rows.size()) * s.q_stride);
  for (size_t i = 0; i < rows.size(); ++i) {
    auto drawn = Numbers(static_cast<uint32_t>(7777 + 1000 * rows[i].slot + rows[i].position)).normal(s.q_stride);
    for (size_t j = 0; j < drawn.size(); ++j) q.set(i * drawn.size() + j, drawn[j]);
  }
  return q;
}

// The bytes of a row's heads.
std::vector<unsigned char> bitsOf(const Tensor &out, const sn_paged_shape &s, size_t row) {
  size_t element = bytesOf(out.dtype());
  auto first = out.bytes().begin() + static_cast<std::ptrdiff_t>(row * static_cast<size_t>(s.out_stride) * element);
  return {first, first + static_cast<std::ptrdiff_t>(static_cast<size_t>(s.heads * s.head_size) * element)};
}

}  // namespace

TEST_CASE("paged attention equals attention in double over what each row's sequence has up to it") {
  for (auto dtypes : kDtypes) {
    for (const auto &c : cases()) {
      CAPTURE(c.headSize);
      CAPTURE(c.pageSize);
      Cache cache(c, dtypes, 1);
      cache.s.scale = c.gap == 0 ? 0.0f : 0.2f;
      Tensor q = queriesOf(cache.s, c.rows);
      auto expected = reference(cache, c.rows, q);
      everywhere([&](Machine &on) {
        Bytes workspace;
        Tensor out(dtypes.rows, static_cast<int64_t>(expected.size())), again = out;
        REQUIRE(cache.attend(on, c.rows, q, out, workspace) == SN_OK);
        checkClose(out, expected, 1e-5, 4e-6);
        on.same(out);
        // The workspace is as it was.
        REQUIRE(cache.attend(on, c.rows, q, again, workspace) == SN_OK);
        CHECK(again.bytes() == out.bytes());
      });
    }
  }
}

TEST_CASE("a row's bits are the same alone, in any company, in any run, and on any pages") {
  for (auto dtypes : kDtypes) {
    everywhere([&](Machine &on) {
      for (auto c : cases()) {
        CAPTURE(c.headSize);
        CAPTURE(c.pageSize);
        Cache cache(c, dtypes, 1), elsewhere(c, dtypes, 2);
        // What the last position holds, however bad, is nothing to those before it.
        for (Cache *each : {&cache, &elsewhere}) {
          auto last = c.lengths[0] - 1;
          for (int64_t d = 0; last > 0 && d < c.headSize; ++d) {
            each->values().set(each->place({0, last}, 0, d), d % 2 == 0 ? INFINITY : NAN);
          }
        }
        Bytes workspace;
        auto resultOf = [&](Cache &of, const std::vector<Row> &rows) {
          Tensor q = queriesOf(of.s, rows);
          Tensor out(dtypes.rows, static_cast<int64_t>(rows.size()) * of.s.out_stride);
          REQUIRE(of.attend(on, rows, q, out, workspace) == SN_OK);
          return out;
        };
        Tensor together = resultOf(cache, c.rows);
        auto checkSame = [&](const Tensor &out, size_t row, size_t of) {
          bool alike = bitsOf(out, cache.s, row) == bitsOf(together, cache.s, of);
          CHECK_MESSAGE(alike, "row ", of, ", position ", c.rows[of].position);
        };

        Tensor moved = resultOf(elsewhere, c.rows);
        for (size_t i = 0; i < c.rows.size(); ++i) checkSame(moved, i, i);

        // No two neighbours in order.
        auto reversed = c.rows;
        std::reverse(reversed.begin(), reversed.end());
        Tensor backwards = resultOf(cache, reversed);
        for (size_t i = 0; i < c.rows.size(); ++i) checkSame(backwards, c.rows.size() - 1 - i, i);

        // In chunks: of each some rows of a run.
        for (size_t chunk : {on.isCuda() ? 13 : 3, 29}) {
          for (size_t first = 0; first < c.rows.size(); first += chunk) {
            auto begin = c.rows.begin() + static_cast<std::ptrdiff_t>(first);
            size_t count = std::min(chunk, c.rows.size() - first);
            Tensor part = resultOf(cache, {begin, begin + static_cast<std::ptrdiff_t>(count)});
            for (size_t i = 0; i < count; ++i) checkSame(part, i, first + i);
          }
        }
        for (size_t i = 0; i < c.rows.size(); i += on.isCuda() ? 5 : 1) checkSame(resultOf(cache, {c.rows[i]}), 0, i);
      }
    });
  }
}

TEST_CASE("rows without a place among the pages are refused: zeros, while others are computed") {
  Case c{2, 1, 24, 16, 0, 1, {40, 33}, {}};
  c.rows = rowsOf(c.lengths);
  for (auto dtypes : kDtypes) {
    Cache cache(c, dtypes, 1);
    Tensor q = queriesOf(cache.s, c.rows);
    auto expected = reference(cache, c.rows, q);
    // In the middle of a run.
    const size_t bad = 25;
    for (int64_t i = 0; i < 2 * c.headSize; ++i) {
      expected[bad * static_cast<size_t>(cache.s.out_stride) + static_cast<size_t>(i)] = 0;
    }
    auto capacity = static_cast<int32_t>(cache.s.table_stride * cache.s.page_size);
    everywhere([&](Machine &on) {
      Bytes workspace;
      for (auto wrong : {Row{-2, 3}, Row{2, 3}, Row{INT32_MAX, 0}, Row{0, -1}, Row{1, capacity}, Row{1, INT32_MAX},
                         Row{0, capacity - 1}}) {
        auto rows = c.rows;
        rows[bad] = wrong;
        Tensor out(dtypes.rows, static_cast<int64_t>(expected.size()));
        REQUIRE(cache.attend(on, rows, q, out, workspace) == SN_BAD_ARGUMENT);
        CHECK(std::string(sn_last_error()) == "paged_attention: row 25 is position " + std::to_string(wrong.position) +
                                                  " of sequence " + std::to_string(wrong.slot) +
                                                  "; it has no page there");
        CHECK(on.status(SN_OK) == SN_OK);
        checkClose(out, expected, 1e-5, 4e-6);
      }
    });
  }
}

TEST_CASE("a page that is none refuses the rows that would see it, and no others") {
  Case c{1, 1, 8, 4, 9, 0, {40}, {}};
  addRun(&c.rows, 0, 10, 39);
  Cache cache(c, kDtypes[0], 1);
  Tensor q = queriesOf(cache.s, c.rows);
  auto expected = reference(cache, c.rows, q);
  for (size_t i = 0; i < c.rows.size(); ++i) {
    // Positions 20 to 23 are on page 5.
    bool sees = c.rows[i].position >= 20 && cache.firstSeen(c.rows[i]) <= 23;
    for (size_t d = 0; sees && d < 8; ++d) expected[8 * i + d] = 0;
  }
  for (int32_t page : {-1, static_cast<int32_t>(cache.s.pages), INT32_MAX}) {
    cache.pageOf(0, 5) = page;
    everywhere([&](Machine &on) {
      Bytes workspace;
      Tensor out(SN_F32, static_cast<int64_t>(expected.size()));
      CHECK(cache.attend(on, c.rows, q, out, workspace) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()) ==
            "paged_attention: row 10 is position 20 of sequence 0; it has no page there");
      CHECK(on.status(SN_OK) == SN_OK);
      checkClose(out, expected, 1e-5, 4e-6);
    });
  }
}

TEST_CASE("paged append writes each row to its place and nowhere else, and nothing of a row that has none") {
  for (auto dtypes : kDtypes) {
    for (const auto &c : cases()) {
      Cache cache(c, dtypes, 1);
      auto &s = cache.s;
      // Each sequence's last positions, some padding; then what is out of range.
      std::vector<Row> rows;
      for (int32_t b = 0; b < s.sequences; ++b) {
        int32_t length = c.lengths[static_cast<size_t>(b)];
        // Not two rows to one place: the first position is the one that two sequences may share here.
        addRun(&rows, b, std::max(length - 3, b == 1 ? 1 : 0), length - 1);
        rows.push_back({-1, 0});
      }
      size_t good = rows.size();
      auto capacity = static_cast<int32_t>(s.table_stride * s.page_size);
      auto sequences = static_cast<int32_t>(s.sequences);
      for (auto bad : {Row{-2, 0}, Row{sequences, 0}, Row{0, -1}, Row{0, capacity}, Row{0, capacity - 1}}) {
        rows.push_back(bad);
      }
      Ints slots, positions;
      for (auto row : rows) {
        slots.push_back(row.slot);
        positions.push_back(row.position);
      }
      auto count = static_cast<int64_t>(rows.size());
      Tensor k(s.dtype, Numbers(1).normal(count * s.k_stride)), v(s.dtype, Numbers(2).normal(count * s.v_stride));
      Tensor keysBefore = cache.keys(), valuesBefore = cache.values();
      for (size_t i = 0; i < keysBefore.size(); ++i) {
        keysBefore.set(i, static_cast<double>(i % 100));
        valuesBefore.set(i, static_cast<double>(i % 90));
      }
      Tensor expectedKeys = keysBefore, expectedValues = valuesBefore;
      for (size_t i = 0; i < good; ++i) {
        for (int64_t column = 0; rows[i].slot >= 0 && column < s.kv_heads * s.head_size; ++column) {
          size_t from = i * static_cast<size_t>(s.k_stride) + static_cast<size_t>(column);
          size_t to = cache.place(rows[i], column / s.head_size, column % s.head_size);
          expectedKeys.set(to, k[from]);
          expectedValues.set(to, v[from]);
        }
      }
      CAPTURE(s.head_size);
      everywhere([&](Machine &on) {
        Tensor keys = keysBefore, values = valuesBefore;
        s.rows = static_cast<int64_t>(good);
        REQUIRE(on.status(sn_paged_append(on.stream, &s, slots.data(), positions.data(), cache.tables.data(), k, v,
                                          keys, values)) == SN_OK);
        CHECK(keys.bytes() == expectedKeys.bytes());
        CHECK(values.bytes() == expectedValues.bytes());
        keys = keysBefore;
        values = valuesBefore;
        s.rows = count;
        REQUIRE(on.status(sn_paged_append(on.stream, &s, slots.data(), positions.data(), cache.tables.data(), k, v,
                                          keys, values)) == SN_BAD_ARGUMENT);
        CHECK(std::string(sn_last_error()) ==
              "paged_append: row " + std::to_string(good) + " is position 0 of sequence -2; it has no page there");
        CHECK(on.status(SN_OK) == SN_OK);
        CHECK(keys.bytes() == expectedKeys.bytes());
        CHECK(values.bytes() == expectedValues.bytes());
      });
    }
  }
}

TEST_CASE("keys and values that paged attention appends itself give the bits, and the pages, of appending before") {
  for (auto dtypes : kDtypes) {
    for (const auto &c : cases()) {
      Cache cache(c, dtypes, 1);
      auto &s = cache.s;
      auto last = static_cast<int32_t>(s.sequences - 1);
      int32_t end = c.lengths[static_cast<size_t>(last)] - 1;
      auto before = [&](int32_t count) { return std::max(end - count, last == 1 ? 1 : 0); };
      // One row; rows of one sequence, together and apart; rows that no page is for; more than a kernel takes in.
      std::vector<std::vector<Row>> calls = {{{last, end}}, {{last, end}, {-1, 3}}};
      if (before(2) < end) calls.push_back({{last, end}, {last, before(2)}});
      calls.emplace_back();
      addRun(&calls.back(), last, before(6), end);
      calls.push_back({{last, end}, {static_cast<int32_t>(s.sequences), 0}, {0, 1 << 20}, {-3, 0}});
      calls.emplace_back();
      addRun(&calls.back(), last, before(20), end);
      for (const auto &rows : calls) {
        auto count = static_cast<int64_t>(rows.size());
        CAPTURE(s.head_size);
        CAPTURE(count);
        Ints slots, positions;
        for (auto row : rows) {
          slots.push_back(row.slot);
          positions.push_back(row.position);
        }
        s.rows = count;
        Tensor q(s.dtype, Numbers(1).normal(count * s.q_stride)), k(s.dtype, Numbers(2).normal(count * s.k_stride));
        Tensor v(s.dtype, Numbers(3).normal(count * s.v_stride));
        everywhere([&](Machine &on) {
          int64_t bytes = -1;
          REQUIRE(sn_paged_attention_workspace(on.device, &s, &bytes) == SN_OK);
          Bytes workspace(static_cast<size_t>(bytes));
          Tensor keys = cache.keys(), values = cache.values(), keysBefore = keys, valuesBefore = values;
          Tensor out(s.dtype, count * s.out_stride), outBefore = out;
          auto attend = [&](void *own, void *ownValues, Tensor &intoKeys, Tensor &intoValues, Tensor &to) {
            return on.status(sn_paged_attention(on.stream, &s, slots.data(), positions.data(), cache.tables.data(), q,
                                                own, ownValues, intoKeys, intoValues, to, workspace.data()));
          };
          auto appended = on.status(sn_paged_append(on.stream, &s, slots.data(), positions.data(), cache.tables.data(),
                                                    k, v, keysBefore, valuesBefore));
          auto expected = attend(nullptr, nullptr, keysBefore, valuesBefore, outBefore);
          CHECK(appended == expected);
          CHECK(attend(k, v, keys, values, out) == expected);
          CHECK(on.status(SN_OK) == SN_OK);
          CHECK(out.bytes() == outBefore.bytes());
          CHECK(keys.bytes() == keysBefore.bytes());
          CHECK(values.bytes() == valuesBefore.bytes());
          CHECK(attend(k, nullptr, keys, values, out) == SN_BAD_ARGUMENT);
        });
      }
    }
  }
}

TEST_CASE("a recorded paged attention follows the rows and tables that it finds at each replay") {
  if (cudaDevice() == nullptr) return;  // a CPU does not record
  Case c{2, 1, 64, 16, 0, 0, {700, 300}, {{0, 0}, {0, 1}, {0, 2}, {1, 0}}};
  everywhere([&](Machine &on) {
    Cache cache(c, {SN_F32, SN_BF16}, 1);
    auto &s = cache.s;
    Tensor q(SN_F32, Numbers(1).normal(4 * s.q_stride)), out(SN_F32, 4 * s.out_stride), direct = out;
    Ints slots{0, 0, 0, 1}, positions{0, 1, 2, 0};
    int64_t bytes = -1;
    REQUIRE(sn_paged_attention_workspace(on.device, &s, &bytes) == SN_OK);
    Bytes workspace(static_cast<size_t>(bytes));
    auto attend = [&](Tensor &to) {
      return sn_paged_attention(on.stream, &s, slots.data(), positions.data(), cache.tables.data(), q, nullptr, nullptr,
                                cache.keys(), cache.values(), to, workspace.data());
    };
    sn_recording *recording = nullptr;
    REQUIRE(sn_capture_begin(on.stream) == SN_OK);
    REQUIRE(attend(out) == SN_OK);
    REQUIRE(sn_capture_end(on.stream, &recording) == SN_OK);
    for (int32_t position : {1, 127, 200, 299}) {
      slots = {1, -1, 0, 0};
      positions = {position, 0, position + 300, position + 301};
      std::swap(cache.pageOf(0, 1), cache.pageOf(1, 0));
      REQUIRE(sn_replay(on.stream, recording) == SN_OK);
      REQUIRE(attend(direct) == SN_OK);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      CHECK(out.bytes() == direct.bytes());
      CHECK_FALSE(std::isnan(out[0]));
    }
    sn_recording_destroy(recording);
  });
}

TEST_CASE("paged operations refuse shapes that are none") {
  everywhere([](Machine &on) {
    sn_paged_shape good{};
    good.rows = good.sequences = good.pages = good.page_size = good.table_stride = 1;
    good.heads = 2;
    good.kv_heads = 1;
    good.head_size = 4;
    good.q_stride = good.out_stride = 8;
    good.k_stride = good.v_stride = 4;
    int64_t bytes = -1;
    CHECK(sn_paged_attention_workspace(on.device, &good, &bytes) == SN_OK);
    auto refused = [&](sn_status expected, auto &&change) {
      auto s = good;
      change(s);
      CHECK(sn_paged_attention_workspace(on.device, &s, &bytes) == expected);
    };
    refused(SN_BAD_SHAPE, [](auto &s) { s.rows = 0; });
    refused(SN_BAD_SHAPE, [](auto &s) { s.kv_heads = 3; });
    refused(SN_BAD_SHAPE, [](auto &s) { s.head_size = s.k_stride = s.v_stride = 257; });
    refused(SN_BAD_SHAPE, [](auto &s) { s.pages = int64_t{1} << 31; });
    refused(SN_BAD_SHAPE, [](auto &s) { s.q_stride = 7; });
    refused(SN_BAD_SHAPE, [](auto &s) { s.v_stride = 3; });
    refused(SN_BAD_SHAPE, [](auto &s) { s.window = -1; });
    refused(SN_BAD_ARGUMENT, [](auto &s) { s.scale = NAN; });
    refused(SN_BAD_DTYPE, [](auto &s) { s.dtype = SN_BF16; });
    good.cache_dtype = SN_BF16;
    CHECK(sn_paged_attention_workspace(on.device, &good, &bytes) == SN_OK);
  });
}
