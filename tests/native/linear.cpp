#include <algorithm>
#include <tuple>

#include "activation.h"
#include "packed.h"

using namespace sn::testing;

namespace {

// Of the sum of the products' magnitudes: what sums in fp32, in whatever order, may be off.
double toleranceOf(sn_weight_format format) {
  switch (format) {
    case SN_WEIGHT_F32:
      return 5e-7;
    case SN_WEIGHT_BF16:
      return 1e-6;  // some hardware cuts where it adds the products of a step
    default:
      return 5e-7;  // products within a block are exact
  }
}

// A block's scale, in fp32 as sinter.h has it.
float scaleOf(const std::vector<double> &x, size_t first, size_t last) {
  double most = 0;
  for (size_t k = first; k < last; ++k) most = std::max(most, std::abs(x[k]));
  return static_cast<float>(most) / 127;
}

// f(first, past the last) of each block of each row of `in` numbers.
template <typename F>
void forBlocks(int64_t rows, int64_t in, F &&f) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < in; k += 32) {
      f(static_cast<size_t>(i * in + k), static_cast<size_t>(i * in + std::min(in, k + 32)));
    }
  }
}

// Rows of normal numbers, none of which lies so near the middle of two whole numbers of its block that fp32 could round
// it to either.
std::vector<double> decidedRows(sn_dtype dtype, int64_t rows, int64_t in, uint32_t seed) {
  Tensor x(dtype, Numbers(seed).normal(rows * in));
  forBlocks(rows, in, [&](size_t first, size_t last) {
    double scale = static_cast<double>(scaleOf(x.values(), first, last));
    for (size_t k = first; k < last; ++k) {
      double number = x[k] / scale;
      if (std::abs(number - std::floor(number) - 0.5) < 0.01) x.set(k, std::floor(number) * scale);
    }
  });
  return x.values();
}

// Rows of x as the weights want them.
std::vector<double> asHeld(sn_weight_format format, const std::vector<double> &x, int64_t rows, int64_t in) {
  if (format == SN_WEIGHT_F32) return x;
  if (format == SN_WEIGHT_BF16) return Tensor(SN_BF16, x).values();
  auto held = x;
  forBlocks(rows, in, [&](size_t first, size_t last) {
    auto scale = static_cast<double>(scaleOf(x, first, last));
    for (size_t k = first; k < last; ++k) held[k] = scale == 0 ? 0 : std::nearbyint(x[k] / scale) * scale;
  });
  return held;
}

// Rows of `width`, each followed by `slack` numbers of poison.
Tensor spread(sn_dtype dtype, const std::vector<double> &values, int64_t width, int64_t slack) {
  auto rows = static_cast<int64_t>(values.size()) / width;
  Tensor result(dtype, rows * (width + slack));
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      result.set(static_cast<size_t>(i * (width + slack) + j), values[static_cast<size_t>(i * width + j)]);
    }
  }
  return result;
}

sn_linear_shape shapeOf(sn_weight_format format, int64_t rows, int64_t in, int64_t out, sn_dtype dtype = SN_F32,
                        sn_epilogue epilogue = SN_EPILOGUE_NONE) {
  return {rows, in, out, in, out, format, dtype, dtype, epilogue, SN_GELU_TANH};
}

Tensor workspaceFor(const Machine &on, const sn_linear_shape &shape) {
  int64_t bytes = -1;
  REQUIRE(sn_linear_workspace(on.device, &shape, &bytes) == SN_OK);
  REQUIRE(bytes >= 0);
  return Tensor(SN_F32, (bytes + 3) / 4);
}

// y of as many rows as the shape has, from row `first` of x on.
Tensor multiply(Machine &on, const sn_linear_shape &shape, Tensor &x, Packed &packed, int64_t first = 0) {
  Tensor y(shape.y_dtype, shape.rows * shape.y_stride), workspace = workspaceFor(on, shape);
  auto *rows =
      static_cast<char *>(static_cast<void *>(x)) + first * shape.x_stride * static_cast<int64_t>(bytesOf(shape.dtype));
  REQUIRE(on.status(sn_linear(on.stream, &shape, nullptr, rows, packed, y, nullptr, nullptr, workspace)) == SN_OK);
  return y;
}

