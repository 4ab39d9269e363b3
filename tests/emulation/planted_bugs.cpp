// planted_bugs.cpp: small kernels, each right or with one bug planted. planted_bugs_test.cpp runs this program as built
// plainly and with sanitizers, and wants each bug to be found.
//
//   planted_bugs NAME right|wrong
//
// Exit status 0: the result is right. 1: it is not. 2: the launch failed, and the message is printed.
#include "emulation/planted_bugs.h"

#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/cuda.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/matrix.h"

using namespace sn::cuda;
using namespace sn::planted;

namespace {

constexpr int kStages = 3;

// A thread of the neighbouring warp.
__device__ unsigned neighbour() { return (threadIdx.x + 32) % kThreads; }

// Each thread takes what another warp's thread has written.
template <bool Wrong>
__global__ void missingBarrier(float *out, const float *in) {
  SN_SHARED(float, values, kThreads);
  values[threadIdx.x] = in[threadIdx.x];
  if constexpr (!Wrong) __syncthreads();
  out[threadIdx.x] = values[neighbour()];
}

// The same within a warp.
template <bool Wrong>
__global__ void missingWarpBarrier(float *out, const float *in) {
  SN_SHARED(float, values, kThreads);
  values[threadIdx.x] = in[threadIdx.x];
  if constexpr (!Wrong) __syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

enum class RingBug { none, waitOffByOne, prefetchAboveBarrier, copiesInFlight };

// Sums tiles that stream through a ring of stages.
template <RingBug bug>
__global__ void ring(float *out, const float *in) {
  SN_SHARED(float, stages, kStages *kThreads);
  auto prefetch = [&](int tile) {
    if (tile < kTiles) {
      copyAsync<4>(stages + tile % kStages * kThreads + threadIdx.x, in + tile * kThreads + threadIdx.x);
    }
    commitCopies();
  };
  for (int tile = 0; tile < kStages - 1; ++tile) prefetch(tile);
  float sum = 0;
  for (int tile = 0; tile < kTiles; ++tile) {
    if constexpr (bug == RingBug::prefetchAboveBarrier) prefetch(tile + kStages - 1);
    if constexpr (bug == RingBug::waitOffByOne || bug == RingBug::prefetchAboveBarrier) {
      waitForCopies<kStages - 1>();
    } else {
      waitForCopies<kStages - 2>();
    }
    __syncthreads();
    if constexpr (bug != RingBug::prefetchAboveBarrier) prefetch(tile + kStages - 1);
    sum += stages[tile % kStages * kThreads + neighbour()];
  }
  out[threadIdx.x] = sum;
  if constexpr (bug == RingBug::copiesInFlight) copyAsync<4>(stages + threadIdx.x, in + threadIdx.x);
}

// Column sums of a matrix of 16 x 8 by a product with ones.
template <bool Wrong>
__global__ void wrongFragment(float *out, const float *in) {
  SN_SHARED(bf16, rows, 16 * 8);
  for (unsigned i = threadIdx.x; i < 16 * 8; i += 32) rows[i] = bf16(in[i]);
  __syncwarp();
  uint32_t right[2];
  loadMatrix2Transposed(right, rows + threadIdx.x % 16 * 8);
  // Ones in the columns of the first half, twos in those of the second: to confuse the halves shows.
  const uint32_t ones = 0x3f803f80u, twos = 0x40004000u;
  const uint32_t left[4] = {ones, ones, twos, twos};
  float sums[4] = {};
  if constexpr (Wrong) {
    multiplyAdd(sums, left, right[1], right[0]);
  } else {
    multiplyAdd(sums, left, right[0], right[1]);
  }
  if (threadIdx.x < 4) out[2 * threadIdx.x] = sums[0];
  if (threadIdx.x < 4) out[2 * threadIdx.x + 1] = sums[1];
}

template <bool Wrong>
__global__ void sharedOverrun(float *out, const float *in) {
  SN_DYNAMIC_SHARED(memory);
  auto *values = reinterpret_cast<float *>(memory);
  values[threadIdx.x + (Wrong ? 1 : 0)] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x + (Wrong ? 1 : 0)];
}

template <bool Wrong>
__global__ void staticOverrun(float *out, const float *in) {
  SN_SHARED(float, values, kThreads);
  values[threadIdx.x + (Wrong ? 1 : 0)] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x + (Wrong ? 1 : 0)];
}

