#include "testing.h"

using namespace sn::testing;

namespace {

constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 1},     {1, 7},    {3, 16},   {5, 33},  {65, 130},
                                                   {130, 768}, {5, 1601}, {2, 5000}, {2, 8195}};
constexpr double kEpsilon = 1e-5;

size_t at(int64_t row, int64_t width, int64_t column) { return static_cast<size_t>(row * width + column); }

struct Statistics {
  std::vector<double> mean, rstd;
};

Statistics statisticsOf(const std::vector<double> &s, int64_t rows, int64_t width) {
  Statistics all;
  for (int64_t i = 0; i < rows; ++i) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < width; ++j) mean += s[at(i, width, j)] / static_cast<double>(width);
    for (int64_t j = 0; j < width; ++j) variance += std::pow(s[at(i, width, j)] - mean, 2) / static_cast<double>(width);
    all.mean.push_back(mean);
    all.rstd.push_back(1 / std::sqrt(variance + kEpsilon));
  }
  return all;
}

}  // namespace

TEST_CASE("layer norm forward, with and without residual, bias and kept sums") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto [rows, width] : kShapes) {
        for (int variant = 0; variant < 4; ++variant) {
          CAPTURE(width);
          CAPTURE(variant);
          bool withResidual = (variant & 1) != 0, withBias = (variant & 2) == 0;
          // A mean far from zero: what a variance by squares alone would lose.
          Tensor x(dtype, Numbers(1).normal(rows * width, 1, 30)), residual(dtype, Numbers(2).normal(rows * width));
          Tensor gain(dtype, Numbers(3).normal(width)), bias(dtype, Numbers(4).normal(width));
          Tensor sum(dtype, rows * width), out(dtype, rows * width), mean(SN_F32, rows), rstd(SN_F32, rows);
          auto s = x.values();
          for (size_t i = 0; withResidual && i < s.size(); ++i) s[i] += residual[i];
          s = Tensor(dtype, s).values();  // the sum as it is kept
          auto statistics = statisticsOf(s, rows, width);
          std::vector<double> expected(s.size());
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < width; ++j) {
              auto row = static_cast<size_t>(i), column = static_cast<size_t>(j);
              expected[at(i, width, j)] =
                  (s[at(i, width, j)] - statistics.mean[row]) * statistics.rstd[row] * gain[column] +
                  (withBias ? bias[column] : 0);
            }
          }
          void *other = withResidual ? static_cast<void *>(residual) : nullptr;
          void *shift = withBias ? static_cast<void *>(bias) : nullptr;
          REQUIRE(sn_layer_norm_forward(on.stream, dtype, rows, width, 1e-5f, x, other, gain, shift, sum, out,
                                        mean.floats(), rstd.floats()) == SN_OK);
          checkClose(sum, s, -0x1p-8 * (dtype == SN_BF16), 0);
          checkClose(mean, statistics.mean, 1e-6, 0);
          checkClose(rstd, statistics.rstd, 1e-3 * (width < 3) + 1e-5, 0);
          checkClose(out, expected, 1e-5, width < 3 ? 1e-1 : 3e-5);
          on.same(out);
          on.same(rstd);

          // Without what is kept, and with the sum in x's place.
          Tensor again(dtype, rows * width);
          if (dtype == SN_F32) {
            REQUIRE(sn_layer_norm_forward(on.stream, dtype, rows, width, 1e-5f, x, other, gain, shift, nullptr, again,
                                          nullptr, nullptr) == SN_OK);
            CHECK(again.bytes() == out.bytes());
          }
          REQUIRE(sn_layer_norm_forward(on.stream, dtype, rows, width, 1e-5f, x, other, gain, shift, x, again,
                                        mean.floats(), rstd.floats()) == SN_OK);
          CHECK(again.bytes() == out.bytes());
          CHECK(x.bytes() == sum.bytes());
        }
      }
    }
  });
}