// Checks one product, poison between the rows of y included; `spare` leaves out the bias that may be null.
void check(Machine &on, sn_linear_shape s, bool spare = false) {
  CAPTURE(s.format);
  CAPTURE(s.rows);
  CAPTURE(s.in);
  CAPTURE(s.out);
  CAPTURE(s.dtype);
  CAPTURE(s.y_dtype);
  CAPTURE(s.epilogue);
  CAPTURE(s.activation);
  CAPTURE(spare);
  Tensor weights(SN_F32, Numbers(1).normal(s.in * s.out));
  Packed packed(on, s.format, s.in, s.out, weights);
  auto numbers = decidedRows(s.dtype, s.rows, s.in, 2);
  Tensor x = spread(s.dtype, numbers, s.in, s.x_stride - s.in);
  Tensor bias(s.dtype, Numbers(3).normal(s.out)), aux(s.dtype, Numbers(4).normal(s.rows * s.y_stride));
  Tensor y(s.y_dtype, s.rows * s.y_stride), workspace = workspaceFor(on, s);
  bool wantsBias = s.epilogue != SN_EPILOGUE_NONE && !spare, wantsAux = s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
  REQUIRE(on.status(sn_linear(on.stream, &s, nullptr, x, packed, y, wantsBias ? static_cast<void *>(bias) : nullptr,
                              wantsAux ? static_cast<void *>(aux) : nullptr, workspace)) == SN_OK);

  auto held = asHeld(s.format, numbers, s.rows, s.in);
  std::vector<double> expected(y.size(), NAN), column(static_cast<size_t>(s.in));
  double most = 0;
  for (int64_t j = 0; j < s.out; ++j) {
    for (int64_t k = 0; k < s.in; ++k) column[static_cast<size_t>(k)] = packed.weight(k, j);
    for (int64_t i = 0; i < s.rows; ++i) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < s.in; ++k) {
        double product = held[static_cast<size_t>(i * s.in + k)] * column[static_cast<size_t>(k)];
        sum += product;
        size += std::abs(product);
      }
      most = std::max(most, size);
      auto at = static_cast<size_t>(i * s.y_stride + j);
      if (wantsBias) sum += bias[static_cast<size_t>(j)];
      if (s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION) sum = activationValue(s.activation, sum);
      if (wantsAux) sum += aux[at];
      expected[at] = sum;
    }
  }
  // Activations are a little steeper than 1.
  checkClose(y, expected, 2e-6, 1.2 * toleranceOf(s.format) * (most + 1));
  on.same(y);
}

}  // namespace

TEST_CASE("linear equals the double-precision product for odd sizes in every format") {
  const int64_t rowCounts[] = {1, 5, 2, 70, 3, 8, 17, 4, 9, 6, 33, 7};
  everywhere([&](Machine &on) {
    for (auto format : kFormats) {
      size_t turn = 0;
      for (int64_t in : {1, 7, 33, 64, 129, 768}) {
        for (int64_t out : {1, 7, 33, 64, 129, 768}) {
          int64_t rows = rowCounts[turn++ % 12];
          if (in * out > 60000) rows = std::min<int64_t>(rows, 9);
          check(on, shapeOf(format, rows, in, out));
        }
      }
    }
  });
}

