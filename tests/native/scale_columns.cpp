#include "testing.h"

using namespace sn::testing;

namespace {

struct Shape {
  int64_t rows, columns;
};

constexpr Shape kShapes[] = {{1, 1}, {1, 70}, {3, 17}, {5, 64}, {7, 4099}, {33, 129}, {129, 33}, {257, 768}, {2600, 9}};

}  // namespace

TEST_CASE("scale columns: each number times that of its column and the factor, also in place") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        CAPTURE(s.rows);
        CAPTURE(s.columns);
        for (bool scaled : {true, false}) {
          Tensor x(dtype, Numbers(1).normal(s.rows * s.columns)), scale(dtype, Numbers(2).normal(s.columns));
          Tensor out(dtype, s.rows * s.columns);
          std::vector<double> expected(x.size());
          for (size_t i = 0; i < x.size(); ++i) expected[i] = -0.375 * x[i] * (scaled ? scale[i % scale.size()] : 1);
          const void *scales = scaled ? static_cast<void *>(scale) : nullptr;
          REQUIRE(sn_scale_columns(on.stream, dtype, s.rows, s.columns, -0.375f, x, scales, out) == SN_OK);
          checkClose(out, expected, 1e-6, 0);
          REQUIRE(sn_scale_columns(on.stream, dtype, s.rows, s.columns, -0.375f, x, scales, x) == SN_OK);
          CHECK(x.bytes() == out.bytes());
        }
      }
    }
  });
}

TEST_CASE("scale columns backward is the sum over the rows, added to what is there where it accumulates") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        CAPTURE(s.rows);
        CAPTURE(s.columns);
        Tensor x(dtype, Numbers(1).normal(s.rows * s.columns)), dout(dtype, Numbers(2).normal(s.rows * s.columns));
        Tensor dscale(SN_F32, s.columns);
        std::vector<double> expected(static_cast<size_t>(s.columns));
        for (size_t i = 0; i < x.size(); ++i) expected[i % expected.size()] += 0.7 * x[i] * dout[i];
        REQUIRE(sn_scale_columns_backward(on.stream, dtype, s.rows, s.columns, 0.7f, x, dout, 0, dscale.floats()) ==
                SN_OK);
        // Of what is summed, not of the sum, whose terms may cancel.
        double absolute = 2e-6 * std::sqrt(s.rows);
        checkClose(dscale, expected, 1e-6, absolute);
        on.same(dscale);
        REQUIRE(sn_scale_columns_backward(on.stream, dtype, s.rows, s.columns, 0.7f, x, dout, 1, dscale.floats()) ==
                SN_OK);
        for (auto &sum : expected) sum *= 2;
        checkClose(dscale, expected, 1e-6, 2 * absolute);
      }
    }
  });
}

TEST_CASE("scale columns: sizes below one, unknown dtypes, factors that are no number and missing operands") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, 4);
    CHECK(sn_scale_columns(on.stream, SN_F32, 0, 4, 1, x, x, x) == SN_BAD_SHAPE);
    CHECK(sn_scale_columns(on.stream, SN_F32, int64_t{1} << 40, int64_t{1} << 40, 1, x, x, x) == SN_BAD_SHAPE);
    CHECK(sn_scale_columns(on.stream, unknown<sn_dtype>(7), 1, 4, 1, x, x, x) == SN_BAD_DTYPE);
    CHECK(sn_scale_columns(on.stream, SN_F32, 1, 4, NAN, x, x, x) == SN_BAD_ARGUMENT);
    CHECK(sn_scale_columns(on.stream, SN_F32, 1, 4, 1, x, x, nullptr) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "scale_columns: out is null");
    CHECK(sn_scale_columns(nullptr, SN_F32, 1, 4, 1, x, x, x) == SN_BAD_ARGUMENT);
    CHECK(sn_scale_columns_backward(on.stream, SN_F32, 1, 0, 1, x, x, 0, x.floats()) == SN_BAD_SHAPE);
    CHECK(sn_scale_columns_backward(on.stream, SN_F32, 1, 4, 1, x, nullptr, 0, x.floats()) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "scale_columns_backward: dout is null");
  });
}
