// planted_bugs.cpp: small kernels, each right or with one bug planted. planted_bugs_test.cpp runs this program as built
// plainly and with sanitizers, and wants each bug to be found.
//
//   planted_bugs NAME right|wrong
//
// Exit status 0: the result is right. 1: it is not. 2: the launch failed, and the message is printed.
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "cuda/cuda.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/grid.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/ptx/warpgroup.h"

using namespace sn::cuda;

namespace {

constexpr int kThreads = 128;
constexpr int kTiles = 12;
constexpr int kStages = 3;

// A thread of the neighbouring warp.
__device__ unsigned neighbour() { return (threadIdx.x + 32) % kThreads; }

// Reads what the kernel before may still write.
template <bool Wrong>
__global__ void missingPriorWait(float *out, const float *in) {
  if (!Wrong || threadIdx.x > 0) waitForPriorGrid();
  out[threadIdx.x] = in[threadIdx.x];
}

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

enum class PipelineBug { none, missingWait, releaseBeforeWait, deadlock };

// Sums the columns of tiles of 64 x 64 that the tensor unit brings into a ring: products with ones, by one warpgroup;
// a thread of the other one asks for the tiles.
template <PipelineBug bug>
__global__ void pipeline(float *out, const __grid_constant__ TensorMap map) {
  constexpr int kRing = 2;
  constexpr uint32_t kTileBytes = 64 * 64 * sizeof(bf16);
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, full, kRing);
  SN_SHARED(Mbarrier, empty, kRing);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kRing; ++stage) {
      initMbarrier(full + stage, 1);
      initMbarrier(empty + stage, 128);
    }
    fenceMbarrierInit();
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    for (int tile = 0; threadIdx.x == 128 && tile < kTiles; ++tile) {
      int stage = tile % kRing;
      if (tile >= kRing) waitForPhase(empty + stage, (tile / kRing - 1) % 2);
      arriveExpecting(full + stage, bug == PipelineBug::deadlock ? 2 * kTileBytes : kTileBytes);
      loadTile(memory + stage * kTileBytes, &map, 0, 64 * tile, full + stage);
    }
    return;
  }
  const uint32_t ones[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
  float sums[32] = {};
  for (int tile = 0; tile < kTiles; ++tile) {
    int stage = tile % kRing;
    if constexpr (bug != PipelineBug::missingWait) waitForPhase(full + stage, tile / kRing % 2);
    uint64_t operand = describeOuter(memory + stage * kTileBytes, kTileBytes);
    fenceWarpgroup();
    for (int step = 0; step < 4; ++step) {
      multiplyWarpgroup<64, Major::outer>(sums, ones, advance<Major::outer>(operand, step));
    }
    commitProducts();
    if constexpr (bug == PipelineBug::releaseBeforeWait) arrive(empty + stage);
    waitForProducts<0>();
    if constexpr (bug != PipelineBug::releaseBeforeWait) arrive(empty + stage);
  }
  if (threadIdx.x >= 4) return;
  for (unsigned i = 0; i < 16; ++i) out[i / 2 * 8 + 2 * threadIdx.x + i % 2] = sums[i / 2 * 4 + i % 2];
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

std::vector<float> pipelineSums(const std::vector<float> &in) {
  std::vector<float> out(64, 0.0f);
  for (size_t i = 0; i < kTiles * 64 * 64; ++i) out[i % 64] += in[i % in.size()];
  return out;
}

struct Planted {
  const char *name;
  std::function<cudaError_t(bool wrong, float *out, const float *in)> run;
  // What out must be, from in.
  std::vector<float> (*expected)(const std::vector<float> &in);
};

using Kernel = void (*)(float *, const float *);
auto plain(Kernel right, Kernel wrong, unsigned threads = kThreads, size_t sharedBytes = 0) {
  return [=](bool isWrong, float *out, const float *in) {
    return launch(isWrong ? wrong : right, 4, threads, sharedBytes, nullptr, out, in);
  };
}

auto piped(void (*wrong)(float *, TensorMap)) {
  return [=](bool isWrong, float *out, const float *in) {
    std::vector<bf16> tiles(kTiles * 64 * 64);
    for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = bf16(in[i % (kTiles * kThreads)]);
    bf16 *memory = nullptr;
    TensorMap map;
    cudaMalloc(&memory, tiles.size() * sizeof(bf16));
    cudaMemcpy(memory, tiles.data(), tiles.size() * sizeof(bf16), cudaMemcpyHostToDevice);
    cudaError_t error = describeMatrix(&map, memory, kTiles * 64, 64, 64, 64, 64);
    auto kernel = isWrong ? wrong : pipeline<PipelineBug::none>;
    if (error == cudaSuccess) error = launch(kernel, 2, 256, 2 * 64 * 64 * sizeof(bf16), nullptr, out, map);
    cudaError_t freed = cudaFree(memory);
    return error == cudaSuccess ? freed : error;
  };
}

auto overlapping(Kernel right, Kernel wrong) {
  return [=](bool isWrong, float *out, const float *in) {
    return launchOverlapping(isWrong ? wrong : right, 4, kThreads, 0, nullptr, out, in);
  };
}

const Planted kPlanted[] = {
    {"missing-barrier", plain(missingBarrier<false>, missingBarrier<true>), ofNeighbours},
    {"missing-prior-wait", overlapping(missingPriorWait<false>, missingPriorWait<true>), same},
    {"missing-warp-barrier", plain(missingWarpBarrier<false>, missingWarpBarrier<true>), ofPairs},
    {"wait-off-by-one", plain(ring<RingBug::none>, ring<RingBug::waitOffByOne>), tileSums},
    {"prefetch-above-barrier", plain(ring<RingBug::none>, ring<RingBug::prefetchAboveBarrier>), tileSums},
    {"copies-in-flight", plain(ring<RingBug::none>, ring<RingBug::copiesInFlight>), tileSums},
    {"wrong-fragment", plain(wrongFragment<false>, wrongFragment<true>, 32), columnSums},
    {"shared-overrun", plain(sharedOverrun<false>, sharedOverrun<true>, kThreads, kThreads * sizeof(float)), same},
    {"static-overrun", plain(staticOverrun<false>, staticOverrun<true>), same},
    {"global-overrun", plain(globalOverrun<false>, globalOverrun<true>, kThreads + 1), same},
    {"divergent-barrier", plain(divergentBarrier<false>, divergentBarrier<true>), same},
    {"missing-mbarrier-wait", piped(pipeline<PipelineBug::missingWait>), pipelineSums},
    {"release-before-wait", piped(pipeline<PipelineBug::releaseBeforeWait>), pipelineSums},
    {"mbarrier-deadlock", piped(pipeline<PipelineBug::deadlock>), pipelineSums},
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
  for (const Planted &planted : kPlanted) {
    if (count == 3 && std::strcmp(arguments[1], planted.name) == 0) {
      return run(planted, std::strcmp(arguments[2], "wrong") == 0);
    }
  }
  std::printf("usage: planted_bugs NAME right|wrong\n");
  return 3;
}