template <bool Wrong>
__global__ void globalOverrun(float *out, const float *in) {
  unsigned i = threadIdx.x;
  if (i < kThreads || Wrong) out[i] = in[i % kThreads];
}

template <bool Wrong>
__global__ void divergentBarrier(float *out, const float *in) {
  if (!Wrong || threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

std::vector<float> same(const std::vector<float> &in) { return {in.begin(), in.begin() + kThreads}; }

std::vector<float> ofNeighbours(const std::vector<float> &in) {
  std::vector<float> out(kThreads);
  for (size_t i = 0; i < kThreads; ++i) out[i] = in[(i + 32) % kThreads];
  return out;
}

std::vector<float> ofPairs(const std::vector<float> &in) {
  std::vector<float> out(kThreads);
  for (size_t i = 0; i < kThreads; ++i) out[i] = in[i ^ 1];
  return out;
}

std::vector<float> tileSums(const std::vector<float> &in) {
  std::vector<float> out(kThreads, 0.0f);
  for (size_t i = 0; i < in.size(); ++i) out[(i + kThreads - 32) % kThreads] += in[i];
  return out;
}

std::vector<float> columnSums(const std::vector<float> &in) {
  std::vector<float> out(8, 0.0f);
  for (size_t i = 0; i < 16 * 8; ++i) out[i % 8] += in[i] * (i < 8 * 8 ? 1.0f : 2.0f);
  return out;
}

using Kernel = void (*)(float *, const float *);
auto plain(Kernel right, Kernel wrong, unsigned threads = kThreads, size_t sharedBytes = 0) {
  return [=](bool isWrong, float *out, const float *in) {
    return launch(isWrong ? wrong : right, 4, threads, sharedBytes, nullptr, out, in);
  };
}

const std::vector<Planted> kPortable = {
    {"missing-barrier", plain(missingBarrier<false>, missingBarrier<true>), ofNeighbours},
    {"missing-warp-barrier", plain(missingWarpBarrier<false>, missingWarpBarrier<true>), ofPairs},
    {"wait-off-by-one", plain(ring<RingBug::none>, ring<RingBug::waitOffByOne>), tileSums},
    {"prefetch-above-barrier", plain(ring<RingBug::none>, ring<RingBug::prefetchAboveBarrier>), tileSums},
    {"copies-in-flight", plain(ring<RingBug::none>, ring<RingBug::copiesInFlight>), tileSums},
    {"wrong-fragment", plain(wrongFragment<false>, wrongFragment<true>, 32), columnSums},
    {"shared-overrun", plain(sharedOverrun<false>, sharedOverrun<true>, kThreads, kThreads * sizeof(float)), same},
    {"static-overrun", plain(staticOverrun<false>, staticOverrun<true>), same},
    {"global-overrun", plain(globalOverrun<false>, globalOverrun<true>, kThreads + 1), same},
    {"divergent-barrier", plain(divergentBarrier<false>, divergentBarrier<true>), same},
};

int run(const Planted &planted, bool wrong) {
  std::vector<float> in(kTiles * kThreads);
  // Small integers: their sums are exact.
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 61);
  auto expected = planted.expected(in);
  std::vector<float> out(expected.size());
  float *source = nullptr, *target = nullptr;
  cudaMalloc(&source, in.size() * sizeof(float));
  cudaMalloc(&target, out.size() * sizeof(float));
  cudaMemcpy(source, in.data(), in.size() * sizeof(float), cudaMemcpyHostToDevice);
  cudaError_t error = planted.run(wrong, target, source);
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error != cudaSuccess) {
    std::printf("%s\n", cudaGetErrorString(error));
    return 2;
  }
  cudaMemcpy(out.data(), target, out.size() * sizeof(float), cudaMemcpyDeviceToHost);
  cudaFree(source);
  cudaFree(target);
  return out == expected ? 0 : 1;
}

}  // namespace

int main(int count, char **arguments) {
  for (const std::vector<Planted> *bugs : {&kPortable, &hopperBugs()}) {
    for (const Planted &planted : *bugs) {
      if (count == 3 && std::strcmp(arguments[1], planted.name) == 0) {
        return run(planted, std::strcmp(arguments[2], "wrong") == 0);
      }
    }
  }
  std::printf("usage: planted_bugs NAME right|wrong\n");
  return 3;
}
