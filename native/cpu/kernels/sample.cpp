// sample.cpp: the choice of the next token from a row of logits: repetition penalty, temperature, top-k, top-p, min-p,
// then a draw (Holtzman et al. 2020 for top-p). Without a full sort: candidates are narrowed by thresholds first.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "common/philox.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

struct Candidate {
  float score;  // less that of the best
  int32_t id;
};

// The order of a ranking: higher scores first, lower ids among equals.
bool before(const Candidate &a, const Candidate &b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

// A row's scratch: scores [vocabulary] and candidates [vocabulary].
int64_t rowFloats(int64_t vocabulary) { return (3 * vocabulary + 15) / 16 * 16; }

// Sorts just so many of the best to the front as hold `mass` of the total, which is the sum over all of e^score.
// Returns how many those are: the one that crosses the mass is among them.
int64_t nucleus(Candidate *all, int64_t count, float mass, double total) {
  double sum = 0;
  int64_t sorted = 0;
  for (int64_t chunk = 64; sorted < count; chunk *= 4) {
    int64_t end = sorted + chunk < count ? sorted + chunk : count;
    std::nth_element(all + sorted, all + end - 1, all + count, before);
    std::sort(all + sorted, all + end, before);
    for (; sorted < end; ++sorted) {
      sum += std::exp(static_cast<double>(all[sorted].score));
      if (sum >= mass * total) return sorted + 1;
    }
  }
  return count;
}

int32_t draw(const Candidate *all, int64_t count, float uniformNumber) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += std::exp(static_cast<double>(all[i].score));
  double left = uniformNumber * total;
  for (int64_t i = 0; i < count; ++i) {
    left -= std::exp(static_cast<double>(all[i].score));
    if (left < 0) return all[i].id;
  }
  return all[count - 1].id;
}

// The highest score that is a number, and the lowest id that has it; id -1 where there is none above -infinity.
template <typename T>
Candidate bestOf(const T *scores, int64_t vocabulary) {
  Vec highest = broadcast(-INFINITY);
  forVectors(vocabulary, [&](int64_t j, int64_t n) {
    highest = maximum(loadUpToOr(scores + j, n, -INFINITY), highest);  // in this order NaN is passed over
  });
  float most = maximum(highest);
  if (most == -INFINITY) return {most, -1};
  int64_t id = 0;
  while (toFloat(scores[id]) != most) ++id;
  return {most, static_cast<int32_t>(id)};
}

// A draw from all tokens, in the order of their ids: scores become probabilities, up to a factor. A block's sum is
// looked at before its tokens are.
int32_t drawFromAll(float *scores, int64_t vocabulary, float most, float inverse, float uniformNumber) {
  constexpr int64_t kTogether = 512;
  auto blockSum = [&](int64_t first) {
    double sums = 0;
    for (int64_t i = first; i < first + kTogether && i < vocabulary; ++i) sums += static_cast<double>(scores[i]);
    return sums;
  };
  forVectors(vocabulary, [&](int64_t j, int64_t n) {
    Vec score = (loadUpTo(scores + j, n) - most) * inverse;
    storeUpTo(scores + j, score == score ? exp(score) : Vec{}, n);
  });
  double total = 0;
  for (int64_t first = 0; first < vocabulary; first += kTogether) total += blockSum(first);
  double left = static_cast<double>(uniformNumber) * total;
  int32_t last = -1;  // of a probability above 0, where rounding leaves a rest
  for (int64_t first = 0; first < vocabulary; first += kTogether) {
    double sums = blockSum(first);
    if (left >= sums && first + kTogether < vocabulary) {
      left -= sums;
      continue;
    }
    for (int64_t i = first; i < first + kTogether && i < vocabulary; ++i) {
      if (scores[i] == 0) continue;
      last = static_cast<int32_t>(i);
      left -= static_cast<double>(scores[i]);
      if (left < 0) return last;
    }
  }
  return last;
}