TEST_CASE("linear of every number of rows, epilogue, activation and dtype, between strides") {
  everywhere([](Machine &on) {
    for (auto format : kFormats) {
      for (auto [dtype, yDtype] : {std::tuple{SN_F32, SN_F32}, {SN_BF16, SN_BF16}, {SN_BF16, SN_F32}}) {
        for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 33, 70}) {
          for (auto epilogue :
               {SN_EPILOGUE_NONE, SN_EPILOGUE_BIAS, SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_BIAS_RESIDUAL}) {
            auto shape = shapeOf(format, rows, 97, 41, dtype, epilogue);
            shape.y_dtype = yDtype;
            shape.x_stride += 5;
            shape.y_stride += 3;
            shape.activation = kActivations[rows % 4];
            check(on, shape);
          }
        }
        for (auto activation : kActivations) {
          auto shape = shapeOf(format, 10, 33, 67, dtype, SN_EPILOGUE_BIAS_ACTIVATION);
          shape.activation = activation;
          check(on, shape);
        }
        check(on, shapeOf(format, 7, 65, 50, dtype, SN_EPILOGUE_BIAS_RESIDUAL), true);
      }
    }
  });
}

TEST_CASE("linear of deep products and of many rows") {
  everywhere([](Machine &on) {
    for (auto format : kFormats) {
      check(on, shapeOf(format, 9, 3072, 65));
      check(on, shapeOf(format, 600, 200, 35, SN_F32, SN_EPILOGUE_BIAS));
    }
  });
}

TEST_CASE("linear gives a row the bits that it has alone, whatever the number of rows and its place among them") {
  const int64_t most = 150;
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto [in, out] : {std::tuple{64, 33}, {129, 130}, {768, on.isCuda() ? 130 : 50}, {2100, 17}}) {
        Tensor weights(SN_F32, Numbers(1).normal(in * out)), x(dtype, Numbers(2).normal(most * in));
        for (auto format : kFormats) {
          CAPTURE(format);
          CAPTURE(dtype);
          CAPTURE(in);
          Packed packed(on, format, in, out, weights);
          std::vector<Bytes> alone;
          for (int64_t i = 0; i < most; ++i) {
            alone.push_back(multiply(on, shapeOf(format, 1, in, out, dtype), x, packed, i).bytes());
          }
          for (int64_t rows : {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 24, 31, 32, 33, 64, 100, 149}) {
            // A GPU has tiles of eight.
            bool betweenTiles = rows % 8 > 1 && rows != 7 && rows < 100;
            if (on.isCuda() && betweenTiles) continue;
            CAPTURE(rows);
            for (int64_t first : {int64_t{0}, most - rows}) {
              auto together = multiply(on, shapeOf(format, rows, in, out, dtype), x, packed, first).bytes();
              bool alike = true;
              for (int64_t i = 0; i < rows; ++i) {
                const auto &own = alone[static_cast<size_t>(first + i)];
                alike &=
                    std::memcmp(own.data(), together.data() + static_cast<size_t>(i) * own.size(), own.size()) == 0;
              }
              CHECK(alike);
            }
          }
        }
      }
    }
  });
}

TEST_CASE("linear in place of its residual has the bits that it has elsewhere") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t rows : {1, 5, 40}) {
        const int64_t in = 129, out = 67;
        Tensor weights(SN_F32, Numbers(1).normal(in * out)), x(dtype, Numbers(2).normal(rows * in));
        Tensor bias(dtype, Numbers(3).normal(out)), residual(dtype, Numbers(4).normal(rows * out));
        for (auto format : kFormats) {
          Packed packed(on, format, in, out, weights);
          auto shape = shapeOf(format, rows, in, out, dtype, SN_EPILOGUE_BIAS_RESIDUAL);
          Tensor y(dtype, rows * out), inPlace = residual, workspace = workspaceFor(on, shape);
          REQUIRE(on.status(sn_linear(on.stream, &shape, nullptr, x, packed, y, bias, residual, workspace)) == SN_OK);
          REQUIRE(on.status(sn_linear(on.stream, &shape, nullptr, x, packed, inPlace, bias, inPlace, workspace)) ==
                  SN_OK);
          bool alike = inPlace.bytes() == y.bytes();
          CHECK(alike);
        }
      }
    }
  });
}

