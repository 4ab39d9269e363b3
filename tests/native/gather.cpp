#include "testing.h"

using namespace sn::testing;

namespace {

struct Shape {
  int64_t rows, width, count;
};

constexpr Shape kShapes[] = {{1, 1, 1}, {7, 5, 3}, {33, 129, 20}, {400, 768, 64}, {9, 1000, 9}};

// Rows that differ, in no order, and some of none.
Ints indicesOf(const Shape &s) {
  Ints indices;
  for (int64_t i = 0; i < s.count; ++i) {
    indices.push_back(i % 4 == 2 ? -1 : static_cast<int32_t>((i * 7 + 3) % s.rows));
  }
  for (size_t i = 0; i < indices.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (indices[j] == indices[i]) indices[i] = -1;
    }
  }
  return indices;
}

}  // namespace

TEST_CASE("gather forward takes the rows that are named, and zeros for -1") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        auto indices = indicesOf(s);
        Tensor in(dtype, Numbers(1).normal(s.rows * s.width)), out(dtype, s.count * s.width);
        std::vector<double> expected(out.size());
        for (size_t i = 0; i < expected.size(); ++i) {
          auto width = static_cast<size_t>(s.width);
          int32_t index = indices[i / width];
          if (index >= 0) expected[i] = in[static_cast<size_t>(index) * width + i % width];
        }
        REQUIRE(sn_gather_forward(on.stream, dtype, s.rows, s.width, s.count, indices.data(), in, out) == SN_OK);
        checkClose(out, expected, 0, 0);
      }
    }
  });
}

TEST_CASE("gather backward puts each row back into its place; the rows that were not taken are zero") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        auto indices = indicesOf(s);
        Tensor dout(dtype, Numbers(1).normal(s.count * s.width)), din(dtype, s.rows * s.width);
        std::vector<double> expected(din.size());
        for (size_t i = 0; i < dout.size(); ++i) {
          auto width = static_cast<size_t>(s.width);
          int32_t index = indices[i / width];
          if (index >= 0) expected[static_cast<size_t>(index) * width + i % width] = dout[i];
        }
        REQUIRE(sn_gather_backward(on.stream, dtype, s.rows, s.width, s.count, indices.data(), dout, din) == SN_OK);
        checkClose(din, expected, 0, 0);
      }
    }
  });
}

TEST_CASE("an index out of range reads as zeros and fails the call; backward leaves it out") {
  everywhere([](Machine &on) {
    Tensor in(SN_F32, Numbers(1).normal(3 * 19)), out(SN_F32, 3 * 19), din(SN_F32, 3 * 19);
    for (int32_t bad : {-2, 3, INT32_MAX, INT32_MIN}) {
      Ints indices{2, bad, 0};
      CHECK(on.status(sn_gather_forward(on.stream, SN_F32, 3, 19, 3, indices.data(), in, out)) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()) ==
            "gather_forward: index " + std::to_string(bad) + " at place 1; there are 3 rows");
      for (size_t j = 0; j < 19; ++j) {
        CHECK(out[j] == in[2 * 19 + j]);
        CHECK(out[19 + j] == 0);
      }
      REQUIRE(sn_gather_backward(on.stream, SN_F32, 3, 19, 3, indices.data(), in, din) == SN_OK);
      for (size_t j = 0; j < 19; ++j) CHECK(din[19 + j] == 0);
    }
  });
}

TEST_CASE("gather: sizes below one and missing operands are refused") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, 4);
    Ints indices{0};
    CHECK(sn_gather_forward(on.stream, SN_F32, 0, 4, 1, indices.data(), x, x) == SN_BAD_SHAPE);
    CHECK(sn_gather_backward(on.stream, SN_F32, 1, 4, 0, indices.data(), x, x) == SN_BAD_SHAPE);
    CHECK(sn_gather_forward(on.stream, SN_F32, 1, 4, 1, nullptr, x, x) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "gather_forward: indices is null");
  });
}
