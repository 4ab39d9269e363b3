// sn_sample against the definition: the tokens that may be drawn and how often, by a full sort in double precision.
#include <algorithm>
#include <numeric>

#include "testing.h"

using namespace sn::testing;

namespace {

constexpr int64_t kVocabulary = 37;

// How often to draw; on an emulated GPU each draw takes its time.
int64_t draws(const Machine &on) { return on.isCuda() ? 500 : 4000; }

// What the processors are told, in the order in which they act.
sn_sampling of(float penalty, float temperature, int64_t topK, float topP, float minP) {
  sn_sampling how{};
  how.repetition_penalty = penalty;
  how.temperature = temperature;
  how.top_k = static_cast<int32_t>(topK);
  how.top_p = topP;
  how.min_p = minP;
  return how;
}

// The probability of each token under the sampling's rules; `history` ids are penalised once.
std::vector<double> probabilities(const sn_sampling &how, std::vector<double> scores, const Ints &history) {
  std::vector<bool> seen(scores.size());
  for (int32_t id : history) {
    if (id >= 0 && static_cast<size_t>(id) < seen.size()) seen[static_cast<size_t>(id)] = true;
  }
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
  auto vocabulary = static_cast<int64_t>(scores.size()), stride = vocabulary + 3;
  Tensor logits(dtype, rows * stride);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < vocabulary; ++i) {
      logits.set(static_cast<size_t>(row * stride + i), scores[static_cast<size_t>(i)]);
    }
  }
  // Of three histories the second counts; each row is a step of its own, in memory that the device sees.
  auto length = static_cast<int64_t>(history.size());
  Ints histories(static_cast<size_t>(3 * length), 1);
  std::copy(history.begin(), history.end(), histories.begin() + length);
  Bytes samplings(static_cast<size_t>(rows) * sizeof(sn_sampling));
  for (int64_t row = 0; row < rows; ++row) {
    sn_sampling own = how;
    own.seed = 5;
    own.step = row;
    own.history = 1;
    own.history_length = static_cast<int32_t>(length);
    std::memcpy(&samplings[static_cast<size_t>(row) * sizeof own], &own, sizeof own);
  }
  int64_t bytes = 0;
  REQUIRE(sn_sample_workspace(on.device, rows, vocabulary, &bytes) == SN_OK);
  Tensor workspace(SN_F32, bytes / 4);
  Drawn drawn{Ints(static_cast<size_t>(rows), -7), Tensor(SN_F32, rows)};
  REQUIRE(sn_sample(on.stream, dtype, rows, vocabulary, stride, logits,
                    reinterpret_cast<const sn_sampling *>(samplings.data()), length == 0 ? 0 : 3, length,
                    length == 0 ? nullptr : histories.data(), drawn.tokens.data(), drawn.logprobs.floats(),
                    workspace) == SN_OK);
  on.same(drawn.tokens);
  return drawn;
}

// How far the drawn tokens are from their probabilities, counted in so many groups of neighbours. Checks that none was
// drawn that has none.
double chiSquareOf(const Ints &tokens, const std::vector<double> &expected, size_t groups) {
  std::vector<double> counts(groups), shares(groups);
  auto groupOf = [&](size_t token) { return token * groups / expected.size(); };
  for (size_t i = 0; i < expected.size(); ++i) shares[groupOf(i)] += expected[i];
  for (int32_t token : tokens) {
    REQUIRE(token >= 0);
    auto id = static_cast<size_t>(token);
    REQUIRE(id < expected.size());
    CHECK_MESSAGE(expected[id] > 0, "token ", token, " was to be left out");
    ++counts[groupOf(id)];
  }
  double sum = 0, times = static_cast<double>(tokens.size());
  for (size_t i = 0; i < groups; ++i) {
    if (shares[i] > 0) sum += std::pow(counts[i] - times * shares[i], 2) / (times * shares[i]);
  }
  return sum;
}

}  // namespace

TEST_CASE("sample draws from just the tokens that the processors leave, as often as their probabilities say") {
  auto scores = Numbers(3).normal(kVocabulary, 2);
  for (double &score : scores) score = std::round(score * 8) / 8;  // exact in bf16 too, and with ties
  const Ints history{3, 9, 9, 20};
  everywhere([&](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &how : {of(1, 1, 0, 1, 0), of(1, 0.7f, 5, 1, 0), of(1, 1.3f, 0, 0.6f, 0), of(1, 1, 0, 1, 0.2f),
                              of(1.4f, 0.9f, 12, 0.85f, 0.05f)}) {
        bool penalised = how.repetition_penalty != 1;
        auto expected = probabilities(how, scores, penalised ? history : Ints{});
        int64_t times = draws(on);
        auto drawn = draw(on, how, dtype, scores, penalised ? history : Ints{}, times);
        CHECK(chiSquareOf(drawn.tokens, expected, kVocabulary) <
              80);  // once in 30,000 by chance, and the seed is fixed
      }
    }
  });
}

