// activation.h: functions of one number that stand between two products, and their derivatives: sn_activation.
#pragma once

#include <sinter/sinter.h>

#include "cpu/kernels/simd.h"

namespace sn::cpu::SN_ISA {

struct GeluTanh {
  // 0.5 x (1 + tanh u) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3): the second form cancels nowhere.
  static Vec value(Vec x) {
    Vec twice = 1.59576912f * fma(0.044715f * x * x, x, x);
    return x / (1.0f + exp(-twice));
  }

  // s + x s (1 - s) 2 u' with s = 1 / (1 + e^-2u); 1 - s = e^-2u s, as the difference would cancel. The bound keeps the
  // power finite: beyond it s is 0 to all digits.
  static Vec slope(Vec x) {
    Vec square = x * x;
    Vec twice = 1.59576912f * fma(0.044715f * square, x, x);
    Vec e = exp(minimum(-twice, broadcast(80.0f)));
    Vec s = 1.0f / (1.0f + e);
    Vec slope = 1.59576912f * fma(broadcast(3.0f * 0.044715f), square, broadcast(1.0f));
    return fma(x * s * (e * s), slope, s);
  }
};

struct Gelu {
  static Vec value(Vec x) {
    Vec bell;
    return x * normal(x, &bell);
  }

  static Vec slope(Vec x) {
    Vec bell, share = normal(x, &bell);
    return fma(0.398942280f * x, bell, share);
  }

 private:
  // The normal distribution up to x, and bell = e^(-x^2 / 2). Of -|x| it is 0.5 bell e^(z^2) erfc(z), z = |x| /
  // sqrt(2): all digits far out as well. e^(z^2) erfc(z) = t q(t) with t = 1 / (1 + 0.4 z); q is a polynomial fitted
  // to a relative error of 6e-8.
  static Vec normal(Vec x, Vec *bell) {
    Vec t = 1.0f / fma(absolute(x), broadcast(0.282842712f), broadcast(1.0f));
    Vec q = fma(broadcast(4.005448135e-2f), t, broadcast(-1.344192664e-1f));
    q = fma(q, t, broadcast(7.163160419e-2f));
    q = fma(q, t, broadcast(1.023059002e-1f));
    q = fma(q, t, broadcast(6.969173271e-2f));
    q = fma(q, t, broadcast(1.977544950e-1f));
    q = fma(q, t, broadcast(2.007510169e-1f));
    q = fma(q, t, broadcast(2.266056013e-1f));
    q = fma(q, t, broadcast(2.256244915e-1f));
    // What the square's rounding lost is put back: the power would make much of it.
    Vec half = 0.5f * x, square = x * half, lost = fma(x, half, -square);
    Vec power = exp(-square);
    *bell = lost == lost ? fma(-lost, power, power) : power;
    Vec below = 0.5f * *bell * t * q;
    return x > 0.0f ? 1.0f - below : below;
  }
};

struct Relu {
  static Vec value(Vec x) { return x > 0.0f ? x : (x != x ? x : Vec{}); }
  static Vec slope(Vec x) { return x > 0.0f ? broadcast(1.0f) : Vec{}; }
};

struct Tanh {
  // (1 - e) / (1 + e) with e = e^(-2 |x|); near 0, where that cancels, x + x^3 p(x^2), p fitted to 4e-7 of the cube.
  static Vec value(Vec x) {
    Vec e = exp(-2.0f * absolute(x)), far = (1.0f - e) / (1.0f + e), square = x * x;
    Vec p = fma(broadcast(-5.578110952e-3f), square, broadcast(2.059615213e-2f));
    p = fma(p, square, broadcast(-5.375538177e-2f));
    p = fma(p, square, broadcast(1.333205644e-1f));
    p = fma(p, square, broadcast(-3.333332087e-1f));
    Vec near = fma(x * square, p, x);
    return square < 0.49f ? near : (x < 0.0f ? -far : far);
  }

  // 1 - tanh^2 = 4 e / (1 + e)^2
  static Vec slope(Vec x) {
    Vec e = exp(-2.0f * absolute(x)), r = 1.0f / (1.0f + e);
    return 4.0f * e * r * r;
  }
};

// Calls f with the activation's functions.
template <typename F>
inline void withActivation(sn_activation activation, F &&f) {
  switch (activation) {
    case SN_GELU_TANH:
      return f(GeluTanh{});
    case SN_GELU:
      return f(Gelu{});
    case SN_RELU:
      return f(Relu{});
    case SN_TANH:
      return f(Tanh{});
  }
}

}  // namespace sn::cpu::SN_ISA
