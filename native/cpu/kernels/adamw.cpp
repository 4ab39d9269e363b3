// adamw.cpp: AdamW over all parameters in one pass (Loshchilov and Hutter 2019, algorithm 2), clipping included.
#include <cmath>

#include "cpu/kernels/operations.h"
#include "cpu/kernels/random.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kDecayBlock = 256;

// To one of the two neighbours in bf16, the nearer one more often (Gupta et al. 2015): what bf16 leaves out is added to
// random bits, and may carry. What is not finite stays as it is.
Vec roundStochastically(Vec x, WordVec random) {
  auto bits = reinterpret_cast<WordVec>(x);
  WordVec rounded = (bits + (random & 0xffffu)) & 0xffff0000u;
  return (bits & 0x7f800000u) == 0x7f800000u ? x : reinterpret_cast<Vec>(rounded);
}

}  // namespace

sn_status adamw(sn_stream *stream, const sn_adamw_step *step, int64_t count, const float *gradient, const float *norm,
                const uint8_t *decay_mask, float *master, float *m, float *v, int32_t stochastic, void *parameters) {
  const auto &s = *step;
  bool diverged = (norm != nullptr && !std::isfinite(*norm)) || (s.loss != nullptr && !std::isfinite(*s.loss));
  if (diverged) return SN_OK;
  float clip = s.clip != 0 && *norm > s.clip ? s.clip / *norm : 1;
  float learningRate = s.learning_rate * (s.rate == nullptr ? 1 : *s.rate);
  int64_t number = s.step + (s.clock == nullptr ? 0 : *s.clock);
  auto power = static_cast<double>(number);
  auto rate = static_cast<float>(learningRate / (1 - std::pow(double{s.beta1}, power)));
  auto rootScale = static_cast<float>(1 / std::sqrt(1 - std::pow(double{s.beta2}, power)));
  auto *copy = static_cast<bf16 *>(parameters);
  const sn_random_key key{s.seed, number, 0, nullptr};

  static_assert(kGrain % kDecayBlock == 0);
  parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block += kDecayBlock) {
      bool decays = decay_mask != nullptr && decay_mask[block / kDecayBlock] != 0;
      float shrink = decays ? 1 - learningRate * s.weight_decay : 1;
      int64_t last = block + kDecayBlock < end ? block + kDecayBlock : end;
      forVectors(last - block, [&](int64_t j, int64_t n) {
        int64_t i = block + j;
        Vec g = loadUpTo(gradient + i, n) * clip;
        Vec first = loadUpTo(m + i, n), second = loadUpTo(v + i, n);
        first = fma(g - first, broadcast(1 - s.beta1), first);
        second = fma(g * g - second, broadcast(1 - s.beta2), second);
        Vec p = loadUpTo(master + i, n) * shrink;
        p -= rate * first / fma(squareRoot(second), broadcast(rootScale), broadcast(s.epsilon));
        storeUpTo(m + i, first, n);
        storeUpTo(v + i, second, n);
        storeUpTo(master + i, p, n);
        if (copy != nullptr && !stochastic) storeUpTo(copy + i, p, n);
      });
      if (copy == nullptr || !stochastic) continue;
      forRandom(key, block, last, [&](int64_t i, WordVec random, int64_t n) {
        storeUpTo(copy + i, roundStochastically(loadUpTo(master + i, n), random), n);
      });
    }
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
