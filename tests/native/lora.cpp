#include "testing.h"

using namespace sn::testing;

namespace {

struct Shape {
  int64_t rows, in, out, rank, adapters;
};

constexpr Shape kShapes[] = {{1, 1, 1, 1, 1},       {1, 768, 768, 8, 1},  {7, 33, 129, 3, 4},  {8, 129, 300, 8, 8},
                             {33, 65, 1025, 17, 5}, {5, 1000, 70, 64, 3}, {129, 40, 33, 4, 2}, {6, 2100, 40, 9, 2}};

// Between the rows of x and y, to be left alone.
constexpr int64_t kGap = 5;

class Case {
 public:
  Case(const Shape &s, sn_dtype dtype, Ints which)
      : shape{s.rows, s.in, s.out, s.rank, s.adapters, s.in + kGap, s.out + kGap, dtype},
        which_(std::move(which)),
        x(dtype, Numbers(1).normal(s.rows * shape.x_stride)),
        a(dtype, Numbers(2).normal(s.adapters * s.rank * s.in, 0.1)),
        b(dtype, Numbers(3).normal(s.adapters * s.rank * s.out, 0.1)),
        y(dtype, Numbers(4).normal(s.rows * shape.y_stride)) {
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int64_t j = s.in; j < shape.x_stride; ++j) x.set(static_cast<size_t>(row * shape.x_stride + j), NAN);
      for (int64_t j = s.out; j < shape.y_stride; ++j) y.set(static_cast<size_t>(row * shape.y_stride + j), NAN);
    }
  }

  sn_status run(Machine &on) {
    int64_t bytes = -1;
    REQUIRE(sn_lora_workspace(on.device, &shape, &bytes) == SN_OK);
    // Numbers that are none: what is not written first must not be read.
    Bytes workspace(static_cast<size_t>(bytes), 0xff);
    return sn_lora(on.stream, &shape, which_.data(), x, a, b, y, workspace.data());
  }

  std::vector<double> expected() const {
    auto values = y.values();
    for (int64_t row = 0; row < shape.rows; ++row) {
      int64_t adapter = which_[static_cast<size_t>(row)];
      if (adapter < 0 || adapter >= shape.adapters) continue;
      for (int64_t r = adapter * shape.rank; r < (adapter + 1) * shape.rank; ++r) {
        double t = 0;
        for (int64_t k = 0; k < shape.in; ++k) t += at(x, row * shape.x_stride + k) * at(a, r * shape.in + k);
        for (int64_t j = 0; j < shape.out; ++j) {
          values[static_cast<size_t>(row * shape.y_stride + j)] += t * at(b, r * shape.out + j);
        }
      }
    }
    return values;
  }

  Bytes rowOf(int64_t row) const {
    auto size = static_cast<int64_t>(bytesOf(y.dtype()));
    auto first = y.bytes().begin() + row * shape.y_stride * size;
    return Bytes(first, first + shape.out * size);
  }

  sn_lora_shape shape;

 private:
  static double at(const Tensor &tensor, int64_t i) { return tensor[static_cast<size_t>(i)]; }

  Ints which_;

 public:
  Tensor x, a, b, y;
};

// Runs of one adapter, rows of others, and rows of none.
Ints mixed(const Shape &s) {
  Ints which;
  for (int64_t row = 0; row < s.rows; ++row) {
    which.push_back(row % 5 == 4 ? -1 : static_cast<int32_t>((row < s.rows / 2 ? 0 : row) % s.adapters));
  }
  return which;
}

}  // namespace

TEST_CASE("lora: each row the low-rank update of its adapter; rows of none and what lies between rows stay") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        CAPTURE(s.rows);
        CAPTURE(s.in);
        CAPTURE(s.out);
        CAPTURE(s.rank);
        auto which = mixed(s);
        Case c(s, dtype, which), before(s, dtype, which);
        auto expected = c.expected();
        REQUIRE(c.run(on) == SN_OK);
        checkClose(c.y, expected, 1e-6, 2e-6 * std::sqrt(static_cast<double>(s.rank)));
        on.same(c.y);
        for (int64_t row = 0; row < s.rows; ++row) {
          if (which[static_cast<size_t>(row)] == -1) CHECK(c.rowOf(row) == before.rowOf(row));
        }
      }
    }
  });
}

