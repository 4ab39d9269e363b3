// simd.h: one vector of floats as wide as the instruction set has, on the compiler's own vector types.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sn::cpu::SN_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));

// A bf16 number by its bits: the upper half of a float's.
struct bf16 {
  uint16_t bits;
};

inline float toFloat(float x) { return x; }

inline float toFloat(bf16 x) {
  uint32_t bits = uint32_t{x.bits} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename T>
inline T fromFloat(float x);

template <>
inline float fromFloat<float>(float x) {
  return x;
}

// To nearest even; NaN stays NaN.
template <>
inline bf16 fromFloat<bf16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// Less zero, as that changes no number: the sum of -0 and 0 is another, and would have to be computed.
inline Vec broadcast(float x) { return x - Vec{}; }

inline Vec load(const float *p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float *p, Vec v) { std::memcpy(p, &v, sizeof v); }

typedef uint16_t HalfVec __attribute__((vector_size(kLanes * 2)));
typedef uint32_t WordVec __attribute__((vector_size(kLanes * 4)));

inline Vec load(const bf16 *p) {
  HalfVec half;
  std::memcpy(&half, p, sizeof half);
#if defined(__AVX512F__)
  auto words = reinterpret_cast<WordVec>(_mm512_maskz_cvtepu16_epi32(0xffff, reinterpret_cast<__m256i>(half)));
#else
  auto words = __builtin_convertvector(half, WordVec);
#endif
  return reinterpret_cast<Vec>(words << 16);
}

inline void store(bf16 *p, Vec v) {
  auto bits = reinterpret_cast<WordVec>(v);
  WordVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  WordVec quiet = (bits >> 16) | 0x40u;
  WordVec isNan = reinterpret_cast<WordVec>((bits & 0x7fffffffu) > 0x7f800000u);
  HalfVec half = __builtin_convertvector((isNan & quiet) | (~isNan & rounded), HalfVec);
  std::memcpy(p, &half, sizeof half);
}

// The first `count` lanes, 0 < count < kLanes; the others are `rest`.
template <typename T>
inline Vec loadPart(const T *p, int64_t count, float rest = 0.0f) {
  alignas(64) float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = i < count ? toFloat(p[i]) : rest;
  return load(lanes);
}

template <typename T>
inline void storePart(T *p, Vec v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = fromFloat<T>(v[i]);
}

inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

inline Vec squareRoot(Vec v) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xffff, v);  // the plain form makes g++ 12 warn of its own header
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#else
  Vec root;
  for (int i = 0; i < kLanes; ++i) root[i] = __builtin_sqrtf(v[i]);
  return root;
#endif
}

// Of each lane a > b ? a : b, and a < b ? a : b: b where one of them is NaN.
inline Vec absolute(Vec v) { return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(v) & 0x7fffffff); }

inline Vec maximum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

inline Vec minimum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

// Lanes are added in pairs, always in the same order: the upper half to the lower, until one is left.
inline float sum(Vec v) {
#if defined(__AVX512F__)
  auto eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
  auto eight = v;
#endif
#if defined(__AVX2__)
  auto four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
#else
  auto four = v;
#endif
  auto two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
  return two[0] + two[1];
}

// Lane i is the sum of all lanes of rows[i]; rows are used up.
inline Vec sumOfEach(Vec *rows);

inline float maximum(Vec v) {
  float most = v[0];
  for (int i = 1; i < kLanes; ++i) most = v[i] > most ? v[i] : most;
  return most;
}

// Rows become columns: v holds kLanes rows of a square block. A perfect shuffle, log2(kLanes) times.
inline void transpose(Vec *v) {
  IntVec lower, upper;
  for (int i = 0; i < kLanes; ++i) {
    lower[i] = i / 2 + (i % 2) * kLanes;
    upper[i] = kLanes / 2 + i / 2 + (i % 2) * kLanes;
  }
  for (int step = 1; step < kLanes; step *= 2) {
    Vec next[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = __builtin_shuffle(v[i], v[i + kLanes / 2], lower);
      next[2 * i + 1] = __builtin_shuffle(v[i], v[i + kLanes / 2], upper);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = next[i];
  }
}

inline Vec sumOfEach(Vec *rows) {
  transpose(rows);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) rows[i] += rows[i + half];
  }
  return rows[0];
}

