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

// Overwrites the row with scale * (softmax - one-hot). The powers wait between the two passes: in the row itself where
// it is fp32, else in `powers`, as bf16 is too coarse for that; a row too long for the scratch computes them twice.
template <typename T>
float lossAndGradient(T *row, int64_t count, int32_t target, float scale, float *powers) {
  float most = maximumOf(row, count), atTarget = toFloat(row[target]) - most;
  if constexpr (sizeof(T) == sizeof(float)) powers = row;
  double total = 0;
  if (powers != nullptr) {
    total = sumOfPowers(row, count, most, [&](int64_t j, Vec e, int64_t n) { storeUpTo(powers + j, e, n); });
    auto factor = static_cast<float>(scale / total);
    forVectors(count, [&](int64_t j, int64_t n) { storeUpTo(row + j, loadUpTo(powers + j, n) * factor, n); });
  } else {
    total = sumOfPowers(row, count, most, [](int64_t, Vec, int64_t) {});
    auto factor = static_cast<float>(scale / total);
    forVectors(count, [&](int64_t j, int64_t n) { storeUpTo(row + j, exp(loadUpTo(row + j, n) - most) * factor, n); });
  }
  row[target] = fromFloat<T>(static_cast<float>(scale * std::expm1(atTarget - std::log(total))));
  return static_cast<float>(std::log(total) - atTarget);
}

}  // namespace

sn_status cross_entropy(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                        void *logits, const int32_t *targets, float gradient_scale, float *losses) {
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
        if (gradient_scale == 0) {
          float most = maximumOf(row, vocabulary);
          double total = sumOfPowers(row, vocabulary, most, [](int64_t, Vec, int64_t) {});
          losses[i] = static_cast<float>(std::log(total) - (toFloat(row[target]) - most));
          continue;
        }
        losses[i] = lossAndGradient(row, vocabulary, target, gradient_scale, powers);
        for (int64_t j = vocabulary; j < stride; ++j) row[j] = fromFloat<T>(0);
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
