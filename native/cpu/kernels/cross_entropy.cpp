// cross_entropy.cpp: the loss of each row and, in the same visit of the row, its gradient in the logits' place.
#include <cmath>

#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int32_t kIgnored = -100;

// The row's maximum and the sum of e^(x - maximum), in one pass over the row.
template <typename T>
void maximumAndSum(const T *row, int64_t count, float *most, float *total) {
  Vec highest = broadcast(-INFINITY);
  forVectors(count, [&](int64_t j, int64_t n) { highest = maximum(highest, loadUpToOr(row + j, n, -INFINITY)); });
  *most = maximum(highest);
  Vec sums{};
  forVectors(count, [&](int64_t j, int64_t n) { sums += exp(loadUpToOr(row + j, n, -INFINITY) - *most); });
  *total = sum(sums);
}

}  // namespace

sn_status cross_entropy(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                        void *logits, const int32_t *targets, float gradient_scale, float *losses) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    parallelRange(poolOf(stream), rows, rowsPerPart(vocabulary), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        auto *row = static_cast<T *>(logits) + i * stride;
        int32_t target = targets[i];
        if (target < 0 || target >= vocabulary) {
          losses[i] = target == kIgnored ? 0.0f : NAN;
          if (gradient_scale != 0) std::memset(static_cast<void *>(row), 0, static_cast<size_t>(stride) * sizeof(T));
          continue;
        }
        float most, total;
        maximumAndSum(row, vocabulary, &most, &total);
        losses[i] = std::log(total) + (most - toFloat(row[target]));
        if (gradient_scale == 0) continue;
        float chosen = gradient_scale * (std::exp(toFloat(row[target]) - most) / total - 1);
        float scale = gradient_scale / total;
        forVectors(vocabulary,
                   [&](int64_t j, int64_t n) { storeUpTo(row + j, exp(loadUpTo(row + j, n) - most) * scale, n); });
        row[target] = fromFloat<T>(chosen);
        for (int64_t j = vocabulary; j < stride; ++j) row[j] = fromFloat<T>(0);
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
