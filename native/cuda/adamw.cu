// adamw.cu: AdamW over all parameters in one launch (Loshchilov and Hutter 2019, algorithm 2), clipping included: the
// gradients' norm stays in device memory, no host waits for it. Bound by memory: 28 bytes a parameter, 30 with the copy
// in bf16; a thread has eight loads of 16 bytes under way.
#include <cmath>

#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kFours = 2;
constexpr int64_t kTile = int64_t{4} * kFours * kThreads;

constexpr int64_t kDecayBlock = 256;

struct Update {
  int64_t count;
  sn_adamw_step step;
  float logBeta1, logBeta2;
  const float *gradient, *norm;
  const uint8_t *decayMask;
  float *master, *m, *v;
  bf16 *copy;
  bool stochastic;
};

// What all parameters of a step share, out of device memory.
struct Scalars {
  float clip;       // what gradients are multiplied by
  float shrink;     // by weight decay
  float rate;       // learning rate over the first moment's bias
  float rootScale;  // of the root of the second moment, for its bias
  int64_t number;   // the step's
  bool diverged;

  __device__ explicit Scalars(const Update &a) {
    const sn_adamw_step &step = a.step;
    float norm = a.norm == nullptr ? 0.0f : *a.norm, loss = step.loss == nullptr ? 0.0f : *step.loss;
    float learningRate = step.learning_rate * (step.rate == nullptr ? 1.0f : *step.rate);
    number = step.step + (step.clock == nullptr ? 0 : *step.clock);
    diverged = !isfinite(norm) || !isfinite(loss);
    clip = step.clip != 0 && norm > step.clip ? step.clip / norm : 1.0f;
    shrink = 1.0f - learningRate * step.weight_decay;
    // 1 - beta^n without the cancellation.
    auto power = static_cast<float>(number);
    rate = learningRate / -expm1f(power * a.logBeta1);
    rootScale = 1.0f / sqrtf(-expm1f(power * a.logBeta2));
  }
};

// To one of the two neighbours in bf16, the nearer one more often (Gupta et al. 2015): what bf16 leaves out is added to
// random bits, and may carry. What is not finite stays as it is.
__device__ __forceinline__ float roundStochastically(float x, uint32_t random) {
  uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return __uint_as_float((bits + (random & 0xffffu)) & 0xffff0000u);
}

// Four parameters with all that belongs to them.
struct Four {
  Packed<float, 4> gradient, m, v, master;

  __device__ void load(const Update &a, int64_t at) {
    gradient = loadPacked<4>(a.gradient + at, a.count - at);
    m = loadPacked<4>(a.m + at, a.count - at);
    v = loadPacked<4>(a.v + at, a.count - at);
    master = loadPacked<4>(a.master + at, a.count - at);
  }

  __device__ void update(const Update &a, int64_t at, const Scalars &now) const {
    bool decays = a.decayMask != nullptr && a.decayMask[at / kDecayBlock] != 0;
    float shrink = decays ? now.shrink : 1.0f;
    float g[4], first[4], second[4], p[4];
    gradient.unpack(g);
    m.unpack(first);
    v.unpack(second);
    master.unpack(p);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      g[i] *= now.clip;
      first[i] = fmaf(g[i] - first[i], 1.0f - a.step.beta1, first[i]);
      second[i] = fmaf(g[i] * g[i] - second[i], 1.0f - a.step.beta2, second[i]);
      p[i] = p[i] * shrink - now.rate * first[i] / fmaf(sqrtf(second[i]), now.rootScale, a.step.epsilon);
    }
    int64_t count = a.count - at;
    storeElements(a.m + at, count, first);
    storeElements(a.v + at, count, second);
    storeElements(a.master + at, count, p);
    if (a.copy == nullptr) return;
    if (a.stochastic) {
      Philox random = Philox::of({a.step.seed, now.number, 0, nullptr}, at / 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) p[i] = roundStochastically(p[i], random.word[i]);
    }
    storeElements(a.copy + at, count, p);
  }
};

__global__ void __launch_bounds__(kThreads) updateTile(Update a) {
  Four fours[kFours];
  int64_t first = blockIdx.x * kTile + 4 * threadIdx.x;
#pragma unroll
  for (int i = 0; i < kFours; ++i) fours[i].load(a, first + 4 * i * kThreads);
  Scalars now(a);
  if (now.diverged) return;
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    int64_t at = first + 4 * i * kThreads;
    if (at < a.count) fours[i].update(a, at, now);
  }
}

}  // namespace

sn_status adamw(sn_stream *stream, const sn_adamw_step *step, int64_t count, const float *gradient, const float *norm,
                const uint8_t *decay_mask, float *master, float *m, float *v, int32_t stochastic, void *parameters) {
  Update work{};
  work.count = count;
  work.step = *step;
  work.logBeta1 = static_cast<float>(std::log(double{step->beta1}));
  work.logBeta2 = static_cast<float>(std::log(double{step->beta2}));
  work.gradient = gradient;
  work.norm = norm;
  work.decayMask = decay_mask;
  work.master = master;
  work.m = m;
  work.v = v;
  work.copy = static_cast<bf16 *>(parameters);
  work.stochastic = stochastic != 0;
  auto blocks = static_cast<unsigned>((count + kTile - 1) / kTile);
  return check(launch(updateTile, dim3(blocks), dim3(kThreads), 0, handleOf(stream), work), "adamw");
}

}  // namespace sn::cuda
