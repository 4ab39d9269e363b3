// clusters.cu: blocks that run together: their barrier, reads and writes of one another's shared memory, arrivals at
// one another's mbarriers, and tensor loads that go to several of them.
#include "conformance.h"
#include "cuda/ptx/cluster.h"

namespace sn::conformance {

namespace {

constexpr unsigned kThreads = 64, kClusters = 3;

// Each block gives its rank's line to all others, takes one from each by reading and one by being written to.
template <unsigned Blocks>
__global__ void exchange([[maybe_unused]] float4 *out, [[maybe_unused]] const float4 *in) {
#if SN_HOPPER
  SN_SHARED(float4, own, kThreads);
  SN_SHARED(float4, given, Blocks * kThreads);
  unsigned rank = cuda::clusterRank(), thread = threadIdx.x;
  own[thread] = in[blockIdx.x * kThreads + thread];
  cuda::syncCluster();
  for (unsigned other = 0; other < Blocks; ++other) {
    cuda::storeRemote(cuda::remote(given + rank * kThreads + thread, other), own[(thread + 1) % kThreads]);
  }
  cuda::arriveCluster();
  float4 *mine = out + blockIdx.x * 2 * Blocks * kThreads;
  for (unsigned other = 0; other < Blocks; ++other) {
    mine[other * kThreads + thread] = cuda::loadRemote(cuda::remote(own + thread, other));
  }
  cuda::waitCluster();
  for (unsigned other = 0; other < Blocks; ++other) {
    mine[(Blocks + other) * kThreads + thread] = given[other * kThreads + thread];
  }
  cuda::syncCluster();
#endif
}

template <unsigned Blocks>
void exchanges() {
  constexpr size_t kBlocks = size_t{kClusters} * Blocks;
  std::vector<float4> in(kBlocks * kThreads);
  for (size_t i = 0; i < in.size(); ++i) {
    auto number = static_cast<float>(4 * i);
    in[i] = make_float4(number, number + 1, number + 2, number + 3);
  }
  Device<float4> source(in), target(in.size() * 2 * Blocks);
  require(cuda::launchCluster(exchange<Blocks>, kBlocks, kThreads, Blocks, 0, nullptr, target, source));
  auto actual = target.values();
  Report report("reads and writes within clusters of " + std::to_string(Blocks));
  for (size_t i = 0; i < actual.size(); ++i) {
    size_t thread = i % kThreads, other = i / kThreads % Blocks, written = i / kThreads / Blocks % 2;
    size_t block = i / kThreads / Blocks / 2;
    const float4 &is = actual[i];
    const float4 &expected = in[(block / Blocks * Blocks + other) * kThreads + (thread + written) % kThreads];
    bool same = is.x == expected.x && is.y == expected.y && is.z == expected.z && is.w == expected.w;
    report.check(same, i, is.x, expected.x);
  }
}

constexpr int kTiles = 7, kStages = 2;
constexpr uint32_t kTileBytes = 64 * 64 * sizeof(cuda::bf16);

// Each block of a cluster of two brings one half of each tile to both; each adds up all of what has come. A stage is
// used again once both blocks have read it.
template <bool Four>
__global__ void share([[maybe_unused]] float *out, [[maybe_unused]] const __grid_constant__ cuda::TensorMap map) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(cuda::Mbarrier, full, kStages);
  SN_SHARED(cuda::Mbarrier, empty, kStages);
  unsigned rank = cuda::clusterRank();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      cuda::initMbarrier(full + stage, 1);
      cuda::initMbarrier(empty + stage, 2 * kThreads);
    }
    cuda::fenceMbarrierInit();
  }
  cuda::syncCluster();
  if (threadIdx.x == kThreads) {
    for (int tile = 0; tile < kTiles; ++tile) {
      int stage = tile % kStages, row = static_cast<int>(64 * (blockIdx.x / 2 * kTiles + tile) + 32 * rank);
      if (tile >= kStages) cuda::waitForPhaseOfCluster(empty + stage, (tile / kStages - 1) % 2);
      cuda::arriveExpecting(full + stage, kTileBytes);
      unsigned char *half = memory + stage * kTileBytes + rank * kTileBytes / 2;
      if constexpr (Four) cuda::loadTileMulticast(half, &map, 0, row, 0, 0, full + stage, 3);
      if constexpr (!Four) cuda::loadTileMulticast(half, &map, 0, row, full + stage, 3);
    }
  } else if (threadIdx.x < kThreads) {
    float sum = 0;
    for (int tile = 0; tile < kTiles; ++tile) {
      int stage = tile % kStages;
      cuda::waitForPhase(full + stage, tile / kStages % 2);
      auto *rows = reinterpret_cast<const cuda::bf16 *>(memory + stage * kTileBytes);
      for (int row = 0; row < 64; ++row) sum += __bfloat162float(rows[row * 64 + threadIdx.x]);
      cuda::arriveAt(empty + stage, 0);
      cuda::arriveAt(empty + stage, 1);
    }
    out[blockIdx.x * kThreads + threadIdx.x] = sum;
  }
  cuda::syncCluster();
#endif
}

template <bool Four>
void shares(const char *name) {
  constexpr size_t kRows = size_t{kClusters} * kTiles * 64;
  std::vector<cuda::bf16> in(kRows * 64);
  std::vector<float> expected(size_t{kClusters} * 64, 0.0f);
  for (size_t i = 0; i < in.size(); ++i) {
    auto number = static_cast<float>(random()() % 16);
    in[i] = __float2bfloat16(number);
    expected[i / (64 * 64 * kTiles) * 64 + i % 64] += number;
  }
  Device<cuda::bf16> source(in);
  Device<float> target(size_t{kClusters} * 2 * kThreads);
  cuda::TensorMap map;
  constexpr cuda::Axis kColumn = {64, 1, 64}, kRow = {kRows, 64, 32}, kOne = {1, kRows * 64, 1};
  const cuda::bf16 *data = static_cast<cuda::bf16 *>(source);
  if (Four) require(describeTensor(&map, cuda::Element::bf16, data, {kColumn, kRow, kOne, kOne}, false));
  if (!Four) require(describeTensor(&map, cuda::Element::bf16, data, {kColumn, kRow}, false));
  require(
      cuda::launchCluster(share<Four>, 2 * kClusters, kThreads + 32, 2, kStages * kTileBytes, nullptr, target, map));
  auto actual = target.values();
  Report report(name);
  for (size_t i = 0; i < actual.size(); ++i) {
    float sum = expected[i / (2 * kThreads) * 64 + i % 64];
    report.check(actual[i] == sum, i, actual[i], sum);
  }
}

}  // namespace

void clusters() {
  exchanges<2>();
  exchanges<8>();
  shares<false>("multicast loads of matrices");
  shares<true>("multicast loads of 4 axes");
}

}  // namespace sn::conformance