TEST_CASE("linear keeps what is not finite in its row") {
  everywhere([](Machine &on) {
    const int64_t rows = 11, in = 100, out = 40;
    Tensor weights(SN_F32, Numbers(1).normal(in * out)), x(SN_F32, Numbers(2).normal(rows * in));
    for (auto format : kFormats) {
      CAPTURE(format);
      Packed packed(on, format, in, out, weights);
      auto shape = shapeOf(format, rows, in, out);
      auto sound = multiply(on, shape, x, packed);
      for (double wrong : {double{NAN}, double{INFINITY}, -double{INFINITY}}) {
        for (int64_t k : {0, 31, 70, 99}) {
          Tensor spoilt = x;
          spoilt.set(static_cast<size_t>(7 * in + k), wrong);
          auto y = multiply(on, shape, spoilt, packed);
          bool finite = true, infected = true;
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < out; ++j) {
              auto at = static_cast<size_t>(i * out + j);
              if (i == 7) {
                infected &= std::isnan(wrong) ? std::isnan(y[at]) : !std::isfinite(y[at]);
              } else {
                finite &= y[at] == sound[at];
              }
            }
          }
          CHECK(finite);
          CHECK(infected);
        }
      }
    }
  });
}

TEST_CASE("linear of rows of any size: the digits are the same, zeros give zeros, the smallest numbers nothing wrong") {
  everywhere([](Machine &on) {
    const int64_t rows = 9, in = 129, out = 33;
    auto normal = Numbers(2).normal(rows * in);
    Tensor weights(SN_F32, Numbers(1).normal(in * out)), x(SN_F32, normal);
    for (auto format : kFormats) {
      CAPTURE(format);
      Packed packed(on, format, in, out, weights);
      auto shape = shapeOf(format, rows, in, out);
      auto y = multiply(on, shape, x, packed);
      auto times = [&](double size) {
        std::vector<double> values;
        for (double value : normal) values.push_back(static_cast<double>(static_cast<float>(value)) * size);
        Tensor scaled(SN_F32, values);
        return multiply(on, shape, scaled, packed);
      };
      for (int power : {-60, -20, 20, 60}) {
        CAPTURE(power);
        auto other = times(std::ldexp(1, power));
        bool alike = true;
        for (size_t i = 0; i < y.size(); ++i) alike &= other[i] == std::ldexp(y[i], power);
        CHECK(alike);
      }
      for (double size : {0.0, 1e-45, 1e-40, 1e-37}) {
        CAPTURE(size);
        auto other = times(size);
        double most = 0;
        for (size_t i = 0; i < y.size(); ++i) most = std::max(most, std::isnan(other[i]) ? 1 : std::abs(other[i]));
        CHECK(most <= 200 * size);
      }
    }
  });
}

TEST_CASE("linear behind a norm has the bits of the norm and of the product, called one after the other") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t in : {1, 7, 33, 768, 1030, 2100}) {
        const int64_t most = 17, out = 41;
        Tensor weights(SN_F32, Numbers(1).normal(in * out)), x(dtype, Numbers(2).normal(most * in, 2, 1));
        Tensor gain(dtype, Numbers(3).normal(in)), shift(dtype, Numbers(4).normal(in)),
            bias(dtype, Numbers(5).normal(out));
        for (auto format : kFormats) {
          CAPTURE(dtype);
          CAPTURE(in);
          CAPTURE(format);
          Packed packed(on, format, in, out, weights);
          for (int64_t rows : {1, 2, 3, 5, 8, 9, 17}) {
            CAPTURE(rows);
            auto s = shapeOf(format, rows, in, out, dtype, SN_EPILOGUE_BIAS_ACTIVATION);
            Tensor y(dtype, rows * out), normed(dtype, rows * in), twice = y, before = normed;
            Tensor workspace = workspaceFor(on, s);
            void *shifts = rows == 3 ? nullptr : static_cast<void *>(shift);
            const sn_row_norm norm{gain, shifts, normed, 1e-5f};
            REQUIRE(on.status(sn_linear(on.stream, &s, &norm, x, packed, y, bias, nullptr, workspace)) == SN_OK);
            REQUIRE(sn_layer_norm_forward(on.stream, dtype, rows, in, 1e-5f, x, nullptr, gain, shifts, nullptr, before,
                                          nullptr, nullptr) == SN_OK);
            REQUIRE(on.status(sn_linear(on.stream, &s, nullptr, before, packed, twice, bias, nullptr, workspace)) ==
                    SN_OK);
            bool alike = y.bytes() == twice.bytes(), normedAlike = normed.bytes() == before.bytes();
            CHECK(alike);
            CHECK(normedAlike);
            on.same(y);
          }
        }
      }
    }
  });
}