TEST_CASE("layer norm backward: dx, dgain, dbias and dshift equal the double-precision reference") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto [rows, width] : kShapes) {
        for (int32_t accumulate : {0, 1}) {
          CAPTURE(width);
          CAPTURE(accumulate);
          Tensor s(dtype, Numbers(1).normal(rows * width)), gain(dtype, Numbers(2).normal(width));
          Tensor dout(dtype, Numbers(3).normal(rows * width)), upper(dtype, Numbers(4).normal(rows * width));
          auto statistics = statisticsOf(s.values(), rows, width);
          Tensor mean(SN_F32, statistics.mean), rstd(SN_F32, statistics.rstd);
          auto start = accumulate ? Numbers(5).normal(width) : std::vector<double>(static_cast<size_t>(width), NAN);
          Tensor dgain(SN_F32, start), dbias(SN_F32, start), dshift(SN_F32, start), dx(dtype, rows * width);
          auto expectedGain = accumulate ? dgain.values() : std::vector<double>(static_cast<size_t>(width));
          auto expectedBias = expectedGain, expectedShift = expectedGain;
          std::vector<double> expected(dx.size());
          for (int64_t i = 0; i < rows; ++i) {
            auto row = static_cast<size_t>(i);
            double meanG = 0, meanGN = 0;
            auto normal = [&](int64_t j) { return (s[at(i, width, j)] - mean[row]) * rstd[row]; };
            auto g = [&](int64_t j) { return dout[at(i, width, j)] * gain[static_cast<size_t>(j)]; };
            for (int64_t j = 0; j < width; ++j) {
              meanG += g(j) / static_cast<double>(width);
              meanGN += g(j) * normal(j) / static_cast<double>(width);
              expectedGain[static_cast<size_t>(j)] += dout[at(i, width, j)] * normal(j);
              expectedBias[static_cast<size_t>(j)] += dout[at(i, width, j)];
            }
            for (int64_t j = 0; j < width; ++j) {
              expected[at(i, width, j)] = rstd[row] * (g(j) - meanG - normal(j) * meanGN) + upper[at(i, width, j)];
              expectedShift[static_cast<size_t>(j)] += expected[at(i, width, j)];
            }
          }
          int64_t bytes = 0;
          REQUIRE(sn_layer_norm_backward_workspace(on.device, rows, width, &bytes) == SN_OK);
          Tensor workspace(SN_F32, bytes / 4);
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), dout,
                                         upper, accumulate, dx, dgain.floats(), dbias.floats(), dshift.floats(),
                                         workspace) == SN_OK);
          double absolute = width == 1 ? 1e-2 : 3e-5;
          checkClose(dx, expected, 1e-5, absolute);
          checkClose(dgain, expectedGain, 1e-5, absolute);
          checkClose(dbias, expectedBias, 1e-5, absolute);
          checkClose(dshift, expectedShift, 1e-5, absolute);
          on.same(dx);
          on.same(dgain);
          on.same(dbias);
          on.same(dshift);

          // In dout's place, and without bias and the other gradient.
          Tensor inPlace(dtype, dout.values()), alone(dtype, rows * width);
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), inPlace,
                                         upper, 0, inPlace, dgain.floats(), nullptr, nullptr, workspace) == SN_OK);
          CHECK(inPlace.bytes() == dx.bytes());
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), dout,
                                         nullptr, 0, alone, dgain.floats(), nullptr, nullptr, workspace) == SN_OK);
          for (size_t i = 0; i < expected.size(); ++i) expected[i] -= upper[i];
          checkClose(alone, expected, 1e-5, absolute);
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), dout,
                                         upper, 0, upper, dgain.floats(), nullptr, nullptr, workspace) == SN_OK);
          CHECK(upper.bytes() == dx.bytes());

          // Frozen: gain or bias or both have no gradient.
          Tensor frozen(dtype, rows * width), biasAlone(SN_F32, std::vector<double>(static_cast<size_t>(width), NAN));
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), dout,
                                         nullptr, 0, frozen, nullptr, nullptr, nullptr, workspace) == SN_OK);
          CHECK(frozen.bytes() == alone.bytes());
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), dout,
                                         nullptr, 0, frozen, nullptr, biasAlone.floats(), nullptr, workspace) == SN_OK);
          CHECK(frozen.bytes() == alone.bytes());
          if (!accumulate) CHECK(biasAlone.bytes() == dbias.bytes());
          Tensor shiftAlone(SN_F32, std::vector<double>(static_cast<size_t>(width), NAN)), again(dtype, rows * width);
          Tensor others(dtype, Numbers(4).normal(rows * width));
          REQUIRE(sn_layer_norm_backward(on.stream, dtype, rows, width, s, gain, mean.floats(), rstd.floats(), dout,
                                         others, 0, again, nullptr, nullptr, shiftAlone.floats(), workspace) == SN_OK);
          CHECK(again.bytes() == dx.bytes());
          if (!accumulate) CHECK(shiftAlone.bytes() == dshift.bytes());
        }
      }
    }
  });
}

TEST_CASE("the reference gradient of layer norm is the slope of its forward pass") {
  int64_t width = 6;
  auto s = Numbers(1).normal(width), dout = Numbers(2).normal(width);
  auto loss = [&](const std::vector<double> &row) {
    auto statistics = statisticsOf(row, 1, width);
    double sum = 0;
    for (size_t j = 0; j < row.size(); ++j) sum += dout[j] * (row[j] - statistics.mean[0]) * statistics.rstd[0];
    return sum;
  };
  auto statistics = statisticsOf(s, 1, width);
  double meanG = 0, meanGN = 0;
  for (size_t j = 0; j < s.size(); ++j) {
    meanG += dout[j] / 6;
    meanGN += dout[j] * (s[j] - statistics.mean[0]) * statistics.rstd[0] / 6;
  }
  for (size_t j = 0; j < s.size(); ++j) {
    auto up = s, down = s;
    up[j] += 1e-6;
    down[j] -= 1e-6;
    double normal = (s[j] - statistics.mean[0]) * statistics.rstd[0];
    CHECK(statistics.rstd[0] * (dout[j] - meanG - normal * meanGN) ==
          doctest::Approx((loss(up) - loss(down)) / 2e-6).epsilon(1e-5));
  }
}
