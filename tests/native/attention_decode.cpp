#include "attention.h"

using namespace sn::testing;

namespace {

struct Case {
  int64_t batch, queries, heads, kvHeads, headSize, capacity, window, gap;
};

constexpr Case kCases[] = {
    {1, 1, 1, 1, 1, 1, 0, 0},       {3, 1, 4, 4, 64, 50, 0, 0},  {2, 1, 6, 2, 17, 130, 0, 5},
    {2, 1, 2, 2, 32, 300, 40, 0},   {2, 3, 2, 1, 40, 70, 0, 3},  {2, 65, 2, 2, 64, 200, 0, 0},
    {1, 130, 2, 1, 24, 190, 33, 0}, {1, 1, 1, 1, 256, 90, 0, 0}, {1, 50, 1, 1, 256, 60, 0, 0},
    {2, 4, 2, 2, 8, 9, 2, 0},
};

sn_cache_shape shapeOf(const Case &c, sn_dtype dtype) {
  int64_t kv = c.kvHeads * c.headSize + c.gap, q = c.heads * c.headSize + c.gap;
  return {c.batch, c.queries, c.heads, c.kvHeads, c.headSize, c.capacity, q, kv, kv, q, dtype, c.window, 0};
}

// The place of a cached element.
size_t cached(const sn_cache_shape &s, int64_t b, int64_t h, int64_t j, int64_t d) {
  return static_cast<size_t>(((b * s.kv_heads + h) * s.capacity + j) * s.head_size + d);
}

Ints lengthsOf(const sn_cache_shape &s) {
  auto lengths = Numbers(9).below(s.batch, static_cast<int32_t>(s.capacity - s.queries + 1));
  lengths[0] = static_cast<int32_t>(s.capacity - s.queries);
  return lengths;
}

}  // namespace

TEST_CASE("cache append writes behind each sequence's length and nowhere else") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (const auto &c : kCases) {
      auto s = shapeOf(c, dtype);
      auto lengths = lengthsOf(s);
      int64_t size = s.batch * s.kv_heads * s.capacity * s.head_size;
      Tensor k(dtype, Numbers(1).normal(s.batch * s.queries * s.k_stride));
      Tensor v(dtype, Numbers(2).normal(s.batch * s.queries * s.v_stride));
      Tensor keysBefore(dtype, Numbers(3).normal(size)), valuesBefore(dtype, Numbers(4).normal(size));
      auto expectedKeys = keysBefore.values(), expectedValues = valuesBefore.values();
      for (int64_t b = 0; b < s.batch; ++b) {
        for (int64_t i = 0; i < s.queries; ++i) {
          for (int64_t column = 0; column < s.kv_heads * s.head_size; ++column) {
            auto from = static_cast<size_t>((b * s.queries + i) * s.k_stride + column);
            auto to = cached(s, b, column / s.head_size, lengths[static_cast<size_t>(b)] + i, column % s.head_size);
            expectedKeys[to] = k[from];
            expectedValues[to] = v[from];
          }
        }
      }
      everywhere([&](Machine &on) {
        Tensor keys = keysBefore, values = valuesBefore;
        REQUIRE(sn_cache_append(on.stream, &s, lengths.data(), k, v, keys, values) == SN_OK);
        CHECK(keys.values() == expectedKeys);
        CHECK(values.values() == expectedValues);
      });
    }
  }
}