// ln x for positive, normal x; 0 gives about -87.3, NaN and infinity are kept.
inline Vec log(Vec x) {
  IntVec bits = reinterpret_cast<IntVec>(maximum(x, broadcast(1.17549435e-38f)));
  IntVec shifted = bits - 0x3f3504f3;  // the bits of sqrt(1/2): the mantissa lies between that and its double
  Vec exponent = __builtin_convertvector(shifted >> 23, Vec);
  Vec f = reinterpret_cast<Vec>((shifted & 0x007fffff) + 0x3f3504f3) - 1.0f;
  Vec p = broadcast(7.0376836292e-2f);
  p = fma(p, f, broadcast(-1.1514610310e-1f));
  p = fma(p, f, broadcast(1.1676998740e-1f));
  p = fma(p, f, broadcast(-1.2420140846e-1f));
  p = fma(p, f, broadcast(1.4249322787e-1f));
  p = fma(p, f, broadcast(-1.6668057665e-1f));
  p = fma(p, f, broadcast(2.0000714765e-1f));
  p = fma(p, f, broadcast(-2.4999993993e-1f));
  p = fma(p, f, broadcast(3.3333331174e-1f));
  Vec square = f * f;
  Vec small = fma(exponent, broadcast(-2.12194440e-4f), p * f * square) - 0.5f * square;
  Vec result = fma(exponent, broadcast(0.693359375f), small + f);
  return x - x == 0.0f ? result : x;
}

// e^x to about 2 ulp: 2^n * p(r) with x = n ln 2 + r, |r| <= ln 2 / 2; 0 below -87.3, infinity above 88.7, NaN kept.
inline Vec exp(Vec x) {
  Vec clamped = minimum(broadcast(88.8f), x);  // in this order NaN is kept
#if !defined(__AVX512F__)
  clamped = maximum(broadcast(-87.4f), clamped);
#endif
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  Vec shifted = fma(clamped, broadcast(1.44269504f), broadcast(magic));
  Vec n = shifted - magic;
  Vec r = fma(n, broadcast(-0.693145752f), clamped);
  r = fma(n, broadcast(-1.42860677e-6f), r);
  Vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r + 1.0f);
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, broadcast(-87.4f), _CMP_NLT_UQ), p, n);
#else
  // 2^n in two factors, so that n = 128 does not overflow before the product does.
  IntVec exponent = __builtin_convertvector(n, IntVec);
  IntVec lower = exponent >> 1, upper = exponent - lower;
  Vec result = p * reinterpret_cast<Vec>((lower + 127) << 23) * reinterpret_cast<Vec>((upper + 127) << 23);
  result = x < -87.4f ? broadcast(0.0f) : result;
  return x != x ? x : result;
#endif
}

// Cosine and sine of `turns` whole turns, 0 <= turns <= 1: from the nearest quarter the angle is at most pi / 4, where
// both have short polynomials.
inline void turn(Vec turns, Vec *cosine, Vec *sine) {
  IntVec quarter = __builtin_convertvector(4.0f * turns + 0.5f, IntVec);
  Vec r = (4.0f * turns - __builtin_convertvector(quarter, Vec)) * 1.57079633f, square = r * r;
  Vec s = fma(broadcast(-1.9515295891e-4f), square, broadcast(8.3321608736e-3f));
  s = fma(fma(s, square, broadcast(-1.6666654611e-1f)), square * r, r);
  Vec c = fma(broadcast(2.443315711809948e-5f), square, broadcast(-1.388731625493765e-3f));
  c = fma(fma(c, square, broadcast(4.166664568298827e-2f)), square * square, 1.0f - 0.5f * square);
  IntVec swapped = -(quarter & 1);
  Vec across = swapped ? s : c, up = swapped ? c : s;
  *cosine = ((quarter + 1) & 2) != 0 ? -across : across;
  *sine = (quarter & 2) != 0 ? -up : up;
}

}  // namespace sn::cpu::SN_ISA
