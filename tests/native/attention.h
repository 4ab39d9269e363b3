// attention.h: attention as the formula has it, in double, with the whole matrix of scores; forward and backward.
#pragma once

#include "common/philox.h"
#include "testing.h"

namespace sn::testing {

// q, k, v and out of a call, with the places of their elements.
struct AttentionLayout {
  sn_attention_shape s;

  size_t q(int64_t b, int64_t i, int64_t h, int64_t d) const {
    return static_cast<size_t>((b * s.queries + i) * s.q_stride + h * s.head_size + d);
  }
  size_t out(int64_t b, int64_t i, int64_t h, int64_t d) const {
    return static_cast<size_t>((b * s.queries + i) * s.out_stride + h * s.head_size + d);
  }
  size_t k(int64_t b, int64_t j, int64_t h, int64_t d) const {
    return static_cast<size_t>((b * s.keys + j) * s.k_stride + h / (s.heads / s.kv_heads) * s.head_size + d);
  }
  size_t v(int64_t b, int64_t j, int64_t h, int64_t d) const {
    return static_cast<size_t>((b * s.keys + j) * s.v_stride + h / (s.heads / s.kv_heads) * s.head_size + d);
  }
  int64_t row(int64_t b, int64_t h, int64_t i) const { return (b * s.heads + h) * s.queries + i; }

  int64_t qSize() const { return s.batch * s.queries * s.q_stride; }
  int64_t kSize() const { return s.batch * s.keys * s.k_stride; }
  int64_t vSize() const { return s.batch * s.keys * s.v_stride; }
  int64_t outSize() const { return s.batch * s.queries * s.out_stride; }
  int64_t rows() const { return s.batch * s.heads * s.queries; }

  double scale() const {
    return s.scale == 0 ? 1 / std::sqrt(static_cast<double>(s.head_size)) : static_cast<double>(s.scale);
  }

  bool sees(int64_t b, int64_t i, int64_t j) const {
    if (s.key_lengths != nullptr && j >= s.key_lengths[b]) return false;
    if (s.key_starts != nullptr && j < s.key_starts[b * s.queries + i]) return false;
    int64_t last = i + s.keys - s.queries;
    return (!s.causal || j <= last) && (s.window == 0 || j > last - s.window);
  }

  // 0 for a dropped probability, else 1 / (1 - p).
  double kept(int64_t row, int64_t j) const {
    if (s.dropout == 0) return 1;
    int64_t index = row * s.keys + j;
    uint32_t word = Philox::of(s.key, index / 4).word[index % 4];
    return uniform(word) >= s.dropout ? 1 / (1 - static_cast<double>(s.dropout)) : 0;
  }
};

// What is between two products: exact, or as tensor cores take it.
using Rounding = double (*)(double);

inline double exactly(double x) { return x; }
inline double toBf16(double x) {
  static auto &number = *new Tensor(SN_BF16, 1);
  number.set(0, x);
  return number[0];
}

// softmax of one row, rounded before the division; false where it sees nothing.
template <typename Values>
bool probabilities(const AttentionLayout &at, const Values &q, const Values &k, int64_t b, int64_t h, int64_t i,
                   std::vector<double> *p, double *lse, Rounding rounded = exactly) {
  const auto &s = at.s;
  p->assign(static_cast<size_t>(s.keys), 0);
  double most = -INFINITY, total = 0;
  for (int64_t j = 0; j < s.keys; ++j) {
    double score = 0;
    for (int64_t d = 0; d < s.head_size; ++d) score += q[at.q(b, i, h, d)] * k[at.k(b, j, h, d)];
    (*p)[static_cast<size_t>(j)] = at.sees(b, i, j) ? at.scale() * score : -INFINITY;
    most = std::max(most, (*p)[static_cast<size_t>(j)]);
  }
  *lse = -INFINITY;
  if (most == -INFINITY) {
    p->assign(p->size(), 0);
    return false;
  }
  for (auto &x : *p) total += x = std::exp(x - most);
  for (auto &x : *p) x = rounded(x) / total;
  *lse = most + std::log(total);
  return true;
}

// outSize: for each element of out, the sum of its terms' absolute values.
struct AttentionResult {
  std::vector<double> out, outSize, lse;
};

// Elements of `out` between the rows stay as they were: NaN.
template <typename Values>
AttentionResult attentionForward(const AttentionLayout &at, const Values &q, const Values &k, const Values &v,
                                 Rounding rounded = exactly) {
  const auto &s = at.s;
  std::vector<double> none(static_cast<size_t>(at.outSize()), NAN);
  AttentionResult result{none, none, {}};
  std::vector<double> p;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.queries; ++i) {
        double lse;
        probabilities(at, q, k, b, h, i, &p, &lse, rounded);
        result.lse.push_back(lse);
        for (int64_t j = 0; j < s.keys; ++j) p[static_cast<size_t>(j)] *= at.kept(at.row(b, h, i), j);
        for (int64_t d = 0; d < s.head_size; ++d) {
          double sum = 0, size = 0;
          for (int64_t j = 0; j < s.keys; ++j) {
            double term = p[static_cast<size_t>(j)] * v[at.v(b, j, h, d)];
            sum += term;
            size += std::abs(term);
          }
          result.out[at.out(b, i, h, d)] = sum;
          result.outSize[at.out(b, i, h, d)] = size;
        }
      }
    }
  }
  return result;
}

