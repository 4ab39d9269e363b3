#include "attention.h"

using namespace sn::testing;

namespace {

// On every machine: out and lse, twice the same, and nothing written between the rows.
void checkForward(const sn_attention_shape &shape, Tensor &q, Tensor &k, Tensor &v) {
  AttentionLayout at{shape};
  sn_dtype dtype = shape.dtype;
  auto expected = attentionForward(at, q, k, v), rounded = attentionForward(at, q, k, v, toBf16);
  CAPTURE(shape.queries);
  CAPTURE(shape.keys);
  CAPTURE(shape.head_size);
  everywhere([&](Machine &on) {
    Tensor out(dtype, at.outSize()), lse(SN_F32, at.rows());
    REQUIRE_MESSAGE(sn_attention_forward(on.stream, &shape, q, k, v, out, lse.floats()) == SN_OK,
                    std::string(sn_last_error()));
    REQUIRE_MESSAGE(sn_synchronize(on.stream) == SN_OK, std::string(sn_last_error()));
    if (on.isCuda() && dtype == SN_BF16) {
      checkRounded(out, expected.out, expected.outSize, rounded.out);
    } else {
      checkClose(out, expected.out, 1e-5, 3e-6);
    }
    checkClose(lse, expected.lse, 1e-6, 3e-6);
    on.same(out);
    on.same(lse);
    Tensor again(dtype, at.outSize());
    REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, again, nullptr) == SN_OK);
    CHECK(again.bytes() == out.bytes());
  });
}

void checkForward(const sn_attention_shape &shape) {
  AttentionLayout at{shape};
  Tensor q(shape.dtype, Numbers(1).normal(at.qSize())), k(shape.dtype, Numbers(2).normal(at.kSize()));
  Tensor v(shape.dtype, Numbers(3).normal(at.vSize()));
  checkForward(shape, q, k, v);
}

}  // namespace

TEST_CASE("attention forward: out and lse equal the double-precision reference, and nothing else is written") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (const auto &shape : attentionShapes(dtype)) checkForward(shape);
  }
}

TEST_CASE("attention forward: the same over several tiles of rows and blocks of keys, and turns of a multiprocessor") {
  constexpr AttentionCase kCases[] = {
      // Rows that end within each of the warpgroups, and keys within each of the blocks.
      {1, 1, 1, 1, 1, 64, 1},
      {1, 7, 300, 2, 1, 64, 1},
      {1, 33, 129, 3, 1, 64, 0},
      {1, 200, 200, 2, 2, 64, 1},
      {1, 300, 129, 1, 1, 64, 0},
      {1, 300, 300, 2, 1, 64, 1},
      {1, 129, 400, 1, 1, 64, 1},
      {1, 1, 257, 1, 1, 128, 0},
      {1, 7, 33, 2, 1, 128, 1},
      {1, 200, 129, 1, 1, 128, 0},
      {1, 129, 300, 2, 1, 128, 1},
      {1, 260, 260, 1, 1, 128, 1},
      {1, 193, 385, 1, 1, 40, 1},
      {1, 65, 200, 1, 1, 104, 0},
      // Far more keys than there is room for at once.
      {1, 70, 900, 2, 1, 64, 0},
      {1, 90, 600, 1, 1, 128, 1},
      // More rows than keys: the first see nothing.
      {1, 300, 100, 1, 1, 64, 1},
      {1, 200, 7, 1, 1, 128, 1},
      // More tiles than the emulated GPU has multiprocessors: 21 and 18.
      {3, 33, 65, 7, 7, 64, 1},
      {3, 129, 65, 3, 1, 128, 0},
      // Windows narrower than a block, and over several.
      {1, 300, 300, 1, 1, 64, 1, 20},
      {1, 400, 400, 1, 1, 64, 1, 200},
      {1, 200, 330, 1, 1, 64, 0, 150},
      {1, 300, 300, 1, 1, 128, 1, 140},
      // Padding: a sequence without keys, one with one, one with all.
      {5, 129, 200, 2, 1, 64, 0, 0, true},
      {4, 70, 300, 1, 1, 128, 0, 0, true},
      // Packed: sequences of random lengths, of one row each, and rows that see nothing at the end.
      {3, 400, 400, 1, 1, 64, 1, 0, false, true},
      {3, 200, 300, 1, 1, 64, 1, 30, false, true},
      {3, 260, 260, 2, 1, 128, 1, 0, false, true},
  };
  for (const auto &c : kCases) checkForward(attentionShape(c, SN_BF16));
}

