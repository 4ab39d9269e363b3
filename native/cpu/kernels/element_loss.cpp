// element_loss.cpp: losses of single numbers and their gradients in the numbers' place.
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

struct SquaredError {
  static Vec loss(Vec x, Vec target) { return (x - target) * (x - target); }
  static Vec slope(Vec x, Vec target) { return 2.0f * (x - target); }
};

struct BinaryCrossEntropy {
  // log(1 + e^x) = max(x, 0) + log1p(e^-|x|), with log1p(e) = log(u) e / (u - 1) for u = 1 + e: what the sum rounded
  // away is put back. The large terms are joined first, as the right answer's cancel.
  static Vec loss(Vec x, Vec target) {
    Vec e = exp(-absolute(x)), u = 1.0f + e, kept = u - 1.0f;
    Vec small = kept == 0.0f ? e : log(u) * (e / kept);
    return (x > 0.0f ? x * (1.0f - target) : -target * x) + small;
  }
  static Vec slope(Vec x, Vec target) {
    Vec e = exp(-absolute(x)), r = 1.0f / (1.0f + e);
    return (x >= 0.0f ? r : e * r) - target;
  }
};

template <typename Error>
void run(sn_stream *stream, sn_dtype dtype, int64_t count, void *x, const float *targets, const float *weights,
         float scale, float *losses) {
  withType(dtype, [&](auto t) {
    auto *numbers = static_cast<decltype(t) *>(x);
    parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
      forVectors(end - begin, [&](int64_t j, int64_t n) {
        int64_t i = begin + j;
        Vec number = loadUpTo(numbers + i, n), target = loadUpTo(targets + i, n);
        Vec weight = weights == nullptr ? broadcast(1.0f) : loadUpTo(weights + i, n);
        storeUpTo(losses + i, weight * Error::loss(number, target), n);
        if (scale != 0) storeUpTo(numbers + i, scale * weight * Error::slope(number, target), n);
      });
    });
  });
}

}  // namespace

sn_status element_loss(sn_stream *stream, sn_error error, sn_dtype dtype, int64_t count, void *x, const float *targets,
                       const float *weights, float gradient_scale, float *losses) {
  auto *kind = error == SN_SQUARED_ERROR ? run<SquaredError> : run<BinaryCrossEntropy>;
  kind(stream, dtype, count, x, targets, weights, gradient_scale, losses);
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
