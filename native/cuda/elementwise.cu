// elementwise.cu: operations on each element by itself, eight a thread: bound by memory.
#include "cuda/activation.h"
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

template <typename From, typename To>
struct Cast {
  const From *in;
  To *out;

  __device__ void operator()(int64_t i, int count) const {
    float x[8];
    loadEight(in + i, count, x);
    storeEight(out + i, count, x);
  }
};

template <typename T>
struct Add {
  const T *a, *b;
  T *out;

  __device__ void operator()(int64_t i, int count) const {
    float x[8], y[8];
    loadEight(a + i, count, x);
    loadEight(b + i, count, y);
#pragma unroll
    for (int j = 0; j < 8; ++j) x[j] += y[j];
    storeEight(out + i, count, x);
  }
};

template <typename T>
struct ActivationForward {
  sn_activation activation;
  const T *x;
  T *out;

  __device__ void operator()(int64_t i, int count) const {
    float y[8];
    loadEight(x + i, count, y);
    withActivation<T>(activation, [&](auto f) {
#pragma unroll
      for (float &value : y) value = f.value(value);
    });
    storeEight(out + i, count, y);
  }
};

template <typename T>
struct ActivationBackward {
  sn_activation activation;
  const T *x, *dout;
  T *dx;

  __device__ void operator()(int64_t i, int count) const {
    float y[8], g[8];
    loadEight(x + i, count, y);
    loadEight(dout + i, count, g);
    withActivation<T>(activation, [&](auto f) {
#pragma unroll
      for (int j = 0; j < 8; ++j) g[j] *= f.slope(y[j]);
    });
    storeEight(dx + i, count, g);
  }
};

template <typename T>
struct Dropout {
  float p;
  sn_random_key key;
  const T *x, *residual;
  T *out;

  __device__ void operator()(int64_t i, int count) const {
    float random[8], y[8], base[8] = {};
    uniformEight(keyNow(key), i, random);
    loadEight(x + i, count, y);
    if (residual != nullptr) loadEight(residual + i, count, base);
    float scale = 1.0f / (1.0f - p);
#pragma unroll
    for (int j = 0; j < 8; ++j) y[j] = base[j] + (random[j] >= p ? y[j] * scale : 0.0f);
    storeEight(out + i, count, y);
  }
};

// Box and Muller 1958: two normal numbers from two uniform ones.
struct RandomNormal {
  float mean, deviation;
  sn_random_key key;
  float *out;

  __device__ void operator()(int64_t i, int count) const {
    float x[8];
    uniformEight(keyNow(key), i, x);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      float radius = deviation * sqrtf(-2.0f * logf(x[j])), angle = 6.2831853f * x[j + 1];
      x[j] = mean + radius * cosf(angle);
      x[j + 1] = mean + radius * sinf(angle);
    }
    storeEight(out + i, count, x);
  }
};

}  // namespace

sn_status cast(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_dtype to, void *out) {
  return withType(from, [&](auto f) {
    return withType(to, [&](auto t) {
      using From = decltype(f);
      using To = decltype(t);
      Cast<From, To> work{static_cast<const From *>(in), static_cast<To *>(out)};
      return check(launchEights(handleOf(stream), count, work), "cast");
    });
  });
}

sn_status add(sn_stream *stream, sn_dtype dtype, int64_t count, const void *a, const void *b, void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Add<T> work{static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(out)};
    return check(launchEights(handleOf(stream), count, work), "add");
  });
}

sn_status random_normal(sn_stream *stream, int64_t count, float mean, float deviation, sn_random_key key, float *out) {
  return check(launchEights(handleOf(stream), count, RandomNormal{mean, deviation, key, out}), "random_normal");
}

sn_status activation_forward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count, const void *x,
                             void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    ActivationForward<T> work{activation, static_cast<const T *>(x), static_cast<T *>(out)};
    return check(launchEights(handleOf(stream), count, work), "activation_forward");
  });
}

sn_status activation_backward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count, const void *x,
                              const void *dout, void *dx) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    ActivationBackward<T> work{activation, static_cast<const T *>(x), static_cast<const T *>(dout),
                               static_cast<T *>(dx)};
    return check(launchEights(handleOf(stream), count, work), "activation_backward");
  });
}

sn_status dropout(sn_stream *stream, sn_dtype dtype, int64_t count, float p, sn_random_key key, const void *x,
                  const void *residual, void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Dropout<T> work{p, key, static_cast<const T *>(x), static_cast<const T *>(residual), static_cast<T *>(out)};
    return check(launchEights(handleOf(stream), count, work), "dropout");
  });
}

}  // namespace sn::cuda
