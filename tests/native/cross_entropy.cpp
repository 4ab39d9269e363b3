#include "testing.h"

using namespace sn::testing;

namespace {

struct Shape {
  int64_t rows, vocabulary, stride;
};

constexpr Shape kShapes[] = {{1, 1, 1}, {3, 7, 7}, {5, 65, 80}, {4, 1000, 1003}, {3, 50257, 50304}};

}  // namespace

TEST_CASE("cross entropy: losses and the gradient in the logits' place equal the double-precision reference") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        CAPTURE(s.vocabulary);
        Tensor logits(dtype, Numbers(1).normal(s.rows * s.stride, 3, 100));
        auto targets = Numbers(2).below(s.rows, static_cast<int32_t>(s.vocabulary));
        if (s.rows > 2) targets[1] = -100;
        const float scale = 0.25f;
        auto before = logits.bytes();
        std::vector<double> losses, gradient(logits.size());
        for (int64_t i = 0; i < s.rows; ++i) {
          auto first = static_cast<size_t>(i * s.stride);
          int32_t target = targets[static_cast<size_t>(i)];
          double most = -INFINITY, total = 0;
          for (size_t j = 0; j < static_cast<size_t>(s.vocabulary); ++j) most = std::max(most, logits[first + j]);
          for (size_t j = 0; j < static_cast<size_t>(s.vocabulary); ++j) total += std::exp(logits[first + j] - most);
          losses.push_back(target < 0 ? 0 : std::log(total) + most - logits[first + static_cast<size_t>(target)]);
          for (size_t j = 0; target >= 0 && j < static_cast<size_t>(s.vocabulary); ++j) {
            double p = std::exp(logits[first + j] - most) / total;
            gradient[first + j] = scale * (p - (j == static_cast<size_t>(target)));
          }
        }
        Tensor out(SN_F32, s.rows);
        REQUIRE(sn_cross_entropy(on.stream, dtype, s.rows, s.vocabulary, s.stride, 0, logits, targets.data(), nullptr,
                                 0, out.floats()) == SN_OK);
        CHECK(logits.bytes() == before);
        checkClose(out, losses, 1e-6, 1e-6);
        REQUIRE(sn_cross_entropy(on.stream, dtype, s.rows, s.vocabulary, s.stride, 0, logits, targets.data(), nullptr,
                                 scale, out.floats()) == SN_OK);
        checkClose(out, losses, 1e-6, 1e-6);
        checkClose(logits, gradient, 3e-6, 1e-9);
        on.same(out);
        on.same(logits);
      }
    }
  });
}

TEST_CASE("cross entropy: large logits overflow nothing; logits of -infinity have no probability") {
  everywhere([](Machine &on) {
    std::vector<double> row(70, -1e30);
    row[3] = 1e30;
    row[50] = -INFINITY;
    Tensor logits(SN_F32, row), loss(SN_F32, 1);
    Ints target{3};
    REQUIRE(sn_cross_entropy(on.stream, SN_F32, 1, 70, 70, 0, logits, target.data(), nullptr, 1, loss.floats()) ==
            SN_OK);
    CHECK(loss[0] == 0);
    checkClose(logits, std::vector<double>(70), 0, 0);
  });
}

TEST_CASE("cross entropy: NaN in a row gives a NaN loss, an unknown target too") {
  everywhere([](Machine &on) {
    for (size_t place : {0, 5, 69}) {
      std::vector<double> row(70, 0.5);
      row[place] = NAN;
      Tensor logits(SN_F32, row), loss(SN_F32, 1);
      Ints target{3};
      REQUIRE(sn_cross_entropy(on.stream, SN_F32, 1, 70, 70, 0, logits, target.data(), nullptr, 1, loss.floats()) ==
              SN_OK);
      CHECK(std::isnan(loss[0]));
    }
    for (int32_t unknown : {-1, 70}) {
      Tensor logits(SN_F32, std::vector<double>(70, 0.5)), loss(SN_F32, 1);
      Ints target{unknown};
      REQUIRE(sn_cross_entropy(on.stream, SN_F32, 1, 70, 70, 0, logits, target.data(), nullptr, 1, loss.floats()) ==
              SN_OK);
      CHECK(std::isnan(loss[0]));
    }
  });
}

TEST_CASE("cross entropy: smoothed targets and weights of rows, against the definition in double") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        for (float smoothing : {0.0f, 0.1f, 0.6f}) {
          CAPTURE(s.vocabulary);
          CAPTURE(smoothing);
          Tensor logits(dtype, Numbers(1).normal(s.rows * s.stride, 3, 100)),
              weights(SN_F32, Numbers(3).normal(s.rows));
          auto targets = Numbers(2).below(s.rows, static_cast<int32_t>(s.vocabulary));
          if (s.rows > 2) targets[1] = -100, weights.set(2, 0);
          const float scale = 0.25f;
          double rest = static_cast<double>(smoothing) / static_cast<double>(s.vocabulary);
          std::vector<double> losses, gradient(logits.size());
          for (int64_t i = 0; i < s.rows; ++i) {
            auto first = static_cast<size_t>(i * s.stride), columns = static_cast<size_t>(s.vocabulary);
            int32_t target = targets[static_cast<size_t>(i)];
            double weight = target < 0 ? 0 : weights[static_cast<size_t>(i)], most = -INFINITY, total = 0, loss = 0;
            for (size_t j = 0; j < columns; ++j) most = std::max(most, logits[first + j]);
            for (size_t j = 0; j < columns; ++j) total += std::exp(logits[first + j] - most);
            for (size_t j = 0; j < columns; ++j) {
              double log = logits[first + j] - most - std::log(total), wanted = rest;
              if (static_cast<int32_t>(j) == target) wanted += 1 - static_cast<double>(smoothing);
              loss -= wanted * log;
              gradient[first + j] = scale * weight * (std::exp(log) - wanted);
            }
            losses.push_back(weight * loss);
          }
          Tensor out(SN_F32, s.rows);
          REQUIRE(sn_cross_entropy(on.stream, dtype, s.rows, s.vocabulary, s.stride, smoothing, logits, targets.data(),
                                   weights.floats(), 0, out.floats()) == SN_OK);
          checkClose(out, losses, 2e-6, 1e-6);
          REQUIRE(sn_cross_entropy(on.stream, dtype, s.rows, s.vocabulary, s.stride, smoothing, logits, targets.data(),
                                   weights.floats(), scale, out.floats()) == SN_OK);
          checkClose(out, losses, 2e-6, 1e-6);
          checkClose(logits, gradient, 4e-6, 2e-8);
          on.same(out);
          on.same(logits);
        }
      }
    }
  });
}

TEST_CASE("cross entropy: a smoothing that leaves the target nothing is refused") {
  everywhere([](Machine &on) {
    Tensor logits(SN_F32, std::vector<double>(7, 0.5)), loss(SN_F32, 1);
    Ints target{3};
    for (float wrong : {-0.1f, 1.0f, NAN}) {
      CHECK(sn_cross_entropy(on.stream, SN_F32, 1, 7, 7, wrong, logits, target.data(), nullptr, 1, loss.floats()) ==
            SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()).find("smoothing") != std::string::npos);
    }
  });
}
