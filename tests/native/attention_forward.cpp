#include "attention.h"

using namespace sn::testing;

TEST_CASE("attention forward: out and lse equal the double-precision reference, and nothing else is written") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (const auto &shape : attentionShapes(dtype)) {
      AttentionLayout at{shape};
      Tensor q(dtype, Numbers(1).normal(at.qSize())), k(dtype, Numbers(2).normal(at.kSize()));
      Tensor v(dtype, Numbers(3).normal(at.vSize()));
      auto expected = attentionForward(at, q, k, v), rounded = attentionForward(at, q, k, v, toBf16);
      CAPTURE(shape.queries);
      CAPTURE(shape.keys);
      CAPTURE(shape.head_size);
      everywhere([&](Machine &on) {
        Tensor out(dtype, at.outSize()), lse(SN_F32, at.rows());
        REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, lse.floats()) == SN_OK);
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
  }
}

TEST_CASE("attention forward: q, k and v may be columns of one matrix") {
  // 20 columns of bf16 are no multiple of 16 bytes.
  for (auto dtype : {SN_F32, SN_BF16}) {
    for (int64_t size : {16, 20}) {
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
  for (auto dtype : {SN_F32, SN_BF16}) {
    everywhere([&](Machine &on) {
      sn_attention_shape shape{1, 100, 100, 1, 1, 8, 8, 8, 8, 8, dtype, 1, 0, nullptr, nullptr, 1, 0, {}};
      AttentionLayout at{shape};
      Tensor q(dtype, Numbers(1).normal(800, 100)), k(dtype, Numbers(2).normal(800, 100));
      Tensor v(dtype, Numbers(3).normal(800)), out(dtype, 800), lse(SN_F32, 100);
      auto expected = attentionForward(at, q, k, v);
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, lse.floats()) == SN_OK);
      checkClose(lse, expected.lse, 1e-6, 0);
      checkClose(out, expected.out, 1e-2, 1e-2);
    });
  }
}

TEST_CASE("attention forward: changing a later key or value never changes an earlier row") {
  for (auto dtype : {SN_F32, SN_BF16}) {
    everywhere([&](Machine &on) {
      sn_attention_shape shape{1, 90, 90, 1, 1, 32, 32, 32, 32, 32, dtype, 1, 0, nullptr, nullptr, 0, 0, {}};
      Tensor q(dtype, Numbers(1).normal(90 * 32)), k(dtype, Numbers(2).normal(90 * 32));
      Tensor v(dtype, Numbers(3).normal(90 * 32)), out(dtype, 90 * 32), other(dtype, 90 * 32);
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, out, nullptr) == SN_OK);
      for (size_t i = 70 * 32; i < 71 * 32; ++i) {
        k.set(i, 50);
        v.set(i, -50);
      }
      REQUIRE(sn_attention_forward(on.stream, &shape, q, k, v, other, nullptr) == SN_OK);
      auto earlier = static_cast<std::ptrdiff_t>(70 * 32 * bytesOf(dtype));
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
