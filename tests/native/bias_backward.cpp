#include "testing.h"

using namespace sn::testing;

namespace {

size_t at(int64_t row, int64_t stride, int64_t column) { return static_cast<size_t>(row * stride + column); }

}  // namespace

TEST_CASE("bias backward is the sum of the rows, added to what is there where it accumulates") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      // Long and narrow for a GPU, where few threads share a column of few rows; the emulation takes long for wide
      // ones.
      auto last = on.isCuda() ? std::pair{2600, 73} : std::pair{700, 3073};
      for (auto [rows, columns] : {std::pair{1, 1}, {1, 70}, {3, 17}, {5, 64}, {33, 129}, {257, 768}, last}) {
        CAPTURE(rows);
        CAPTURE(columns);
        // What stands between the rows must not be read.
        int64_t stride = columns + (rows % 2 == 0 ? 0 : 8);
        auto numbers = Numbers(1).normal(rows * stride);
        for (size_t i = 0; i < numbers.size(); ++i) {
          if (static_cast<int64_t>(i) % stride >= columns) numbers[i] = NAN;
        }
        Tensor dout(dtype, numbers), dbias(SN_F32, columns);
        std::vector<double> expected(static_cast<size_t>(columns));
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) expected[at(0, 0, j)] += dout[at(i, stride, j)];
        }
        REQUIRE(sn_bias_backward(on.stream, dtype, rows, columns, stride, dout, 0, dbias.floats()) == SN_OK);
        // Of what is summed, not of the sum, whose terms may cancel.
        double absolute = 1e-6 * std::sqrt(rows);
        checkClose(dbias, expected, 1e-6, absolute);
        on.same(dbias);
        REQUIRE(sn_bias_backward(on.stream, dtype, rows, columns, stride, dout, 1, dbias.floats()) == SN_OK);
        for (auto &sum : expected) sum *= 2;
        checkClose(dbias, expected, 1e-6, 2 * absolute);
      }
    }
  });
}

TEST_CASE("bias backward refuses rows that overlap") {
  everywhere([](Machine &on) {
    Tensor dout(SN_F32, 12), dbias(SN_F32, 4);
    CHECK(sn_bias_backward(on.stream, SN_F32, 3, 4, 3, dout, 0, dbias.floats()) == SN_BAD_SHAPE);
  });
}
