// activation.h: functions of one number that stand between two products, and their derivatives: sn_activation. They are
// computed in fp32, to the digits that the type T of the tensor keeps.
#pragma once

#include <sinter/sinter.h>

#include "cuda/cuda.h"

namespace sn::cuda {

// e^x and x / y: of bf16 as the hardware has them, to six digits and in a third of the time.
template <typename T>
__device__ __forceinline__ float powerOfE(float x) {
  return sizeof(T) == sizeof(float) ? expf(x) : __expf(x);
}

template <typename T>
__device__ __forceinline__ float quotient(float x, float y) {
  return sizeof(T) == sizeof(float) ? x / y : __fdividef(x, y);
}

template <typename T>
struct GeluTanh {
  // 0.5 x (1 + tanh u) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3): the second form cancels nowhere.
  static __device__ __forceinline__ float value(float x) {
    float twice = 1.59576912f * fmaf(0.044715f * x * x, x, x);
    return quotient<T>(x, 1.0f + powerOfE<T>(-twice));
  }

  // s + x s (1 - s) 2 u' with s = 1 / (1 + e^-2u); 1 - s = e^-2u s, as the difference would cancel. The bound keeps the
  // power finite: beyond it s is 0 to all digits.
  static __device__ __forceinline__ float slope(float x) {
    float square = x * x;
    float twice = 1.59576912f * fmaf(0.044715f * square, x, x);
    float e = powerOfE<T>(fminf(-twice, 80.0f));
    float s = quotient<T>(1.0f, 1.0f + e);
    float slope = 1.59576912f * fmaf(3.0f * 0.044715f, square, 1.0f);
    return fmaf(x * s * (e * s), slope, s);
  }
};

template <typename T>
struct Gelu {
  static __device__ __forceinline__ float value(float x) {
    float bell;
    return x * normal(x, &bell);
  }

  static __device__ __forceinline__ float slope(float x) {
    float bell, share = normal(x, &bell);
    return fmaf(0.398942280f * x, bell, share);
  }

 private:
  // The normal distribution up to x, and bell = e^(-x^2 / 2). Of -|x| it is 0.5 bell e^(z^2) erfc(z), z = |x| /
  // sqrt(2): all digits far out as well. e^(z^2) erfc(z) = t q(t) with t = 1 / (1 + 0.4 z); q is a polynomial fitted
  // to a relative error of 6e-8.
  static __device__ __forceinline__ float normal(float x, float *bell) {
    float t = quotient<T>(1.0f, fmaf(fabsf(x), 0.282842712f, 1.0f));
    float q = fmaf(4.005448135e-2f, t, -1.344192664e-1f);
    q = fmaf(q, t, 7.163160419e-2f);
    q = fmaf(q, t, 1.023059002e-1f);
    q = fmaf(q, t, 6.969173271e-2f);
    q = fmaf(q, t, 1.977544950e-1f);
    q = fmaf(q, t, 2.007510169e-1f);
    q = fmaf(q, t, 2.266056013e-1f);
    q = fmaf(q, t, 2.256244915e-1f);
    // What the square's rounding lost is put back: the power would make much of it.
    float half = 0.5f * x, square = x * half, lost = fmaf(x, half, -square);
    float power = powerOfE<T>(-square);
    *bell = lost == lost ? fmaf(-lost, power, power) : power;
    float below = 0.5f * *bell * t * q;
    return x > 0.0f ? 1.0f - below : below;
  }
};

template <typename T>
struct Relu {
  static __device__ __forceinline__ float value(float x) { return x > 0.0f ? x : (x != x ? x : 0.0f); }
  static __device__ __forceinline__ float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

template <typename T>
struct Tanh {
  // (1 - e) / (1 + e) with e = e^(-2 |x|); near 0, where that cancels, x + x^3 p(x^2), p fitted to 4e-7 of the cube.
  static __device__ __forceinline__ float value(float x) {
    float e = powerOfE<T>(-2.0f * fabsf(x)), far = quotient<T>(1.0f - e, 1.0f + e), square = x * x;
    float p = fmaf(-5.578110952e-3f, square, 2.059615213e-2f);
    p = fmaf(p, square, -5.375538177e-2f);
    p = fmaf(p, square, 1.333205644e-1f);
    p = fmaf(p, square, -3.333332087e-1f);
    float near = fmaf(x * square, p, x);
    return square < 0.49f ? near : (x < 0.0f ? -far : far);
  }

  // 1 - tanh^2 = 4 e / (1 + e)^2
  static __device__ __forceinline__ float slope(float x) {
    float e = powerOfE<T>(-2.0f * fabsf(x)), r = quotient<T>(1.0f, 1.0f + e);
    return 4.0f * e * r * r;
  }
};

// Calls f with the activation's functions.
template <typename T, typename F>
__device__ __forceinline__ void withActivation(sn_activation activation, F &&f) {
  switch (activation) {
    case SN_GELU_TANH:
      return f(GeluTanh<T>{});
    case SN_GELU:
      return f(Gelu<T>{});
    case SN_RELU:
      return f(Relu<T>{});
    case SN_TANH:
      return f(Tanh<T>{});
  }
}

}  // namespace sn::cuda