TEST_CASE("sample from thousands of tokens, few or most of which stay, with many ties or none") {
  // Where the processors leave few, most, and what begins in the middle of tokens of one score.
  const int64_t vocabulary = 2300;
  struct Case {
    sn_sampling how;
    double deviation;
  };
  const Case cases[] = {{of(1, 1, 40, 0.9f, 0), 3},    {of(1, 0.8f, 0, 0.9f, 0), 3}, {of(1.3f, 1, 40, 1, 0.01f), 3},
                        {of(1, 1, 0, 0.9f, 0), 0.3},   {of(1, 1, 1500, 1, 0), 0.3},  {of(1, 1, 1500, 0.7f, 0), 0.3},
                        {of(1, 0.5f, 0, 0.51f, 0), 0}, {of(1, 1, 7, 0.3f, 0), 0},    {of(1, 1, 0, 1, 0), 1}};
  const Ints history{0, 31, 32, 1000, 2299, 2299, -1, 2300};
  everywhere([&](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &[how, deviation] : cases) {
        CAPTURE(how.top_k);
        CAPTURE(how.top_p);
        CAPTURE(deviation);
        bool penalised = how.repetition_penalty != 1;
        auto scores = Tensor(dtype, Numbers(3).normal(vocabulary, deviation, 1)).values();
        auto expected = probabilities(how, scores, penalised ? history : Ints{});
        int64_t times = on.isCuda() ? 3 : 100;
        auto drawn = draw(on, how, dtype, scores, penalised ? history : Ints{}, times);
        CHECK(chiSquareOf(drawn.tokens, expected, 16) < 55);
      }
    }
  });
}

TEST_CASE("sample with so small a top-p that one token stays draws that, the lowest id among equals") {
  everywhere([&](Machine &on) {
    for (size_t vocabulary : {37, 2300}) {
      std::vector<double> scores(vocabulary, 1);
      scores[0] = 0;
      CHECK(draw(on, of(1, 1, 0, 1e-5f, 0), SN_BF16, scores, {}, 2).tokens == Ints{1, 1});
      CHECK(draw(on, of(1, 1, 30, 1e-5f, 0), SN_F32, scores, {}, 2).tokens == Ints{1, 1});
      scores[20] = 2;
      CHECK(draw(on, of(1, 1, 0, 1e-5f, 0), SN_F32, scores, {}, 2).tokens == Ints{20, 20});
      CHECK(draw(on, of(1, 1, 1, 1, 0), SN_BF16, scores, {}, 2).tokens == Ints{20, 20});
    }
  });
}

