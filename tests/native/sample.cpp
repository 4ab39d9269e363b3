// sn_sample against the definition: the tokens that may be drawn and how often, by a full sort in double precision.
#include <algorithm>
#include <numeric>

#include "testing.h"

using namespace sn::testing;

namespace {

constexpr int64_t kVocabulary = 37, kStride = 40, kDraws = 4000;

// The probability of each token under the sampling's rules; `history` ids are penalised once.
std::vector<double> probabilities(const sn_sampling &how, std::vector<double> scores, const Ints &history) {
  std::vector<bool> seen(scores.size());
  for (int32_t id : history) seen[static_cast<size_t>(id)] = true;
  for (size_t i = 0; i < scores.size(); ++i) {
    double penalty = static_cast<double>(how.repetition_penalty);
    if (seen[i]) scores[i] = scores[i] < 0 ? scores[i] * penalty : scores[i] / penalty;
    scores[i] /= static_cast<double>(how.temperature);
  }
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  if (how.top_k > 0 && how.top_k < static_cast<int64_t>(order.size())) {
    auto count = static_cast<size_t>(how.top_k);
    double least = scores[order[count - 1]];
    while (count < order.size() && scores[order[count]] == least) ++count;
    order.resize(count);
  }
  double most = scores[order[0]], total = 0, sum = 0;
  for (size_t id : order) total += std::exp(scores[id] - most);
  if (how.top_p < 1) {
    size_t count = 0;
    while (count < order.size() && sum < static_cast<double>(how.top_p) * total) {
      sum += std::exp(scores[order[count++]] - most);
    }
    order.resize(count);
  }
  std::vector<double> result(scores.size());
  total = 0;
  for (size_t id : order) {
    double p = std::exp(scores[id] - most);
    if (p >= static_cast<double>(how.min_p)) total += result[id] = p;
  }
  for (double &p : result) p /= total;
  return result;
}

struct Drawn {
  Ints tokens;
  Tensor logprobs;
};

Drawn draw(Machine &on, const sn_sampling &how, sn_dtype dtype, const std::vector<double> &scores, const Ints &history,
           int64_t rows) {
  Tensor logits(dtype, rows * kStride);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < kVocabulary; ++i) {
      logits.set(static_cast<size_t>(row * kStride + i), scores[static_cast<size_t>(i)]);
    }
  }
  Ints histories, lengths(static_cast<size_t>(rows), static_cast<int32_t>(history.size()));
  for (int64_t row = 0; row < rows; ++row) histories.insert(histories.end(), history.begin(), history.end());
  int64_t bytes = 0;
  REQUIRE(sn_sample_workspace(on.device, rows, kVocabulary, &bytes) == SN_OK);
  Tensor workspace(SN_F32, bytes / 4);
  Drawn drawn{Ints(static_cast<size_t>(rows), -7), Tensor(SN_F32, rows)};
  bool has = !history.empty();
  REQUIRE(sn_sample(on.stream, &how, dtype, rows, kVocabulary, kStride, logits, has ? histories.data() : nullptr,
                    has ? lengths.data() : nullptr, static_cast<int64_t>(history.size()), {5, 6, 7, nullptr},
                    drawn.tokens.data(), drawn.logprobs.floats(), workspace) == SN_OK);
  on.same(drawn.tokens);
  return drawn;
}

}  // namespace

TEST_CASE("sample draws from just the tokens that the processors leave, as often as their probabilities say") {
  auto scores = Numbers(3).normal(kVocabulary, 2);
  for (double &score : scores) score = std::round(score * 8) / 8;  // exact in bf16 too, and with ties
  const Ints history{3, 9, 9, 20};
  everywhere([&](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &how :
           {sn_sampling{1, 1, 0, 1, 0}, sn_sampling{1, 0.7f, 5, 1, 0}, sn_sampling{1, 1.3f, 0, 0.6f, 0},
            sn_sampling{1, 1, 0, 1, 0.2f}, sn_sampling{1.4f, 0.9f, 12, 0.85f, 0.05f}}) {
        bool penalised = how.repetition_penalty != 1;
        auto expected = probabilities(how, scores, penalised ? history : Ints{});
        auto drawn = draw(on, how, dtype, scores, penalised ? history : Ints{}, kDraws);
        std::vector<double> counts(kVocabulary);
        for (int32_t token : drawn.tokens) {
          REQUIRE(token >= 0);
          REQUIRE(token < kVocabulary);
          ++counts[static_cast<size_t>(token)];
        }
        double chiSquare = 0;
        for (size_t i = 0; i < counts.size(); ++i) {
          if (expected[i] == 0) {
            CHECK_MESSAGE(counts[i] == 0, "token ", i, " was to be left out");
          } else {
            chiSquare += std::pow(counts[i] - kDraws * expected[i], 2) / (kDraws * expected[i]);
          }
        }
        CHECK(chiSquare < 80);  // 36 degrees of freedom at most: once in 30,000 by chance, and the seed is fixed
      }
    }
  });
}

TEST_CASE("sample at temperature 0 takes the lowest id among the highest, and gives its log-probability") {
  std::vector<double> scores(kVocabulary, -1);
  scores[11] = scores[30] = 2;
  double total = 2 * std::exp(2.0) + 35 * std::exp(-1.0);
  everywhere([&](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      auto drawn = draw(on, {1, 0, 0, 1, 0}, dtype, scores, {}, 3);
      CHECK(drawn.tokens == Ints{11, 11, 11});
      checkClose(drawn.logprobs, std::vector<double>(3, 2 - std::log(total)), 1e-5, 1e-6);
    }
  });
}

TEST_CASE("sample of a row without a finite logit is -1") {
  std::vector<double> scores(kVocabulary, -INFINITY);
  scores[4] = NAN;
  everywhere([&](Machine &on) {
    for (float temperature : {0.0f, 1.0f}) {
      auto drawn = draw(on, {1, temperature, 0, 1, 0}, SN_F32, scores, {}, 2);
      CHECK(drawn.tokens == Ints{-1, -1});
      CHECK(std::isnan(drawn.logprobs[0]));
    }
  });
}
