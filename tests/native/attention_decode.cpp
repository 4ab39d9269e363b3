#include "attention.h"

using namespace sn::testing;

namespace {

struct Case {
  int64_t batch, queries, heads, kvHeads, headSize, capacity, window, gap;
};

constexpr Case kCases[] = {
    {1, 1, 1, 1, 1, 1, 0, 0},
    {3, 1, 4, 4, 64, 50, 0, 0},
    {2, 1, 6, 2, 17, 130, 0, 5},
    {2, 1, 2, 2, 32, 300, 40, 0},
    {2, 3, 2, 1, 40, 70, 0, 3},
    {2, 65, 2, 2, 64, 200, 0, 0},
    {1, 130, 2, 1, 24, 190, 33, 0},
    {1, 1, 1, 1, 256, 90, 0, 0},
    {1, 50, 1, 1, 256, 60, 0, 0},
    {2, 4, 2, 2, 8, 9, 2, 0},
    // Several parts of a GPU's cache, all head sizes that it knows, queries that share keys, and what is no whole
    // piece.
    {2, 1, 2, 1, 64, 700, 0, 8},
    {1, 1, 8, 1, 128, 400, 130, 0},
    {2, 2, 3, 1, 80, 260, 65, 8},
    {1, 8, 2, 2, 32, 520, 0, 1},
    {1, 9, 2, 1, 32, 129, 64, 8},
    {3, 1, 2, 2, 200, 150, 0, 4},
    {1, 3, 1, 1, 96, 1100, 0, 0},
};

// Zeroed memory of the size that the operation wants.
Bytes workspaceOf(const Machine &on, const sn_cache_shape &s) {
  int64_t bytes = -1;
  REQUIRE(sn_attention_decode_workspace(on.device, &s, &bytes) == SN_OK);
  REQUIRE(bytes >= 0);
  return Bytes(static_cast<size_t>(bytes));
}

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
      auto sizes = expected, rounded = expected;
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
                            nullptr,
                            nullptr,
                            0,
                            0,
                            {}}};
        auto exact = attentionForward(at, ownQ, ownK, ownV),
             toTensorCores = attentionForward(at, ownQ, ownK, ownV, toBf16);
        auto place = b * s.queries * s.out_stride;
        std::copy(exact.out.begin(), exact.out.end(), expected.begin() + place);
        std::copy(exact.outSize.begin(), exact.outSize.end(), sizes.begin() + place);
        std::copy(toTensorCores.out.begin(), toTensorCores.out.end(), rounded.begin() + place);
      }
      CAPTURE(s.queries);
      CAPTURE(s.head_size);
      everywhere([&](Machine &on) {
        auto workspace = workspaceOf(on, s);
        Tensor out(dtype, s.batch * s.queries * s.out_stride), again = out;
        REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, keys, values, out,
                                    workspace.data()) == SN_OK);
        // More queries than a few are a matter of tensor cores.
        if (on.isCuda() && dtype == SN_BF16 && s.queries > 8) {
          checkRounded(out, expected, sizes, rounded);
        } else {
          checkClose(out, expected, 1e-5, 3e-6);
        }
        on.same(out);
        REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, keys, values, again,
                                    workspace.data()) == SN_OK);
        CHECK(again.bytes() == out.bytes());
      });
    }
  }
}

TEST_CASE("keys and values that decoding appends itself give the bits, and the cache, of appending them before") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    everywhere([&](Machine &on) {
      for (const auto &c : kCases) {
        auto s = shapeOf(c, dtype);
        CAPTURE(dtype);
        CAPTURE(s.queries);
        CAPTURE(s.head_size);
        auto lengths = lengthsOf(s);
        int64_t size = s.batch * s.kv_heads * s.capacity * s.head_size, rows = s.batch * s.queries;
        Tensor q(dtype, Numbers(1).normal(rows * s.q_stride)), k(dtype, Numbers(2).normal(rows * s.k_stride));
        Tensor v(dtype, Numbers(3).normal(rows * s.v_stride)), keys(dtype, Numbers(4).normal(size));
        Tensor values(dtype, Numbers(5).normal(size)), out(dtype, rows * s.out_stride);
        Tensor keysBefore = keys, valuesBefore = values, outBefore = out;
        auto workspace = workspaceOf(on, s);
        REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, k, v, keys, values, out, workspace.data()) ==
                SN_OK);
        REQUIRE(sn_cache_append(on.stream, &s, lengths.data(), k, v, keysBefore, valuesBefore) == SN_OK);
        REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, keysBefore, valuesBefore,
                                    outBefore, workspace.data()) == SN_OK);
        REQUIRE(sn_synchronize(on.stream) == SN_OK);
        CHECK(out.bytes() == outBefore.bytes());
        CHECK(keys.bytes() == keysBefore.bytes());
        CHECK(values.bytes() == valuesBefore.bytes());
        CHECK(sn_attention_decode(on.stream, &s, lengths.data(), q, k, nullptr, keys, values, out, workspace.data()) ==
              SN_BAD_ARGUMENT);
      }
    });
  }
}

