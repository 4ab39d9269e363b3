#include "testing.h"

using namespace sn::testing;

TEST_CASE("bias backward is the sum of the rows, added to what is there where it accumulates") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      // Long and narrow for a GPU, where few threads share a column of few rows; the emulation takes long for wide
      // ones.
      auto last = on.isCuda() ? std::pair{2600, 73} : std::pair{700, 3073};
      for (auto [rows, columns] : {std::pair{1, 1}, {1, 70}, {3, 17}, {5, 64}, {33, 129}, {257, 768}, last}) {
        CAPTURE(rows);
        CAPTURE(columns);
        Tensor dout(dtype, Numbers(1).normal(rows * columns)), dbias(SN_F32, columns);
        std::vector<double> expected(static_cast<size_t>(columns));
        for (size_t i = 0; i < dout.size(); ++i) expected[i % expected.size()] += dout[i];
        REQUIRE(sn_bias_backward(on.stream, dtype, rows, columns, dout, 0, dbias.floats()) == SN_OK);
        // Of what is summed, not of the sum, whose terms may cancel.
        double absolute = 1e-6 * std::sqrt(rows);
        checkClose(dbias, expected, 1e-6, absolute);
        on.same(dbias);
        REQUIRE(sn_bias_backward(on.stream, dtype, rows, columns, dout, 1, dbias.floats()) == SN_OK);
        for (auto &sum : expected) sum *= 2;
        checkClose(dbias, expected, 1e-6, 2 * absolute);
      }
    }
  });
}
