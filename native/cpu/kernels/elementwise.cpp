// elementwise.cpp: operations on each element by itself.
#include <cmath>

#include "cpu/kernels/activation.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/random.h"

namespace sn::cpu::SN_ISA {

namespace {

// f(first, count) for the vectors of all elements, on all threads.
template <typename F>
void forAll(sn_stream *stream, int64_t count, F &&f) {
  parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
    forVectors(end - begin, [&](int64_t i, int64_t n) { f(begin + i, n); });
  });
}

}  // namespace

sn_status cast(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_dtype to, void *out) {
  withType(from, [&](auto f) {
    withType(to, [&](auto t) {
      auto *source = static_cast<const decltype(f) *>(in);
      auto *target = static_cast<decltype(t) *>(out);
      forAll(stream, count, [&](int64_t i, int64_t n) { storeUpTo(target + i, loadUpTo(source + i, n), n); });
    });
  });
  return SN_OK;
}

sn_status add(sn_stream *stream, sn_dtype dtype, int64_t count, const void *a, const void *b, void *out) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *left = static_cast<const T *>(a), *right = static_cast<const T *>(b);
    auto *sums = static_cast<T *>(out);
    forAll(stream, count,
           [&](int64_t i, int64_t n) { storeUpTo(sums + i, loadUpTo(left + i, n) + loadUpTo(right + i, n), n); });
  });
  return SN_OK;
}

// Box and Muller 1958: two normal numbers from two uniform ones, which lie side by side.
sn_status random_normal(sn_stream *stream, int64_t count, float mean, float deviation, sn_random_key key, float *out) {
  IntVec radii, angles, isOdd;
  for (int i = 0; i < kLanes; ++i) {
    radii[i] = i / 2 * 2;
    angles[i] = i / 2 * 2 + 1;
    isOdd[i] = -(i % 2);
  }
  static_assert(kGrain % 4 == 0);
  key = keyNow(key);
  parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
    forRandom(key, begin, end, [&](int64_t i, WordVec words, int64_t n) {
      Vec numbers = uniform(words), cosine, sine;
      Vec radius = deviation * squareRoot(-2.0f * log(__builtin_shuffle(numbers, radii)));
      turn(__builtin_shuffle(numbers, angles), &cosine, &sine);
      storeUpTo(out + i, fma(radius, isOdd ? sine : cosine, broadcast(mean)), n);
    });
  });
  return SN_OK;
}

sn_status activation_forward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count, const void *x,
                             void *out) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(x);
    auto *target = static_cast<T *>(out);
    withActivation(activation, [&](auto f) {
      forAll(stream, count, [&](int64_t i, int64_t n) { storeUpTo(target + i, f.value(loadUpTo(source + i, n)), n); });
    });
  });
  return SN_OK;
}

sn_status activation_backward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count, const void *x,
                              const void *dout, void *dx) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(x), *upper = static_cast<const T *>(dout);
    auto *target = static_cast<T *>(dx);
    withActivation(activation, [&](auto f) {
      forAll(stream, count, [&](int64_t i, int64_t n) {
        storeUpTo(target + i, loadUpTo(upper + i, n) * f.slope(loadUpTo(source + i, n)), n);
      });
    });
  });
  return SN_OK;
}

sn_status dropout(sn_stream *stream, sn_dtype dtype, int64_t count, float p, sn_random_key key, const void *x,
                  const void *residual, void *out) {
  static_assert(kGrain % 4 == 0);
  const float scale = 1.0f / (1.0f - p);
  key = keyNow(key);
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *source = static_cast<const T *>(x), *base = static_cast<const T *>(residual);
    auto *target = static_cast<T *>(out);
    parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
      forRandom(key, begin, end, [&](int64_t i, WordVec words, int64_t n) {
        Vec kept = uniform(words) >= p ? loadUpTo(source + i, n) * scale : Vec{};
        storeUpTo(target + i, base == nullptr ? kept : loadUpTo(base + i, n) + kept, n);
      });
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
