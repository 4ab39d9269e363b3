// element_loss.cu: losses of single numbers and their gradients in the numbers' place, eight a thread.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

struct SquaredError {
  static __device__ float loss(float x, float target) { return (x - target) * (x - target); }
  static __device__ float slope(float x, float target) { return 2.0f * (x - target); }
};

struct BinaryCrossEntropy {
  // log(1 + e^x) = max(x, 0) + log1p(e^-|x|). The large terms are joined first, as the right answer's cancel.
  static __device__ float loss(float x, float target) {
    return (x > 0 ? x * (1.0f - target) : -target * x) + log1pf(expf(-fabsf(x)));
  }
  static __device__ float slope(float x, float target) {
    float e = expf(-fabsf(x)), r = 1.0f / (1.0f + e);
    return (x >= 0.0f ? r : e * r) - target;
  }
};

template <typename Error, typename T>
struct ElementLoss {
  T *x;
  const float *targets, *weights;
  float scale;
  float *losses;

  __device__ void operator()(int64_t i, int count) const {
    float number[8], target[8], weight[8] = {1, 1, 1, 1, 1, 1, 1, 1}, loss[8];
    loadEight(x + i, count, number);
    loadEight(targets + i, count, target);
    if (weights != nullptr) loadEight(weights + i, count, weight);
#pragma unroll
    for (int j = 0; j < 8; ++j) loss[j] = weight[j] * Error::loss(number[j], target[j]);
    storeEight(losses + i, count, loss);
    if (scale == 0) return;
#pragma unroll
    for (int j = 0; j < 8; ++j) number[j] = scale * weight[j] * Error::slope(number[j], target[j]);
    storeEight(x + i, count, number);
  }
};

}  // namespace

sn_status element_loss(sn_stream *stream, sn_error error, sn_dtype dtype, int64_t count, void *x, const float *targets,
                       const float *weights, float gradient_scale, float *losses) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto run = [&](auto kind) {
      ElementLoss<decltype(kind), T> work{static_cast<T *>(x), targets, weights, gradient_scale, losses};
      return check(launchEights(handleOf(stream), count, work), "element_loss");
    };
    return error == SN_SQUARED_ERROR ? run(SquaredError{}) : run(BinaryCrossEntropy{});
  });
}

}  // namespace sn::cuda
