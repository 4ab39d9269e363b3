// reduce.cpp: sums over all elements in a fixed order: blocks of a fixed size, then the blocks' sums.
#include <cmath>

#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

// Adds f(first, count) over all elements.
template <typename F>
double reduce(sn_stream *stream, int64_t count, F &&f) {
  constexpr int64_t kMostBlocks = 4096;
  int64_t block = (count + kMostBlocks - 1) / kMostBlocks;
  if (block < kGrain) block = kGrain;
  block = (block + kLanes - 1) / kLanes * kLanes;
  int64_t blocks = (count + block - 1) / block;
  double partial[kMostBlocks];
  parallel(poolOf(stream), blocks, [&](int64_t part, int32_t) {
    int64_t begin = part * block, end = begin + block < count ? begin + block : count;
    // Each vector's worth of sums stays short: a long fp32 sum would lose what is small.
    constexpr int64_t kShort = 64 * kLanes;
    double total = 0;
    for (int64_t i = begin; i < end; i += kShort) {
      int64_t last = i + kShort < end ? i + kShort : end;
      Vec sums{};
      forVectors(last - i, [&](int64_t j, int64_t n) { sums += f(i + j, n); });
      total += static_cast<double>(SN_ISA::sum(sums));
    }
    partial[part] = total;
  });
  double total = 0;
  for (int64_t i = 0; i < blocks; ++i) total += partial[i];
  return total;
}

}  // namespace

// The partial sums stand on the stack.
sn_status reduce_workspace(const sn_device *, int64_t, int64_t *bytes) {
  *bytes = 0;
  return SN_OK;
}

sn_status sum(sn_stream *stream, int64_t count, float factor, const float *x, int32_t accumulate, float *out, void *) {
  double total = factor * reduce(stream, count, [&](int64_t i, int64_t n) { return loadUpTo(x + i, n); });
  out[0] = static_cast<float>(accumulate ? out[0] + total : total);
  return SN_OK;
}

sn_status global_norm(sn_stream *stream, int64_t count, const float *x, float *out, void *) {
  double total = reduce(stream, count, [&](int64_t i, int64_t n) {
    Vec v = loadUpTo(x + i, n);
    return v * v;
  });
  out[0] = static_cast<float>(std::sqrt(total));
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