TEST_CASE("attention decode equals attention in double over what each sequence's cache holds") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (const auto &c : kCases) {
      auto s = shapeOf(c, dtype);
      auto lengths = lengthsOf(s);
      int64_t size = s.batch * s.kv_heads * s.capacity * s.head_size;
      auto keyValues = Numbers(1).normal(size), valueValues = Numbers(2).normal(size);
      // Behind the filled positions lies what must not be read.
      for (int64_t b = 0; b < s.batch; ++b) {
        for (int64_t h = 0; h < s.kv_heads; ++h) {
          for (int64_t j = lengths[static_cast<size_t>(b)] + s.queries; j < s.capacity; ++j) {
            for (int64_t d = 0; d < s.head_size; ++d) {
              keyValues[cached(s, b, h, j, d)] = valueValues[cached(s, b, h, j, d)] = NAN;
            }
          }
        }
      }
      Tensor q(dtype, Numbers(3).normal(s.batch * s.queries * s.q_stride)), keys(dtype, keyValues);
      Tensor values(dtype, valueValues);

      std::vector<double> expected(static_cast<size_t>(s.batch * s.queries * s.out_stride), NAN);
      for (int64_t b = 0; b < s.batch; ++b) {
        int64_t filled = lengths[static_cast<size_t>(b)] + s.queries, width = s.kv_heads * s.head_size;
        std::vector<double> ownQ, ownK, ownV;
        for (int64_t i = 0; i < s.queries * s.q_stride; ++i) {
          ownQ.push_back(q[static_cast<size_t>(b * s.queries * s.q_stride + i)]);
        }
        for (int64_t i = 0; i < filled * width; ++i) {
          auto from = cached(s, b, i % width / s.head_size, i / width, i % s.head_size);
          ownK.push_back(keys[from]);
          ownV.push_back(values[from]);
        }
        AttentionLayout at{{1,
                            s.queries,
                            filled,
                            s.heads,
                            s.kv_heads,
                            s.head_size,
                            s.q_stride,
                            width,
                            width,
                            s.out_stride,
                            dtype,
                            1,
                            s.window,
                            0,
                            0,
                            {}}};
        auto out = attentionForward(at, ownQ, ownK, ownV).out;
        std::copy(out.begin(), out.end(), expected.begin() + b * s.queries * s.out_stride);
      }
      CAPTURE(s.queries);
      CAPTURE(s.head_size);
      everywhere([&](Machine &on) {
        Tensor out(dtype, s.batch * s.queries * s.out_stride);
        REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, keys, values, out, nullptr) == SN_OK);
        checkClose(out, expected, 1e-5, 3e-6);
        on.same(out);
      });
    }
  }
}

TEST_CASE("a batch decodes each sequence to the same bits as it would alone") {
  everywhere([](Machine &on) {
    for (const auto &c : kCases) {
      auto s = shapeOf(c, SN_F32);
      auto lengths = lengthsOf(s);
      int64_t size = s.kv_heads * s.capacity * s.head_size, qSize = s.queries * s.q_stride;
      Tensor q(SN_F32, Numbers(1).normal(s.batch * qSize)), keys(SN_F32, Numbers(2).normal(s.batch * size));
      Tensor values(SN_F32, Numbers(3).normal(s.batch * size)), out(SN_F32, s.batch * s.queries * s.out_stride);
      REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, keys, values, out, nullptr) == SN_OK);
      auto single = s;
      single.batch = 1;
      Tensor alone(SN_F32, s.queries * s.out_stride);
      for (int64_t b = 0; b < s.batch; ++b) {
        REQUIRE(sn_attention_decode(on.stream, &single, lengths.data() + b, q.floats() + b * qSize,
                                    keys.floats() + b * size, values.floats() + b * size, alone, nullptr) == SN_OK);
        CHECK(std::memcmp(alone.floats(), out.floats() + b * s.queries * s.out_stride, alone.bytes().size()) == 0);
      }
    }
  });
}

TEST_CASE("positions that the cache has no room for are refused") {
  everywhere([](Machine &on) {
    auto s = shapeOf({2, 3, 1, 1, 4, 8, 0, 0}, SN_F32);
    Tensor q(SN_F32, 24), cache(SN_F32, 64), out(SN_F32, 24);
    for (int32_t length : {6, -1, INT32_MAX}) {
      Ints lengths{0, length};
      CHECK(sn_cache_append(on.stream, &s, lengths.data(), q, q, cache, cache) == SN_BAD_ARGUMENT);
      CHECK(sn_attention_decode(on.stream, &s, lengths.data(), q, cache, cache, out, nullptr) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()).find("sequence 1 has " + std::to_string(length)) != std::string::npos);
    }
  });
}
