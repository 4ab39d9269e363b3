// float8.cpp: numbers of 8 bits: casts, and products of what they decode to, in fp32.
#include "common/float8.h"

#include "cpu/kernels/gemm.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kColumns = 64;  // of a row of sums that wait for the epilogue

// All that a type can be.
struct Decoded {
  float number[256];

  explicit Decoded(sn_float8 type) {
    for (int code = 0; code < 256; ++code) number[code] = Float8::of(type).decode(static_cast<uint8_t>(code));
  }
};

// The largest of numbers, of any thread's; floats that are not negative are in the order of their bits.
void raise(uint32_t *most, float x) {
  uint32_t bits, known = __atomic_load_n(most, __ATOMIC_RELAXED);
  std::memcpy(&bits, &x, sizeof bits);
  while (bits > known && !__atomic_compare_exchange_n(most, &known, bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

}  // namespace

sn_status cast_float8(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_float8 to, void *out,
                      float *scale) {
  withType(from, [&](auto t) {
    auto *source = static_cast<const decltype(t) *>(in);
    auto *target = static_cast<uint8_t *>(out);
    uint32_t bits = 0;
    parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
      float most = 0;
      for (int64_t i = begin; i < end; ++i) {
        float x = loadUpTo(source + i, 1)[0];
        x = x < 0 ? -x : x;
        if (x > most) most = x;
      }
      raise(&bits, most);
    });
    std::memcpy(scale + 1, &bits, sizeof bits);
    Float8 type = Float8::of(to);
    scale[0] = type.scaleOf(scale[1]);
    parallelRange(poolOf(stream), count, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) target[i] = type.encode(loadUpTo(source + i, 1)[0] / scale[0]);
    });
  });
  return SN_OK;
}

sn_status gemm_float8(sn_stream *stream, const sn_gemm_shape *shape, sn_float8 a_type, const void *a,
                      const float *a_scale, sn_float8 b_type, const void *b, const float *b_scale, void *c,
                      const void *bias, void *aux) {
  const sn_gemm_shape &s = *shape;
  const Decoded left(a_type), right(b_type);
  auto *biases = static_cast<const bf16 *>(bias);
  auto *others = static_cast<bf16 *>(aux);
  float scale = *a_scale * *b_scale;
  parallelRange(poolOf(stream), s.batch * s.m, 1, [&](int64_t row, int64_t) {
    int64_t batch = row / s.m, i = row % s.m;
    auto *rowOfA = static_cast<const uint8_t *>(a) + (s.batch == 1 ? 0 : batch * s.a_batch) + i * s.a_stride;
    auto *ofB = static_cast<const uint8_t *>(b) + (s.batch == 1 ? 0 : batch * s.b_batch);
    for (int64_t first = 0; first < s.n; first += kColumns) {
      int64_t columns = s.n - first < kColumns ? s.n - first : kColumns;
      float sums[kColumns];
      for (int64_t j = 0; j < columns; ++j) {
        const uint8_t *column = ofB + (first + j) * s.b_stride;
        float sum = 0;
        for (int64_t k = 0; k < s.k; ++k) sum += left.number[rowOfA[k]] * right.number[column[k]];
        sums[j] = scale * sum;
      }
      int64_t at = (s.batch == 1 ? 0 : batch * s.c_batch) + i * s.c_stride + first;
      auto finish = [&](auto *out) {
        finishBlock(s, sums, kColumns, 1, columns, out + at, biases == nullptr ? nullptr : biases + first,
                    others == nullptr ? nullptr : others + at);
      };
      if (s.c_dtype == SN_F32) {
        finish(static_cast<float *>(c));
      } else {
        finish(static_cast<bf16 *>(c));
      }
    }
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
