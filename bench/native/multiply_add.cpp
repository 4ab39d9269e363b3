// multiply_add.cpp: compiled once for each instruction set, as the kernels are.
#include "multiply_add.h"

#include "cpu/kernels/simd.h"
#include "cpu/kernels/tiles.h"

namespace sn::bench::SN_ISA {

const MultiplyAdd &multiplyAdd();

namespace {

using cpu::SN_ISA::kLanes;
using cpu::SN_ISA::Vec;

constexpr int64_t kProducts = 2'000'000;

// What the compiler must believe to be needed.
volatile float sink;

// Independent chains of sum = multiply(sum, factor), enough to hide their latency and few enough for the registers.
template <typename F>
double chains(double operations, F &&multiply) {
  constexpr int kChains = kLanes == 16 ? 16 : 10;
  Vec sums[kChains], factor = Vec{} + sink;
  for (auto &sum : sums) sum = factor;
  for (int64_t i = 0; i < kProducts; ++i) {
#pragma GCC unroll 16
    for (auto &sum : sums) sum = multiply(sum, factor);
    asm volatile("");
  }
  for (int i = 1; i < kChains; ++i) sums[0] += sums[i];
  sink = sums[0][0];
  return operations * kLanes * kChains * kProducts;
}

double f32() {
  return chains(2, [](Vec sum, Vec factor) { return cpu::SN_ISA::fma(factor, sum, factor); });
}

#if defined(__AMX_BF16__)
double bf16() {
  constexpr int64_t kRounds = kProducts / 10;
  cpu::SN_ISA::configureTiles();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t i = 0; i < kRounds; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
  return 2.0 * 16 * 16 * 32 * 4 * kRounds;
}
#elif defined(__AVX512BF16__)
double bf16() {
  return chains(4, [](Vec sum, Vec factor) {
    auto pairs = reinterpret_cast<__m512bh>(factor);
    return static_cast<Vec>(_mm512_dpbf16_ps(sum, pairs, pairs));
  });
}
#else
constexpr double (*bf16)() = nullptr;
#endif

}  // namespace

const MultiplyAdd &multiplyAdd() {
  static constexpr MultiplyAdd all{f32, bf16};
  return all;
}

}  // namespace sn::bench::SN_ISA