int32_t choose(const sn_sampling &how, float *scores, int64_t vocabulary, Candidate *candidates,
               const sn_random_key &key) {
  auto [most, best] = bestOf(scores, vocabulary);
  if (best < 0 || !std::isfinite(most)) return -1;
  if (how.temperature == 0) return best;

  // From the best on down, so that the best stays however low the temperature is.
  float inverse = std::min(1.0f / how.temperature, FLT_MAX), drawn = uniform(Philox::of(key, 0).word[0]);
  if (how.top_k <= 0 && how.top_p >= 1 && how.min_p <= 0) {
    int32_t token = drawFromAll(scores, vocabulary, most, inverse, drawn);
    return token < 0 ? best : token;
  }
  int64_t count = 0;
  for (int64_t i = 0; i < vocabulary; ++i) {
    float score = (scores[i] - most) * inverse;
    if (score == score && score != -INFINITY) candidates[count++] = {score, static_cast<int32_t>(i)};
  }
  if (how.top_k > 0 && how.top_k < count) {
    std::nth_element(candidates, candidates + how.top_k - 1, candidates + count, before);
    float least = candidates[how.top_k - 1].score;
    // Ties with the k-th stay.
    count = std::partition(candidates, candidates + count, [&](const Candidate &c) { return c.score >= least; }) -
            candidates;
  }
  if (how.top_p < 1) {
    double total = 0;
    for (int64_t i = 0; i < count; ++i) total += std::exp(static_cast<double>(candidates[i].score));
    count = nucleus(candidates, count, how.top_p, total);
  }
  if (how.min_p > 0) {
    float least = std::log(how.min_p);
    count = std::partition(candidates, candidates + count, [&](const Candidate &c) { return c.score >= least; }) -
            candidates;
  }
  std::sort(candidates, candidates + count, [](const Candidate &a, const Candidate &b) { return a.id < b.id; });
  return draw(candidates, count, drawn);
}

template <typename T>
float logprobOf(const T *logits, int64_t vocabulary, int32_t token) {
  if (token < 0) return NAN;
  Vec highest = broadcast(-INFINITY);
  forVectors(vocabulary,
             [&](int64_t j, int64_t n) { highest = maximum(highest, loadUpToOr(logits + j, n, -INFINITY)); });
  float most = maximum(highest);
  Vec sums{};
  forVectors(vocabulary, [&](int64_t j, int64_t n) { sums += exp(loadUpToOr(logits + j, n, -INFINITY) - most); });
  return toFloat(logits[token]) - most - std::log(sum(sums));
}

}  // namespace

sn_status sample_workspace(const sn_device *, int64_t rows, int64_t vocabulary, int64_t *bytes) {
  *bytes = rows * rowFloats(vocabulary) * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status sample(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                 const void *logits, const sn_sampling *samplings, int64_t histories, int64_t history_stride,
                 const int32_t *history, int32_t *tokens, float *logprobs, void *workspace) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    parallel(poolOf(stream), rows, [&](int64_t row, int32_t) {
      const auto &how = samplings[row];
      auto *source = static_cast<const T *>(logits) + row * stride;
      auto *scores = static_cast<float *>(workspace) + row * rowFloats(vocabulary);
      auto *candidates = reinterpret_cast<Candidate *>(scores + vocabulary);
      bool remembers = how.history >= 0 && how.history < histories && how.history_length <= history_stride;
      bool penalises = how.repetition_penalty != 1 && remembers;
      if (how.temperature == 0 && !penalises) {
        Candidate best = bestOf(source, vocabulary);
        tokens[row] = std::isfinite(best.score) ? best.id : -1;
        if (logprobs != nullptr) logprobs[row] = logprobOf(source, vocabulary, tokens[row]);
        return;
      }
      forVectors(vocabulary, [&](int64_t j, int64_t n) { storeUpTo(scores + j, loadUpTo(source + j, n), n); });
      if (penalises) {
        // From the unprocessed logits, so that an id that comes twice is penalised once.
        for (int32_t i = 0; i < how.history_length; ++i) {
          int32_t id = history[how.history * history_stride + i];
          if (id < 0 || id >= vocabulary) continue;
          float score = toFloat(source[id]);
          scores[id] = score < 0 ? score * how.repetition_penalty : score / how.repetition_penalty;
        }
      }
      tokens[row] = choose(how, scores, vocabulary, candidates, {how.seed, how.step, 0, nullptr});
      if (logprobs != nullptr) logprobs[row] = logprobOf(source, vocabulary, tokens[row]);
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