// dqSize and so on: for each element the sum of its terms' absolute values.
struct AttentionGradient {
  std::vector<double> dq, dk, dv, dqSize, dkSize, dvSize;
};

// `out`: what the forward pass gave, whose rounding the row sums of dout * out have; null: exact.
template <typename Values>
AttentionGradient attentionBackward(const AttentionLayout &at, const Values &q, const Values &k, const Values &v,
                                    const Values &dout, const Values *out = nullptr, Rounding rounded = exactly) {
  const auto &s = at.s;
  auto none = [](int64_t count) { return std::vector<double>(static_cast<size_t>(count), NAN); };
  AttentionGradient result{none(at.qSize()), none(at.kSize()), none(at.vSize()),
                           none(at.qSize()), none(at.kSize()), none(at.vSize())};
  auto addTo = [](double *sum, double x) { *sum = (std::isnan(*sum) ? 0 : *sum) + x; };
  auto add = [&](std::vector<double> *sums, std::vector<double> *sizes, size_t at_, double x) {
    addTo(&(*sums)[at_], x);
    addTo(&(*sizes)[at_], std::abs(x));
  };
  std::vector<double> p;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.queries; ++i) {
        double lse;
        probabilities(at, q, k, b, h, i, &p, &lse);
        std::vector<double> dp(p.size());
        double mean = 0;
        for (int64_t j = 0; j < s.keys; ++j) {
          double kept = at.kept(at.row(b, h, i), j), x = p[static_cast<size_t>(j)], factor = kept == 0 ? 0 : rounded(x);
          for (int64_t d = 0; d < s.head_size; ++d) {
            double g = dout[at.out(b, i, h, d)];
            dp[static_cast<size_t>(j)] += kept * g * v[at.v(b, j, h, d)];
            add(&result.dv, &result.dvSize, at.v(b, j, h, d), kept * factor * g);
          }
          mean += x * dp[static_cast<size_t>(j)];
        }
        if (out != nullptr) {
          mean = 0;
          for (int64_t d = 0; d < s.head_size; ++d) mean += dout[at.out(b, i, h, d)] * (*out)[at.out(b, i, h, d)];
        }
        for (int64_t j = 0; j < s.keys; ++j) {
          double ds = at.scale() * rounded(p[static_cast<size_t>(j)] * (dp[static_cast<size_t>(j)] - mean));
          for (int64_t d = 0; d < s.head_size; ++d) {
            add(&result.dq, &result.dqSize, at.q(b, i, h, d), ds * k[at.k(b, j, h, d)]);
            add(&result.dk, &result.dkSize, at.k(b, j, h, d), ds * q[at.q(b, i, h, d)]);
          }
        }
      }
    }
  }
  return result;
}

