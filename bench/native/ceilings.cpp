#include "ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "multiply_add.h"

namespace sn::bench {

namespace baseline {
const MultiplyAdd &multiplyAdd();
}
#ifdef SN_X86
namespace avx2 {
const MultiplyAdd &multiplyAdd();
}
namespace avx512 {
const MultiplyAdd &multiplyAdd();
}
namespace avx512bf16 {
const MultiplyAdd &multiplyAdd();
}
namespace amx {
const MultiplyAdd &multiplyAdd();
}
#endif

namespace {

const MultiplyAdd &multiplyAddOf(const std::string &isa) {
#ifdef SN_X86
  if (isa == "avx2") return avx2::multiplyAdd();
  if (isa == "avx512") return avx512::multiplyAdd();
  if (isa == "avx512bf16") return avx512bf16::multiplyAdd();
  if (isa == "amx") return amx::multiplyAdd();
#endif
  return baseline::multiplyAdd();
}

constexpr int kRepeats = 5;
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
  const MultiplyAdd &multiplyAdd = multiplyAddOf(isa);
  ceilings.gflopsF32 = gflops(threads, multiplyAdd.f32);
  if (multiplyAdd.bf16 != nullptr) ceilings.gflopsBf16 = gflops(threads, multiplyAdd.bf16);

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