TEST_CASE("a batch decodes each sequence to the same bits as it would alone") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    everywhere([&](Machine &on) {
      for (const auto &c : kCases) {
        if (c.batch == 1) continue;
        auto s = shapeOf(c, dtype);
        auto lengths = lengthsOf(s);
        int64_t size = s.kv_heads * s.capacity * s.head_size, qSize = s.queries * s.q_stride;
        int64_t outSize = s.queries * s.out_stride;
        Tensor q(dtype, Numbers(1).normal(s.batch * qSize)), keys(dtype, Numbers(2).normal(s.batch * size));
        Tensor values(dtype, Numbers(3).normal(s.batch * size)), out(dtype, s.batch * outSize), alone(dtype, outSize);
        // One workspace serves them all.
        auto workspace = workspaceOf(on, s);
        REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, keys, values, out,
                                    workspace.data()) == SN_OK);
        auto single = s;
        single.batch = 1;
        auto at = [&](Tensor &tensor, int64_t element) {
          return static_cast<unsigned char *>(static_cast<void *>(tensor)) + element * bytesOf(dtype);
        };
        for (int64_t b = 0; b < s.batch; ++b) {
          REQUIRE(sn_attention_decode(on.stream, &single, lengths.data() + b, at(q, b * qSize), nullptr, nullptr,
                                      at(keys, b * size), at(values, b * size), alone, workspace.data()) == SN_OK);
          CHECK(std::memcmp(at(alone, 0), at(out, b * outSize), alone.bytes().size()) == 0);
        }
      }
    });
  }
}

TEST_CASE("a recorded decode follows the lengths that it finds at each replay") {
  if (cudaDevice() == nullptr) return;  // a CPU does not record
  everywhere([](Machine &on) {
    auto s = shapeOf({2, 1, 2, 1, 64, 700, 0, 0}, SN_BF16);
    int64_t size = s.batch * s.kv_heads * s.capacity * s.head_size, outSize = s.batch * s.queries * s.out_stride;
    Tensor q(SN_BF16, Numbers(1).normal(s.batch * s.queries * s.q_stride)), keys(SN_BF16, Numbers(2).normal(size));
    Tensor values(SN_BF16, Numbers(3).normal(size)), out(SN_BF16, outSize), direct(SN_BF16, outSize);
    auto workspace = workspaceOf(on, s);
    Ints lengths{0, 0};
    sn_recording *recording = nullptr;
    REQUIRE(sn_capture_begin(on.stream) == SN_OK);
    REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, keys, values, out,
                                workspace.data()) == SN_OK);
    REQUIRE(sn_capture_end(on.stream, &recording) == SN_OK);
    for (int32_t length : {0, 1, 127, 128, 300, 699}) {
      lengths = {length, 699 - length};
      REQUIRE(sn_replay(on.stream, recording) == SN_OK);
      REQUIRE(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, keys, values, direct,
                                  workspace.data()) == SN_OK);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      CHECK(out.bytes() == direct.bytes());
    }
    sn_recording_destroy(recording);
  });
}

TEST_CASE("positions that the cache has no room for are refused") {
  for (int64_t queries : {3, 20}) {
    everywhere([&](Machine &on) {
      auto s = shapeOf({3, queries, 1, 1, 4, queries + 5, 0, 0}, SN_F32);
      int64_t rows = queries * 4;
      Tensor q(SN_F32, Numbers(1).normal(3 * rows)), cache(SN_F32, 3 * (queries + 5) * 4), out(SN_F32, 3 * rows);
      auto workspace = workspaceOf(on, s);
      for (int32_t length : {6, -1, INT32_MAX}) {
        // The first sequence without room is named.
        Ints lengths{0, length, 7};
        std::string said = ": sequence 1 has " + std::to_string(length) + " positions; with " +
                           std::to_string(queries) + " more they exceed the cache's " + std::to_string(queries + 5);
        CHECK(on.status(sn_cache_append(on.stream, &s, lengths.data(), q, q, cache, cache)) == SN_BAD_ARGUMENT);
        CHECK(sn_last_error() == "cache_append" + said);
        CHECK(on.status(sn_attention_decode(on.stream, &s, lengths.data(), q, nullptr, nullptr, cache, cache, out,
                                            workspace.data())) == SN_BAD_ARGUMENT);
        CHECK(sn_last_error() == "attention_decode" + said);
        CHECK(on.status(SN_OK) == SN_OK);
      }
      // Neither of them touches what belongs to the sequences without room.
      for (auto i = static_cast<size_t>(rows); i < out.size(); ++i) CHECK(std::isnan(out[i]));
      for (auto i = static_cast<size_t>(rows + 20); i < cache.size(); ++i) CHECK(std::isnan(cache[i]));
    });
  }
}