TEST_CASE("attention forward: a sequence that begins within a tile of rows, after a long one") {
  for (int64_t headSize : {64, 128}) {
    for (size_t second : {590, 640}) {
      auto shape = attentionShape({1, 700, 700, 1, 1, headSize, 1}, SN_BF16);
      Ints starts(700);
      for (size_t i = second; i < starts.size(); ++i) starts[i] = static_cast<int32_t>(second);
      shape.key_starts = starts.data();
      checkForward(shape);
    }
  }
}

TEST_CASE("attention forward: scores that rise and fall from key to key, a little and far") {
  for (int64_t headSize : {64, 128}) {
    for (double slope : {-0.25, -0.03125, 0.03125, 0.25}) {
      auto shape = attentionShape({1, 200, 400, 1, 1, headSize, 1}, SN_BF16);
      shape.scale = 1;
      AttentionLayout at{shape};
      // Two columns count the keys, so that scores are exact.
      auto zeros = [](int64_t count) { return Tensor(SN_BF16, std::vector<double>(static_cast<size_t>(count))); };
      Tensor q = zeros(at.qSize()), k = zeros(at.kSize());
      Tensor v(SN_BF16, Numbers(3).normal(at.vSize()));
      for (int64_t i = 0; i < shape.queries; ++i) {
        q.set(at.q(0, i, 0, 0), 16 * slope);
        q.set(at.q(0, i, 0, 1), slope);
      }
      for (int64_t j = 0; j < shape.keys; ++j) {
        k.set(at.k(0, j, 0, 0), static_cast<double>(j / 16));
        k.set(at.k(0, j, 0, 1), static_cast<double>(j % 16));
      }
      checkForward(shape, q, k, v);
    }
  }
}

TEST_CASE("attention forward: padding may hold anything") {
  for (int64_t headSize : {48, 64, 128}) {
    constexpr int64_t kBatch = 4, kKeys = 200;
    auto shape = attentionShape({kBatch, 70, kKeys, 2, 1, headSize, 0}, SN_BF16);
    shape.key_lengths = keyLengths(kBatch, kKeys);
    AttentionLayout at{shape};
    Tensor q(SN_BF16, Numbers(1).normal(at.qSize())), k(SN_BF16, Numbers(2).normal(at.kSize()));
    Tensor v(SN_BF16, Numbers(3).normal(at.vSize()));
    auto expected = attentionForward(at, q, k, v), rounded = attentionForward(at, q, k, v, toBf16);
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t j = shape.key_lengths[b]; j < kKeys; ++j) {
        for (int64_t d = 0; d < headSize; ++d) {
          k.set(at.k(b, j, 0, d), NAN);
          v.set(at.v(b, j, 0, d), j % 2 == 0 ? NAN : INFINITY);
        }
      }
    }
    everywhere([&](Machine &on) {
      Tensor out(SN_BF16, at.outSize());
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, nullptr) == SN_OK);
      REQUIRE_MESSAGE(sn_synchronize(on.stream) == SN_OK, std::string(sn_last_error()));
      if (on.isCuda()) {
        checkRounded(out, expected.out, expected.outSize, rounded.out);
      } else {
        checkClose(out, expected.out, 1e-5, 3e-6);
      }
    });
  }
}

TEST_CASE("attention forward: q, k and v may be columns of one matrix") {
  // 20 columns of bf16 are no multiple of 16 bytes.
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (int64_t size : {16, 20, 64}) {
      int64_t batch = 2, length = 37, heads = 3, width = heads * size;
      sn_attention_shape shape{batch, length, length, heads, heads,   size,    3 * width, 3 * width, 3 * width,
                               width, dtype,  1,      0,     nullptr, nullptr, 0,         0,         {}};
      AttentionLayout at{shape};
      auto matrix = Numbers(1).normal(batch * length * 3 * width);
      Tensor all(dtype, matrix);
      auto from = [&](int64_t column) { return std::vector<double>(matrix.begin() + column, matrix.end()); };
      Tensor q(dtype, from(0)), k(dtype, from(width)), v(dtype, from(2 * width));
      auto expected = attentionForward(at, q, k, v), rounded = attentionForward(at, q, k, v, toBf16);
      everywhere([&](Machine &on) {
        Tensor out(dtype, at.outSize());
        auto column = [&](int64_t first) {
          return static_cast<char *>(static_cast<void *>(all)) + first * bytesOf(dtype);
        };
        REQUIRE(sn_attention_forward(on.stream, &shape, column(0), column(width), column(2 * width), out, nullptr) ==
                SN_OK);
        if (on.isCuda() && dtype == SN_BF16) {
          checkRounded(out, expected.out, expected.outSize, rounded.out);
        } else {
          checkClose(out, expected.out, 1e-5, 3e-6);
        }
      });
    }
  }
}