TEST_CASE("sample never draws NaN or -infinity") {
  std::vector<double> scores(kVocabulary, NAN);
  for (size_t i = 0; i < scores.size(); i += 3) scores[i] = -INFINITY;
  scores[7] = scores[35] = -2;
  everywhere([&](Machine &on) {
    for (float temperature : {0.0f, 1.0f}) {
      for (int64_t topK : {0, 1, 5}) {
        auto drawn = draw(on, of(1, temperature, topK, 0.999f, 0), SN_F32, scores, {}, 9);
        for (int32_t token : drawn.tokens) CHECK((token == 7 || (token == 35 && temperature > 0)));
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
      auto drawn = draw(on, of(1, 0, 0, 1, 0), dtype, scores, {}, 3);
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
      auto drawn = draw(on, of(1, temperature, 0, 1, 0), SN_F32, scores, {}, 2);
      CHECK(drawn.tokens == Ints{-1, -1});
      CHECK(std::isnan(drawn.logprobs[0]));
    }
  });
}

TEST_CASE("sample at a temperature however low draws the best, whatever the scores are") {
  everywhere([](Machine &on) {
    for (double best : {-60.0, 0.0, 60.0}) {
      std::vector<double> scores(kVocabulary, best - 3);
      scores[13] = best;
      for (float temperature : {1e-3f, 1e-30f, 1e-38f, 1e-40f}) {
        CHECK(draw(on, of(1, temperature, 0, 1, 0), SN_F32, scores, {}, 2).tokens == Ints{13, 13});
        CHECK(draw(on, of(1, temperature, 9, 0.9f, 0.1f), SN_F32, scores, {}, 2).tokens == Ints{13, 13});
      }
    }
  });
}

TEST_CASE("rows of one call are sampled each by its own settings, as alone") {
  const int64_t vocabulary = 2300, stride = vocabulary + 3, historyStride = 40;
  const sn_sampling settings[] = {of(1, 0, 0, 1, 0),       of(1, 1, 40, 1, 0),     of(3, 0.7f, 0, 1, 0),
                                  of(3, 0.7f, 0, 1, 0),    of(1.5f, 0, 0, 1, 0),   of(1, 1.2f, 0, 0.8f, 0),
                                  of(0.5f, 1, 9, 0.9f, 0), of(1, 1, 1500, 1, 0.1f)};
  constexpr size_t kRows = std::size(settings);
  auto ids = Numbers(4).below(3 * historyStride, static_cast<int32_t>(vocabulary));
  everywhere([&](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      Tensor logits(dtype, Numbers(3).normal(static_cast<int64_t>(kRows) * stride, 2));
      Ints history = ids;
      // The best of two rows stands in their histories.
      for (size_t row : {2, 4}) {
        size_t best = 0;
        for (size_t i = 1; i < static_cast<size_t>(vocabulary); ++i) {
          if (logits[row * stride + i] > logits[row * stride + best]) best = i;
        }
        history[(row == 2 ? 1 : 2) * historyStride + 5] = static_cast<int32_t>(best);
      }
      Bytes samplings(sizeof settings);
      for (size_t row = 0; row < kRows; ++row) {
        sn_sampling own = settings[row];
        own.seed = static_cast<int64_t>(row % 3);
        own.step = static_cast<int64_t>(100 + row);
        own.history = static_cast<int32_t>(row % 2 == 0 && row > 0 ? row / 2 % 3 : 0);
        own.history_length = static_cast<int32_t>(row == 3 ? 0 : 6 + 4 * row);
        std::memcpy(&samplings[row * sizeof own], &own, sizeof own);
      }
      // Rows `first` on, as many as there is room for.
      auto sample = [&](size_t first, Ints &tokens, Tensor &logprobs) {
        auto rows = static_cast<int64_t>(tokens.size());
        int64_t bytes = 0;
        REQUIRE(sn_sample_workspace(on.device, rows, vocabulary, &bytes) == SN_OK);
        Tensor workspace(SN_F32, bytes / 4);
        auto *from = static_cast<unsigned char *>(static_cast<void *>(logits)) + first * stride * bytesOf(dtype);
        REQUIRE(sn_sample(on.stream, dtype, rows, vocabulary, stride, from,
                          reinterpret_cast<const sn_sampling *>(samplings.data()) + first, 3, historyStride,
                          history.data(), tokens.data(), logprobs.floats(), workspace) == SN_OK);
      };
      Ints together(kRows, -7);
      Tensor logprobs(SN_F32, static_cast<int64_t>(kRows));
      sample(0, together, logprobs);
      on.same(together);
      for (size_t row = 0; row < kRows; ++row) {
        CAPTURE(row);
        Ints alone(1, -7);
        Tensor logprob(SN_F32, 1);
        sample(row, alone, logprob);
        CHECK(alone[0] == together[row]);
        CHECK(logprob[0] == logprobs[row]);
      }
      // The greedy rows: the best, or what the penalty leaves of it.
      auto bestOf = [&](size_t row, float penalty) {
        std::vector<double> scores(static_cast<size_t>(vocabulary));
        for (size_t i = 0; i < scores.size(); ++i) scores[i] = logits[row * stride + i];
        sn_sampling own;
        std::memcpy(&own, &samplings[row * sizeof own], sizeof own);
        std::vector<bool> seen(scores.size());
        for (int32_t i = 0; i < own.history_length; ++i) {
          seen[static_cast<size_t>(history[static_cast<size_t>(own.history * historyStride + i)])] = true;
        }
        for (size_t i = 0; i < scores.size(); ++i) {
          double factor = seen[i] ? static_cast<double>(penalty) : 1;
          scores[i] = scores[i] < 0 ? scores[i] * factor : scores[i] / factor;
        }
        return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
      };
      CHECK(together[0] == bestOf(0, 1));
      CHECK(together[4] == bestOf(4, 1.5f));
      CHECK(together[4] != bestOf(4, 1));
    }
  });
}