// For tensor cores: an operand between two products, probabilities or their gradients, is rounded to bf16, as in every
// implementation on them. `expected` is exact, `sizes` the sums of the terms' absolute values, `sameRoundings` a
// reference in double that rounds where they do.
//
// An element is off by at most a unit of bf16 (2^-8) of each term and of itself. Over all elements the error is at most
// 1.1 times that of the reference, where chance allows to say so: there must be thousands of elements.
inline void checkRounded(const Tensor &actual, const std::vector<double> &expected, const std::vector<double> &sizes,
                         const std::vector<double> &sameRoundings) {
  REQUIRE(actual.size() == expected.size());
  Tensor reference(actual.dtype(), sameRoundings);
  constexpr double kUnit = 0x1p-8 * (1 + 0x1p-7);  // of what is rounded twice
  double excess = -1, squares = 0, referenceSquares = 0;
  size_t worst = 0, count = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    double error = std::abs(actual[i] - expected[i]), own = std::abs(reference[i] - expected[i]);
    double over = error - kUnit * (std::abs(expected[i]) + sizes[i]) - 3e-6;
    if (std::isnan(over)) over = std::numeric_limits<double>::infinity();
    if (over > excess) {
      excess = over;
      worst = i;
    }
    squares += error * error;
    referenceSquares += own * own;
    ++count;
  }
  CHECK_MESSAGE(excess <= 0, "element ", worst, " is ", actual[worst], ", expected ", expected[worst]);
  if (count >= 4096) CHECK(std::sqrt(squares) <= 1.1 * std::sqrt(referenceSquares));
}

// Real keys of each sequence: all, none, one, and numbers within a tile. They live as long as the tests, where the
// device sees them.
inline const int32_t *keyLengths(int64_t batch, int64_t keys) {
  static auto &kept = *new std::vector<Ints>;
  auto all = static_cast<int32_t>(keys);
  const int32_t values[] = {all * 2 / 3, 0, all, 1, all / 2};
  kept.emplace_back(values, values + batch);
  return kept.back().data();
}

// Packed sequences: of random lengths; of one row each; and one that ends in rows of none. They live as keyLengths do.
inline const int32_t *keyStarts(int64_t batch, int64_t queries, int64_t keys) {
  static auto &kept = *new std::vector<Ints>;
  Ints starts;
  for (int64_t b = 0; b < batch; ++b) {
    auto draws = Numbers(static_cast<uint32_t>(queries + b)).below(queries, 24);
    int64_t start = 0;
    for (int64_t i = 0; i < queries; ++i) {
      int64_t own = std::max<int64_t>(i + keys - queries, 0);
      if (b % 3 == 1 || (b % 3 == 0 && draws[static_cast<size_t>(i)] == 0)) start = own;
      if (b % 3 == 2 && i == queries * 3 / 4) start = keys;
      starts.push_back(static_cast<int32_t>(start));
    }
  }
  kept.push_back(starts);
  return kept.back().data();
}

// What most tests vary of a call.
struct AttentionCase {
  int64_t batch, queries, keys, heads, kvHeads, headSize;
  int32_t causal = 1;
  int64_t window = 0;
  bool padded = false, packed = false;
};

// Rows of heads, and nothing between them.
inline sn_attention_shape attentionShape(const AttentionCase &c, sn_dtype dtype) {
  sn_attention_shape s{};
  s.batch = c.batch;
  s.queries = c.queries;
  s.keys = c.keys;
  s.heads = c.heads;
  s.kv_heads = c.kvHeads;
  s.head_size = c.headSize;
  s.q_stride = s.out_stride = c.heads * c.headSize;
  s.k_stride = s.v_stride = c.kvHeads * c.headSize;
  s.dtype = dtype;
  s.causal = c.causal;
  s.window = c.window;
  s.key_lengths = c.padded ? keyLengths(c.batch, c.keys) : nullptr;
  s.key_starts = c.packed ? keyStarts(c.batch, c.queries, c.keys) : nullptr;
  return s;
}