TEST_CASE("linear refuses what it cannot compute") {
  everywhere([](Machine &on) {
    auto shape = shapeOf(SN_WEIGHT_Q8, 3, 40, 20, SN_F32, SN_EPILOGUE_BIAS);
    Tensor weights(SN_F32, Numbers(1).normal(800)), x(SN_F32, Numbers(2).normal(120)), y(SN_F32, 60);
    Tensor bias(SN_F32, Numbers(3).normal(20));
    Packed packed(on, SN_WEIGHT_Q8, 40, 20, weights);
    Tensor workspace = workspaceFor(on, shape);
    int64_t bytes = -1;
    CHECK(sn_linear_workspace(on.device, &shape, nullptr) == SN_BAD_ARGUMENT);
    CHECK(sn_linear(on.stream, &shape, nullptr, x, packed, y, nullptr, nullptr, workspace) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()).find("bias") != std::string::npos);
    CHECK(sn_linear(on.stream, &shape, nullptr, nullptr, packed, y, bias, nullptr, workspace) == SN_BAD_ARGUMENT);
    CHECK(sn_linear(on.stream, &shape, nullptr, x, nullptr, y, bias, nullptr, workspace) == SN_BAD_ARGUMENT);
    auto wrong = [&](auto change, sn_status status) {
      auto changed = shape;
      change(changed);
      CHECK(sn_linear(on.stream, &changed, nullptr, x, packed, y, bias, nullptr, workspace) == status);
      if (status != SN_BAD_ARGUMENT) CHECK(sn_linear_workspace(on.device, &changed, &bytes) == status);
    };
    wrong([](auto &s) { s.epilogue = SN_EPILOGUE_BIAS_RESIDUAL; }, SN_BAD_ARGUMENT);
    auto wrongNorm = [&](sn_row_norm norm, int64_t stride, sn_status status) {
      auto changed = shape;
      changed.x_stride = stride;
      CHECK(sn_linear(on.stream, &changed, &norm, x, packed, y, bias, nullptr, workspace) == status);
    };
    wrongNorm({nullptr, bias, y, 1e-5f}, 40, SN_BAD_ARGUMENT);
    wrongNorm({bias, nullptr, nullptr, 1e-5f}, 40, SN_BAD_ARGUMENT);
    wrongNorm({bias, nullptr, y, 1e-5f}, 41, SN_BAD_SHAPE);
    wrong([](auto &s) { s.epilogue = SN_EPILOGUE_ACTIVATION_BACKWARD; }, SN_BAD_ARGUMENT);
    wrong([](auto &s) { s.activation = unknown<sn_activation>(9); }, SN_BAD_ARGUMENT);
    wrong([](auto &s) { s.rows = 0; }, SN_BAD_SHAPE);
    wrong([](auto &s) { s.in = -40; }, SN_BAD_SHAPE);
    wrong([](auto &s) { s.x_stride = 39; }, SN_BAD_SHAPE);
    wrong([](auto &s) { s.y_stride = 19; }, SN_BAD_SHAPE);
    wrong([](auto &s) { s.format = unknown<sn_weight_format>(-1); }, SN_BAD_DTYPE);
    wrong([](auto &s) { s.dtype = unknown<sn_dtype>(5); }, SN_BAD_DTYPE);
    wrong([](auto &s) { s.y_dtype = SN_BF16; }, SN_BAD_DTYPE);
    CHECK(bytes == -1);
    for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]));
  });
}