TEST_CASE("attention forward: large scores overflow nothing") {
  for (auto [dtype, size] : {std::pair{SN_F32, 8}, {SN_BF16, 8}, {SN_BF16, 64}, {SN_BF16, 128}}) {
    sn_attention_shape shape{1, 100, 100, 1, 1, size, size, size, size, size, dtype, 1, 0, nullptr, nullptr, 1, 0, {}};
    AttentionLayout at{shape};
    Tensor q(dtype, Numbers(1).normal(100 * size, 100)), k(dtype, Numbers(2).normal(100 * size, 100));
    Tensor v(dtype, Numbers(3).normal(100 * size));
    auto expected = attentionForward(at, q, k, v);
    everywhere([&](Machine &on) {
      Tensor out(dtype, 100 * size), lse(SN_F32, 100);
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, lse.floats()) == SN_OK);
      checkClose(lse, expected.lse, 1e-6, 0);
      checkClose(out, expected.out, 1e-2, 1e-2);
    });
  }
}

TEST_CASE("attention forward: changing a later key or value never changes an earlier row") {
  for (auto [dtype, size] : {std::pair{SN_F32, 32}, {SN_BF16, 32}, {SN_BF16, 64}, {SN_BF16, 128}}) {
    everywhere([&, dtype = dtype, size = size](Machine &on) {
      sn_attention_shape shape{1, 90, 90, 1, 1, size, size, size, size, size, dtype, 1, 0, nullptr, nullptr, 0, 0, {}};
      Tensor q(dtype, Numbers(1).normal(90 * size)), k(dtype, Numbers(2).normal(90 * size));
      Tensor v(dtype, Numbers(3).normal(90 * size)), out(dtype, 90 * size), other(dtype, 90 * size);
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, nullptr) == SN_OK);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      auto row = static_cast<size_t>(size);
      for (size_t i = 70 * row; i < 71 * row; ++i) {
        k.set(i, 50);
        v.set(i, -50);
      }
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, other, nullptr) == SN_OK);
      auto earlier = static_cast<std::ptrdiff_t>(70 * row * bytesOf(dtype));
      CHECK(std::equal(out.bytes().begin(), out.bytes().begin() + earlier, other.bytes().begin()));
      CHECK(!std::equal(out.bytes().begin() + earlier, out.bytes().end(), other.bytes().begin() + earlier));
    });
  }
}

TEST_CASE("attention forward: a packed sequence has the rows that it has alone") {
  constexpr int64_t kLengths[] = {1, 33, 64, 7, 129}, kLength = 234, kWidth = 2 * 24;
  for (auto dtype : {SN_F32, SN_BF16}) {
    auto values = [&](uint32_t seed) { return Numbers(seed).normal(kLength * kWidth); };
    auto q = values(1), k = values(2), v = values(3);
    Ints starts;
    for (int64_t length : kLengths)
      starts.insert(starts.end(), static_cast<size_t>(length), static_cast<int32_t>(starts.size()));
    everywhere([&](Machine &on) {
      auto attend = [&](int64_t first, int64_t length, const int32_t *keyStarts) {
        auto rows = [&](const std::vector<double> &all) {
          return Tensor(dtype, {all.begin() + first * kWidth, all.begin() + (first + length) * kWidth});
        };
        sn_attention_shape shape{1,      length, length, 2, 2,       24,        kWidth, kWidth, kWidth,
                                 kWidth, dtype,  1,      0, nullptr, keyStarts, 0,      0,      {}};
        Tensor ownQ = rows(q), ownK = rows(k), ownV = rows(v), out(dtype, length * kWidth);
        REQUIRE(sn_attention_forward(on.stream, &shape, ownQ, ownK, ownV, out, nullptr) == SN_OK);
        REQUIRE(sn_synchronize(on.stream) == SN_OK);
        return out.values();
      };
      Tensor packed(dtype, attend(0, kLength, starts.data()));
      std::vector<double> alone;
      int64_t first = 0;
      for (int64_t length : kLengths) {
        auto rows = attend(first, length, nullptr);
        alone.insert(alone.end(), rows.begin(), rows.end());
        first += length;
      }
      checkClose(packed, alone, dtype == SN_BF16 ? 0x1p-7 : 1e-6, dtype == SN_BF16 ? 0x1p-8 : 1e-6);
    });
  }
}