// Shapes that meet every edge: one element, odd sizes, blocks that end early, shared heads, windows, columns of one
// matrix, rows that see nothing, dropped probabilities, packed sequences.
inline std::vector<sn_attention_shape> attentionShapes(sn_dtype dtype) {
  struct Case {
    int64_t batch, queries, keys, heads, kvHeads, headSize, gap;
    int32_t causal;
    int64_t window;
    float dropout;
    bool padded = false, packed = false;
  };
  constexpr Case kCases[] = {
      {1, 1, 1, 1, 1, 1, 0, 1, 0, 0},
      {2, 7, 7, 3, 3, 5, 0, 1, 0, 0},
      {1, 65, 65, 2, 2, 64, 7, 1, 0, 0},
      {1, 130, 130, 2, 1, 32, 0, 1, 0, 0},
      {1, 33, 129, 2, 2, 17, 0, 1, 0, 0},
      {2, 50, 77, 2, 2, 40, 3, 0, 0, 0},
      {1, 100, 100, 2, 2, 16, 0, 1, 9, 0},
      {1, 70, 200, 1, 1, 24, 0, 1, 65, 0},
      {1, 60, 45, 1, 1, 8, 0, 0, 20, 0},
      {1, 90, 20, 1, 1, 8, 0, 1, 0, 0},
      {1, 49, 49, 1, 1, 256, 0, 1, 0, 0},
      {1, 20, 140, 6, 2, 72, 0, 1, 0, 0},
      {2, 40, 70, 2, 1, 16, 0, 1, 0, 0.25f},
      // Around the borders of the GPU's tiles, and each of its head sizes, in whole pieces of 16 bytes and not.
      {1, 127, 127, 1, 1, 64, 8, 1, 0, 0},
      {1, 129, 129, 2, 1, 64, 0, 1, 64, 0},
      {1, 65, 193, 1, 1, 64, 1, 1, 63, 0},
      {1, 128, 64, 1, 1, 80, 0, 0, 0, 0},
      {1, 33, 97, 2, 2, 96, 8, 1, 65, 0},
      {1, 70, 63, 1, 1, 128, 4, 1, 0, 0},
      {1, 64, 65, 4, 2, 128, 8, 1, 33, 0},
      {1, 31, 66, 1, 1, 256, 8, 0, 0, 0},
      {2, 17, 31, 3, 1, 32, 8, 0, 7, 0},
      {1, 66, 67, 1, 1, 64, 0, 1, 0, 0.5f},
      {1, 35, 64, 2, 1, 128, 0, 0, 0, 0.1f},
      {1, 20, 34, 1, 1, 200, 0, 1, 0, 0.2f},
      {1, 129, 129, 1, 1, 32, 0, 1, 2, 0},
      // Sequences of which the last keys are padding; of one all are.
      {5, 33, 129, 2, 1, 64, 0, 0, 0, 0, true},
      {4, 70, 70, 1, 1, 32, 4, 0, 0, 0, true},
      {3, 20, 100, 2, 2, 24, 0, 0, 0, 0.2f, true},
      {2, 65, 65, 1, 1, 128, 0, 0, 0, 0, true},
      // Sequences packed one after the other.
      {3, 1, 1, 1, 1, 5, 0, 1, 0, 0, false, true},
      {3, 7, 7, 3, 3, 5, 2, 1, 0, 0, false, true},
      {3, 33, 33, 2, 1, 64, 0, 1, 0, 0, false, true},
      {3, 129, 129, 2, 2, 32, 8, 1, 0, 0, false, true},
      {3, 129, 129, 1, 1, 64, 0, 1, 20, 0, false, true},
      {4, 65, 193, 2, 1, 64, 8, 1, 0, 0, false, true},
      {3, 90, 20, 1, 1, 17, 0, 1, 0, 0, false, true},
      {2, 257, 257, 1, 1, 96, 0, 1, 0, 0, false, true},
      {1, 129, 129, 2, 1, 128, 0, 1, 0, 0, false, true},
      {1, 70, 70, 1, 1, 256, 0, 1, 0, 0, false, true},
      {3, 66, 66, 2, 1, 64, 0, 1, 0, 0.3f, false, true},
      {3, 130, 130, 1, 1, 40, 0, 1, 9, 0.2f, false, true},
  };
  std::vector<sn_attention_shape> shapes;
  for (const auto &c : kCases) {
    auto s = attentionShape(
        {c.batch, c.queries, c.keys, c.heads, c.kvHeads, c.headSize, c.causal, c.window, c.padded, c.packed}, dtype);
    s.q_stride += c.gap;
    s.k_stride += 2 * c.gap;
    s.v_stride += 2 * c.gap;
    s.out_stride += c.gap;
    // Of its own, and such that scores stay small enough for fp32 to hold the tolerances.
    s.scale = c.gap == 0 ? 0.0f : c.headSize <= 64 ? 0.3f : 0.1f;
    s.dropout = c.dropout;
    s.key = {5, 6, 7, nullptr};
    shapes.push_back(s);
  }
  return shapes;
}

}  // namespace sn::testing
