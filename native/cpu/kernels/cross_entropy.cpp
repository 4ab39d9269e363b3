// cross_entropy.cpp: the loss of each row and, in the same visit of the row, its gradient in the logits' place.
#include <cmath>

#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int32_t kIgnored = -100;

template <typename T>
float maximumOf(const T *row, int64_t count) {
  Vec highest = broadcast(-INFINITY);
  forVectors(count, [&](int64_t j, int64_t n) { highest = maximum(highest, loadUpToOr(row + j, n, -INFINITY)); });
  return maximum(highest);
}

// The sum of e^(x - most). Each vector's worth of sums stays short, or a vocabulary's sum would lose digits.
// `keep(j, e, n)` gets the powers as they come.
template <typename T, typename Keep>
double sumOfPowers(const T *row, int64_t count, float most, Keep &&keep) {
  constexpr int64_t kShort = 64 * kLanes;
  double total = 0;
  for (int64_t i = 0; i < count; i += kShort) {
    Vec sums{};
    forVectors(count - i < kShort ? count - i : kShort, [&](int64_t j, int64_t n) {
      Vec e = exp(loadUpToOr(row + i + j, n, -INFINITY) - most);
      sums += e;
      keep(i + j, e, n);
    });
    total += static_cast<double>(sum(sums));
  }
  return total;
}

// The mean of x - most. In short sums, as above.
template <typename T>
double meanBelow(const T *row, int64_t count, float most) {
  constexpr int64_t kShort = 64 * kLanes;
  double total = 0;
  for (int64_t i = 0; i < count; i += kShort) {
    Vec sums{};
    forVectors(count - i < kShort ? count - i : kShort,
               [&](int64_t j, int64_t n) { sums += loadUpToOr(row + i + j, n, most) - most; });
    total += static_cast<double>(sum(sums));
  }
  return total / static_cast<double>(count);
}

// The row's loss as a function of ln(sum of e^(x - most)), x - most at the target, and the mean of all x - most.
float smoothed(double logarithm, float atTarget, double mean, float smoothing) {
  return static_cast<float>(logarithm - (1 - static_cast<double>(smoothing)) * static_cast<double>(atTarget) -
                            static_cast<double>(smoothing) * mean);
}

// Overwrites the row with scale * (softmax - (1 - smoothing) one-hot - smoothing / count). The powers wait between the
// two passes: in the row itself where it is fp32, else in `powers`, as bf16 is too coarse for that; a row too long for
// the scratch computes them twice.
template <typename T>
float lossAndGradient(T *row, int64_t count, int32_t target, float smoothing, float scale, float *powers) {
  float most = maximumOf(row, count), atTarget = toFloat(row[target]) - most;
  if constexpr (sizeof(T) == sizeof(float)) powers = row;
  double mean = smoothing > 0 ? meanBelow(row, count, most) : 0, total = 0;
  float share = scale * smoothing / static_cast<float>(count);
  if (powers != nullptr) {
    total = sumOfPowers(row, count, most, [&](int64_t j, Vec e, int64_t n) { storeUpTo(powers + j, e, n); });
    auto factor = static_cast<float>(scale / total);
    forVectors(count, [&](int64_t j, int64_t n) {
      storeUpTo(row + j, fma(loadUpTo(powers + j, n), broadcast(factor), broadcast(-share)), n);
    });
  } else {
    total = sumOfPowers(row, count, most, [](int64_t, Vec, int64_t) {});
    auto factor = static_cast<float>(scale / total);
    forVectors(count, [&](int64_t j, int64_t n) {
      storeUpTo(row + j, fma(exp(loadUpTo(row + j, n) - most), broadcast(factor), broadcast(-share)), n);
    });
  }
  double logarithm = std::log(total), atOne = std::expm1(atTarget - logarithm) + smoothing;
  row[target] = fromFloat<T>(static_cast<float>(scale * atOne) - share);
  return smoothed(logarithm, atTarget, mean, smoothing);
}

}  // namespace

sn_status cross_entropy(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                        float smoothing, void *logits, const int32_t *targets, const float *weights,
                        float gradient_scale, float *losses) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    int64_t together = rowsPerPart(vocabulary);
    parallel(poolOf(stream), (rows + together - 1) / together, [&](int64_t part, int32_t worker) {
      bool fits = vocabulary * static_cast<int64_t>(sizeof(float)) <= kScratchBytes;
      auto *powers = fits ? static_cast<float *>(deviceOf(stream).scratch(worker)) : nullptr;
      for (int64_t i = part * together; i < rows && i < (part + 1) * together; ++i) {
        auto *row = static_cast<T *>(logits) + i * stride;
        int32_t target = targets[i];
        if (target < 0 || target >= vocabulary) {
          losses[i] = target == kIgnored ? 0.0f : NAN;
          if (gradient_scale != 0) std::memset(static_cast<void *>(row), 0, static_cast<size_t>(stride) * sizeof(T));
          continue;
        }
        float weight = weights == nullptr ? 1.0f : weights[i];
        if (gradient_scale == 0) {
          float most = maximumOf(row, vocabulary);
          double total = sumOfPowers(row, vocabulary, most, [](int64_t, Vec, int64_t) {});
          double mean = smoothing > 0 ? meanBelow(row, vocabulary, most) : 0;
          losses[i] = weight * smoothed(std::log(total), toFloat(row[target]) - most, mean, smoothing);
          continue;
        }
        losses[i] = weight * lossAndGradient(row, vocabulary, target, smoothing, weight * gradient_scale, powers);
        for (int64_t j = vocabulary; j < stride; ++j) row[j] = fromFloat<T>(0);
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
