#include "ceilings.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace sn::bench {

namespace {

constexpr int kRepeats = 5;
constexpr int64_t kProducts = 2'000'000;
constexpr int64_t kBytes = int64_t{256} << 20;  // read by each thread: more than its share of any cache

using Body = std::function<void(int32_t)>;

// Seconds of the best of some runs of `body` on all threads at once.
double best(int32_t threads, const Body &body) {
  double least = 1e9;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    auto started = std::chrono::steady_clock::now();
    std::vector<std::thread> all;
    for (int32_t thread = 0; thread < threads; ++thread) all.emplace_back(body, thread);
    for (auto &thread : all) thread.join();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }
  return least;
}

// What the compiler must believe to be needed.
volatile float sink;

// Independent chains of multiply-adds, enough to hide their latency. Each returns the operations of one thread.
constexpr int kChains = 16;

__attribute__((target("avx2,fma"))) double multiplyAdd256() {
  __m256 sums[kChains], factor = _mm256_set1_ps(sink);
  for (auto &sum : sums) sum = _mm256_set1_ps(sink);
  for (int64_t i = 0; i < kProducts; ++i) {
#pragma GCC unroll 16
    for (auto &sum : sums) sum = _mm256_fmadd_ps(factor, sum, factor);
    asm volatile("");
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  sink = _mm256_cvtss_f32(sums[0]);
  return 2.0 * 8 * kChains * kProducts;
}

__attribute__((target("avx512f"))) double multiplyAdd512() {
  __m512 sums[kChains], factor = _mm512_set1_ps(sink);
  for (auto &sum : sums) sum = _mm512_set1_ps(sink);
  for (int64_t i = 0; i < kProducts; ++i) {
#pragma GCC unroll 16
    for (auto &sum : sums) sum = _mm512_fmadd_ps(factor, sum, factor);
    asm volatile("");
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  sink = _mm512_cvtss_f32(sums[0]);
  return 2.0 * 16 * kChains * kProducts;
}

__attribute__((target("avx512f,avx512bf16"))) double dotBf16() {
  __m512 sums[kChains];
  for (auto &sum : sums) sum = _mm512_set1_ps(sink);
  auto factor = reinterpret_cast<__m512bh>(_mm512_set1_ps(sink));
  for (int64_t i = 0; i < kProducts; ++i) {
#pragma GCC unroll 16
    for (auto &sum : sums) sum = _mm512_dpbf16_ps(sum, factor, factor);
    asm volatile("");
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  sink = _mm512_cvtss_f32(sums[0]);
  return 2.0 * 32 * kChains * kProducts;
}

__attribute__((target("amx-tile,amx-bf16"))) double tileBf16() {
  // Static, as the compiler takes the instruction to read no more than its first bytes.
  static constexpr struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  _tile_loadconfig(&configuration);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t i = 0; i < kProducts / 10; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
  return 2.0 * 16 * 16 * 32 * 4 * static_cast<double>(kProducts / 10);
}

double gflops(int32_t threads, double (*run)()) {
  double operations = 0;
  double seconds = best(threads, [&](int32_t thread) {
    double mine = run();
    if (thread == 0) operations = mine;
  });
  return operations * threads / seconds * 1e-9;
}

}  // namespace

Ceilings measureCeilings(const std::string &isa, int32_t threads) {
  Ceilings ceilings;
  if (isa == "avx2") ceilings.gflopsF32 = gflops(threads, multiplyAdd256);
  if (isa.starts_with("avx512") || isa == "amx") ceilings.gflopsF32 = gflops(threads, multiplyAdd512);
  if (isa == "avx512bf16") ceilings.gflopsBf16 = gflops(threads, dotBf16);
  if (isa == "amx") ceilings.gflopsBf16 = gflops(threads, tileBf16);

  auto memory = std::make_unique<uint64_t[]>(static_cast<size_t>(kBytes / 8 * threads));
  auto of = [&](int32_t thread) { return memory.get() + kBytes / 8 * thread; };
  double seconds = best(threads, [&](int32_t thread) {
    // Four places at once, each asked for well ahead: one alone leaves memory waiting.
    uint64_t sums[8] = {}, *from = of(thread);
    constexpr int64_t kQuarter = kBytes / 8 / 4, kAhead = 2048 / 8;
    for (int64_t i = 0; i < kQuarter; i += 8) {
      for (int64_t place = 0; place < 4; ++place) {
        const uint64_t *line = from + place * kQuarter + i;
        __builtin_prefetch(line + kAhead);
        for (int j = 0; j < 8; ++j) sums[j] += line[j];
      }
    }
    for (int j = 1; j < 8; ++j) sums[0] += sums[j];
    sink = static_cast<float>(sums[0]);
  });
  ceilings.readGb = static_cast<double>(kBytes) * threads / seconds * 1e-9;
  seconds = best(threads, [&](int32_t thread) { std::memcpy(of(thread), of(thread) + kBytes / 16, kBytes / 2); });
  ceilings.copyGb = static_cast<double>(kBytes) * threads / seconds * 1e-9;
  return ceilings;
}

}  // namespace sn::bench