TEST_CASE("lora: a row's bits are the same alone, in company and at other places") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (Shape s : {Shape{9, 777, 1100, 12, 3}, Shape{9, 70, 65, 5, 3}}) {
        // One row again and again, among others of its adapter, of others and of none.
        for (Ints which : {Ints{1, 1, 1, 1, 1, 1, 1, 1, 1}, Ints{1, 0, 1, 1, 2, 1, -1, 1, 1}}) {
          Case c(s, dtype, which);
          Shape one{1, s.in, s.out, s.rank, s.adapters};
          Case alone(one, dtype, {1});
          for (int64_t row = 0; row < s.rows; ++row) {
            if (which[static_cast<size_t>(row)] != 1) continue;
            if (row == 3) continue;  // company of its own
            for (int64_t k = 0; k < s.in; ++k) {
              c.x.set(static_cast<size_t>(row * c.shape.x_stride + k), alone.x[static_cast<size_t>(k)]);
            }
            for (int64_t j = 0; j < s.out; ++j) {
              c.y.set(static_cast<size_t>(row * c.shape.y_stride + j), alone.y[static_cast<size_t>(j)]);
            }
          }
          // The same adapters: those of the case with more rows are drawn alike.
          REQUIRE(alone.a.bytes() == c.a.bytes());
          REQUIRE(c.run(on) == SN_OK);
          REQUIRE(alone.run(on) == SN_OK);
          for (int64_t row = 0; row < s.rows; ++row) {
            CAPTURE(row);
            if (which[static_cast<size_t>(row)] == 1 && row != 3) CHECK(c.rowOf(row) == alone.rowOf(0));
          }
        }
      }
    }
  });
}

TEST_CASE("lora: padding ranks with zeros changes no bit") {
  everywhere([](Machine &on) {
    Shape narrow{3, 200, 150, 4, 1}, wide{3, 200, 150, 8, 1};
    for (auto dtype : {SN_F32, SN_BF16}) {
      Case c(narrow, dtype, {0, 0, 0}), padded(wide, dtype, {0, 0, 0});
      for (size_t i = 0; i < padded.a.size(); ++i) padded.a.set(i, i < c.a.size() ? c.a[i] : 0);
      for (size_t i = 0; i < padded.b.size(); ++i) padded.b.set(i, i < c.b.size() ? c.b[i] : 0);
      REQUIRE(c.run(on) == SN_OK);
      REQUIRE(padded.run(on) == SN_OK);
      CHECK(c.y.bytes() == padded.y.bytes());
    }
  });
}

TEST_CASE("lora: an adapter out of range leaves its row as it is and fails the call; the others are done") {
  everywhere([](Machine &on) {
    Shape s{3, 19, 21, 4, 2};
    for (int32_t bad : {-2, 2, INT32_MAX, INT32_MIN}) {
      Case c(s, SN_F32, {1, bad, 0}), before(s, SN_F32, {1, bad, 0});
      auto expected = c.expected();
      CHECK(on.status(c.run(on)) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()) == "lora: adapter " + std::to_string(bad) + " of row 1; there are 2 adapters");
      checkClose(c.y, expected, 1e-6, 1e-5);
      CHECK(c.rowOf(1) == before.rowOf(1));
      CHECK(sn_synchronize(on.stream) == SN_OK);
    }
  });
}

TEST_CASE("lora: shapes, dtypes and operands that are none are refused") {
  everywhere([](Machine &on) {
    Tensor t(SN_F32, 64);
    Ints which{0};
    int64_t bytes = 0;
    const sn_lora_shape good{1, 4, 4, 2, 1, 4, 4, SN_F32};
    auto refused = [&](auto change) {
      auto shape = good;
      change(shape);
      sn_status status = sn_lora_workspace(on.device, &shape, &bytes);
      CHECK(sn_lora(on.stream, &shape, which.data(), t, t, t, t, t) == status);
      return status;
    };
    CHECK(refused([](auto &s) { s.rows = 0; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.in = 0; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.out = -1; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.rank = 0; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.adapters = 0; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.adapters = int64_t{1} << 31; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.rank = int64_t{1} << 60; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.x_stride = 3; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.y_stride = 3; }) == SN_BAD_SHAPE);
    CHECK(refused([](auto &s) { s.dtype = unknown<sn_dtype>(2); }) == SN_BAD_DTYPE);

    CHECK(sn_lora_workspace(nullptr, &good, &bytes) == SN_BAD_ARGUMENT);
    CHECK(sn_lora_workspace(on.device, nullptr, &bytes) == SN_BAD_ARGUMENT);
    CHECK(sn_lora_workspace(on.device, &good, nullptr) == SN_BAD_ARGUMENT);
    CHECK(sn_lora(nullptr, &good, which.data(), t, t, t, t, t) == SN_BAD_ARGUMENT);
    CHECK(sn_lora(on.stream, nullptr, which.data(), t, t, t, t, t) == SN_BAD_ARGUMENT);
    CHECK(sn_lora(on.stream, &good, nullptr, t, t, t, t, t) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "lora: which is null");
    CHECK(sn_lora(on.stream, &good, which.data(), t, t, t, t, nullptr) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "lora: workspace is null");
  });
}