TEST_CASE("attention: starts out of range count as the nearest in range, and none that fall do harm") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    everywhere([&](Machine &on) {
      constexpr int64_t kRows = 70, kSize = 16;
      Tensor q(dtype, Numbers(1).normal(kRows * kSize)), k(dtype, Numbers(2).normal(kRows * kSize));
      Tensor v(dtype, Numbers(3).normal(kRows * kSize)), dout(dtype, Numbers(4).normal(kRows * kSize));
      auto run = [&](const Ints &starts) {
        sn_attention_shape shape{1,     kRows, kRows, 1, 1,       kSize,         kSize, kSize, kSize,
                                 kSize, dtype, 1,     0, nullptr, starts.data(), 0,     0,     {}};
        Tensor out(dtype, kRows * kSize), lse(SN_F32, kRows);
        Tensor dq(dtype, kRows * kSize), dk(dtype, kRows * kSize), dv(dtype, kRows * kSize);
        int64_t bytes = 0;
        REQUIRE(sn_attention_backward_workspace(on.device, &shape, &bytes) == SN_OK);
        Tensor workspace(SN_F32, bytes / 4);
        REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, lse.floats()) == SN_OK);
        REQUIRE(sn_attention_backward(on.stream, &shape, q, k, v, out, lse.floats(), dout, dq, dk, dv, workspace) ==
                SN_OK);
        REQUIRE(sn_synchronize(on.stream) == SN_OK);
        return std::vector<Bytes>{out.bytes(), lse.bytes(), dq.bytes(), dk.bytes(), dv.bytes()};
      };
      Ints near(kRows), far(kRows), falling(kRows);
      for (size_t i = 0; i < kRows; ++i) {
        near[i] = i < 40 ? 0 : i < 60 ? 40 : static_cast<int32_t>(kRows);
        far[i] = i < 20 ? INT32_MIN : i < 40 ? -1 : i < 60 ? 40 : i < 65 ? static_cast<int32_t>(kRows) + 1 : INT32_MAX;
        falling[i] = i % 3 == 0 ? INT32_MAX : i % 3 == 1 ? INT32_MIN : static_cast<int32_t>(kRows - i);
      }
      CHECK(run(far) == run(near));
      run(falling);
    });
  }
}

TEST_CASE("attention: starts of keys without a causal mask are refused, not ignored") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, Numbers(1).normal(8 * 8)), out(SN_F32, 8 * 8);
    Ints starts(8);
    for (int64_t window : {0, 3}) {
      sn_attention_shape shape{1, 8, 8, 1, 1, 8, 8, 8, 8, 8, SN_F32, 0, window, nullptr, starts.data(), 0, 0, {}};
      CHECK(sn_attention_forward(on.stream, &shape, x, x, x, out, nullptr) == SN_UNSUPPORTED);
      int64_t bytes = 0;
      CHECK(sn_attention_backward_workspace(on.device, &shape, &bytes) == SN_UNSUPPORTED);
    }
  });
}

TEST_CASE("attention: lengths of keys beside a causal mask or a window are refused, not ignored") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, Numbers(1).normal(8 * 8)), out(SN_F32, 8 * 8), lse(SN_F32, 8);
    Ints lengths{5};
    for (auto [causal, window] : {std::pair<int32_t, int64_t>{1, 0}, {0, 3}, {0, 0}}) {
      sn_attention_shape shape{1, 8, 8, 1, 1, 8, 8, 8, 8, 8, SN_F32, causal, window, lengths.data(), nullptr, 0, 0, {}};
      bool allowed = !causal && window == 0;
      CHECK(sn_attention_forward(on.stream, &shape, x, x, x, out, lse.floats()) == (allowed ? SN_OK : SN_UNSUPPORTED));
      int64_t bytes = 0;
      CHECK(sn_attention_backward_workspace(on.device, &shape, &bytes) == (allowed ? SN_OK : SN_UNSUPPORTED));
    }
  });
}
