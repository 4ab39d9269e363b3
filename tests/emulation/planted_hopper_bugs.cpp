// planted_hopper_bugs.cpp: small kernels of the tensor unit, of warpgroup products and of clusters, each right or with
// one bug planted: see planted_bugs.cpp.
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/grid.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/ptx/warpgroup.h"
#include "emulation/planted_bugs.h"

using namespace sn::cuda;
using namespace sn::planted;

namespace {

constexpr int kRing = 2;
constexpr uint32_t kTileBytes = 64 * 64 * sizeof(bf16);
constexpr uint32_t kOnes = 0x3f803f80u;

// The sums of 64 columns lie in the first row of the accumulators, of which four threads have each a part.
__device__ void storeFirstRow(float *out, const float (&sums)[32]) {
  if (threadIdx.x >= 4) return;
  for (unsigned i = 0; i < 16; ++i) out[i / 2 * 8 + 2 * threadIdx.x + i % 2] = sums[i / 2 * 4 + i % 2];
}

enum class PipelineBug {
  none,
  missingWait,
  wrongParity,
  releaseBeforeWait,
  deadlock,
  touchedInFlight,
  missingFence,
};

// Sums the columns of tiles of 64 x 64 that the tensor unit brings into a ring: products with ones, by one warpgroup;
// a thread of the other one asks for the tiles.
template <PipelineBug bug>
__global__ void pipeline(float *out, const __grid_constant__ TensorMap map) {
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
  const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
  float sums[32] = {};
  for (int tile = 0; tile < kTiles; ++tile) {
    int stage = tile % kRing;
    int phase = tile / kRing + (bug == PipelineBug::wrongParity ? 1 : 0);
    if constexpr (bug != PipelineBug::missingWait) waitForPhase(full + stage, phase % 2);
    uint64_t operand = describeOuter(memory + stage * kTileBytes, kTileBytes);
    if constexpr (bug != PipelineBug::missingFence) fenceWarpgroup();
    for (int step = 0; step < 4; ++step) {
      multiplyWarpgroup<64, Major::outer>(sums, ones, advance<Major::outer>(operand, step));
    }
    commitProducts();
    if constexpr (bug == PipelineBug::releaseBeforeWait) arrive(empty + stage);
    if constexpr (bug == PipelineBug::touchedInFlight) sums[0] += 1;
    waitForProducts<0>();
    if constexpr (bug == PipelineBug::touchedInFlight) sums[0] -= 1;
    if constexpr (bug != PipelineBug::releaseBeforeWait) arrive(empty + stage);
  }
  storeFirstRow(out, sums);
}

// Each thread writes one number to a box, which is then stored.
template <bool Wrong>
__global__ void storedWithoutFence(const float *in, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  reinterpret_cast<float *>(memory)[threadIdx.x] = in[threadIdx.x];
  if constexpr (!Wrong) fenceAsyncProxy();
  __syncthreads();
  if (threadIdx.x != 0) return;
  storeTile(&map, 0, 0, memory);
  commitStores();
  waitForStores<0>();
}

// Only the thread that stores has a fence, and before the others have written.
template <bool Wrong>
__global__ void fencedTooEarly(const float *in, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  if (Wrong && threadIdx.x == 0) fenceAsyncProxy();
  __syncthreads();
  reinterpret_cast<float *>(memory)[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  if (threadIdx.x != 0) return;
  if constexpr (!Wrong) fenceAsyncProxy();
  storeTile(&map, 0, 0, memory);
  commitStores();
  waitForStores<0>();
}

// Column sums of a tile that threads have written, by products with ones.
template <bool Wrong>
__global__ void multipliedWithoutFence(float *out, const float *in) {
  SN_DYNAMIC_SHARED(memory);
  auto *tile = reinterpret_cast<bf16 *>(memory);
  for (unsigned i = threadIdx.x; i < 64 * 64; i += kThreads) {
    unsigned row = i / 64, column = i % 64;
    tile[row * 64 + ((column / 8 ^ row % 8) * 8) + column % 8] = bf16(in[i % (kTiles * kThreads)]);
  }
  if constexpr (!Wrong) fenceAsyncProxy();
  __syncthreads();
  const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
  float sums[32] = {};
  fenceWarpgroup();
  for (int step = 0; step < 4; ++step) {
    multiplyWarpgroup<64, Major::outer>(sums, ones, advance<Major::outer>(describeOuter(memory, kTileBytes), step));
  }
  commitProducts();
  waitForProducts<0>();
  storeFirstRow(out, sums);
}

enum class SwizzleBug { none, ignored, ofHalfTheRow };

// Column sums of a tile that is loaded swizzled.
template <SwizzleBug bug>
__global__ void readSwizzled(float *out, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, loaded, 1);
  if (threadIdx.x == 0) {
    initMbarrier(loaded, 1);
    fenceMbarrierInit();
    arriveExpecting(loaded, kTileBytes);
    loadTile(memory, &map, 0, 0, loaded);
  }
  __syncthreads();
  waitForPhase(loaded, 0);
  if (threadIdx.x >= 64) return;
  float sum = 0;
  for (unsigned row = 0; row < 64; ++row) {
    unsigned piece = threadIdx.x / 8;
    if constexpr (bug == SwizzleBug::none) piece ^= row % 8;
    if constexpr (bug == SwizzleBug::ofHalfTheRow) piece ^= row / 2 % 8;
    sum += __bfloat162float(reinterpret_cast<bf16 *>(memory)[row * 64 + piece * 8 + threadIdx.x % 8]);
  }
  out[threadIdx.x] = sum;
}

// Takes what it has stored from where it stored it.
template <bool Wrong>
__global__ void readBeforeLanding(float *out, const float *in, float *scratch) {
  SN_DYNAMIC_SHARED(memory);
  reinterpret_cast<float *>(memory)[threadIdx.x] = in[threadIdx.x];
  fenceAsyncProxy();
  __syncthreads();
  float *own = scratch + blockIdx.x * kThreads;
  if (threadIdx.x == 0) {
    storeBulk(own, memory, kThreads * sizeof(float));
    commitStores();
    if constexpr (Wrong) waitForStoreReads<0>();
    if constexpr (!Wrong) waitForStores<0>();
  }
  __syncthreads();
  out[threadIdx.x] = own[threadIdx.x];
}

enum class ClusterBug { none, tooFewBytes, releasedToOne, releasedToItself };

// Sums the columns of tiles of which each of two blocks brings one half to both.
template <ClusterBug bug>
__global__ void shared(float *out, const __grid_constant__ TensorMap map) {
  constexpr unsigned kReaders = 64;
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, full, kRing);
  SN_SHARED(Mbarrier, empty, kRing);
  unsigned rank = clusterRank();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kRing; ++stage) {
      initMbarrier(full + stage, 1);
      initMbarrier(empty + stage, bug == ClusterBug::releasedToItself ? kReaders : 2 * kReaders);
    }
    fenceMbarrierInit();
  }
  syncCluster();
  if (threadIdx.x == kReaders) {
    for (int tile = 0; tile < kTiles; ++tile) {
      int stage = tile % kRing;
      if (tile >= kRing) waitForPhaseOfCluster(empty + stage, (tile / kRing - 1) % 2);
      arriveExpecting(full + stage, bug == ClusterBug::tooFewBytes ? kTileBytes / 2 : kTileBytes);
      loadTileMulticast(memory + stage * kTileBytes + rank * kTileBytes / 2, &map, 0,
                        64 * tile + 32 * static_cast<int>(rank), full + stage, 3);
    }
  } else if (threadIdx.x < kReaders) {
    float sum = 0;
    for (int tile = 0; tile < kTiles; ++tile) {
      int stage = tile % kRing;
      waitForPhase(full + stage, tile / kRing % 2);
      auto *rows = reinterpret_cast<const bf16 *>(memory + stage * kTileBytes);
      for (int row = 0; row < 64; ++row) {
        sum += __bfloat162float(rows[row * 64 + threadIdx.x]);
        // Others may run while it reads.
        if (row % 16 == 0) __syncwarp();
      }
      if constexpr (bug == ClusterBug::releasedToItself) arriveAt(empty + stage, rank);
      if constexpr (bug != ClusterBug::releasedToItself) arriveAt(empty + stage, 0);
      if constexpr (bug == ClusterBug::none || bug == ClusterBug::tooFewBytes) arriveAt(empty + stage, 1);
    }
    if (threadIdx.x / 32 == rank) out[threadIdx.x] = sum;
  }
  syncCluster();
}

// The first of two blocks reads what the second has in its shared memory.
template <bool Wrong>
__global__ void exitBeforeRead(float *out, const float *in) {
  SN_SHARED(float4, values, kThreads);
  values[threadIdx.x] = make_float4(in[threadIdx.x], 0, 0, 0);
  syncCluster();
  if (clusterRank() == 0) out[threadIdx.x] = loadRemote(remote(values + threadIdx.x, 1)).x;
  if constexpr (!Wrong) syncCluster();
}

__global__ void produce(float *out, const float *in) { out[threadIdx.x] = in[threadIdx.x]; }

enum class OverlapBug { none, readsTooEarly, neverWaits };

template <OverlapBug bug>
__global__ void consume(float *out, const float *in) {
  float early = in[threadIdx.x];
  if constexpr (bug != OverlapBug::neverWaits) waitForPriorGrid();
  out[threadIdx.x] = bug == OverlapBug::none ? in[threadIdx.x] : early;
}

std::vector<float> same(const std::vector<float> &in) { return {in.begin(), in.begin() + kThreads}; }

template <int Tiles>
std::vector<float> columnSums(const std::vector<float> &in) {
  std::vector<float> out(64, 0.0f);
  for (size_t i = 0; i < Tiles * 64 * 64; ++i) out[i % 64] += in[i % in.size()];
  return out;
}

// Memory of the device until the launch has ended.
class Scratch {
 public:
  explicit Scratch(size_t bytes) { cudaMalloc(&memory_, bytes); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  ~Scratch() { cudaFree(memory_); }

  template <typename T>
  T *as() const {
    return static_cast<T *>(memory_);
  }

 private:
  void *memory_ = nullptr;
};

// What the launch says, or else what comes of it.
cudaError_t ended(cudaError_t launched) { return launched == cudaSuccess ? cudaDeviceSynchronize() : launched; }

// Runs a kernel on tiles of 64 x 64, loaded in boxes of so many rows.
auto onTiles(void (*right)(float *, TensorMap), void (*wrong)(float *, TensorMap), unsigned threads, bool swizzled,
             unsigned clusterBlocks = 1) {
  return [=](bool isWrong, float *out, const float *in) {
    std::vector<bf16> tiles(kTiles * 64 * 64);
    for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = bf16(in[i % (kTiles * kThreads)]);
    Scratch memory(tiles.size() * sizeof(bf16));
    cudaMemcpy(memory.as<bf16>(), tiles.data(), tiles.size() * sizeof(bf16), cudaMemcpyHostToDevice);
    TensorMap map;
    cudaError_t error = describeMatrix(&map, memory.as<bf16>(), kTiles * 64, 64, 64, 64 / clusterBlocks, 64, swizzled);
    if (error != cudaSuccess) return error;
    return ended(
        launchCluster(isWrong ? wrong : right, 2, threads, clusterBlocks, kRing * kTileBytes, nullptr, out, map));
  };
}

auto piped(void (*wrong)(float *, TensorMap)) { return onTiles(pipeline<PipelineBug::none>, wrong, 256, true); }

auto clustered(void (*wrong)(float *, TensorMap)) { return onTiles(shared<ClusterBug::none>, wrong, 96, false, 2); }

auto swizzledBy(void (*wrong)(float *, TensorMap)) {
  return onTiles(readSwizzled<SwizzleBug::none>, wrong, kThreads, true);
}

// Kernels that store their box over a map of `out`.
auto stored(void (*right)(const float *, TensorMap), void (*wrong)(const float *, TensorMap)) {
  return [=](bool isWrong, float *out, const float *in) {
    TensorMap map;
    cudaError_t error =
        describeTensor(&map, Element::f32, out, {{32, 1, 32}, {kThreads / 32, 32, kThreads / 32}}, false);
    if (error != cudaSuccess) return error;
    return ended(launch(isWrong ? wrong : right, 4, kThreads, kThreads * sizeof(float), nullptr, in, map));
  };
}

template <OverlapBug bug>
auto overlapped() {
  return [=](bool isWrong, float *out, const float *in) {
    Scratch between(kThreads * sizeof(float));
    cudaError_t error = launch(produce, 1, kThreads, 0, nullptr, between.as<float>(), in);
    if (error != cudaSuccess) return error;
    auto kernel = isWrong ? consume<bug> : consume<OverlapBug::none>;
    return ended(launchOverlapping(kernel, 1, kThreads, 0, nullptr, out, between.as<float>()));
  };
}

cudaError_t runMultiplied(bool isWrong, float *out, const float *in) {
  auto kernel = isWrong ? multipliedWithoutFence<true> : multipliedWithoutFence<false>;
  return launch(kernel, 4, kThreads, kTileBytes, nullptr, out, in);
}

cudaError_t runReadBeforeLanding(bool isWrong, float *out, const float *in) {
  Scratch scratch(4 * kThreads * sizeof(float));
  auto kernel = isWrong ? readBeforeLanding<true> : readBeforeLanding<false>;
  return ended(launch(kernel, 4, kThreads, kThreads * sizeof(float), nullptr, out, in, scratch.as<float>()));
}

cudaError_t runExitBeforeRead(bool isWrong, float *out, const float *in) {
  return launchCluster(isWrong ? exitBeforeRead<true> : exitBeforeRead<false>, 2, kThreads, 2, 0, nullptr, out, in);
}

}  // namespace

const std::vector<Planted> &sn::planted::hopperBugs() {
  static const std::vector<Planted> all = {
      {"missing-mbarrier-wait", piped(pipeline<PipelineBug::missingWait>), columnSums<kTiles>},
      {"wrong-parity", piped(pipeline<PipelineBug::wrongParity>), columnSums<kTiles>},
      {"release-before-wait", piped(pipeline<PipelineBug::releaseBeforeWait>), columnSums<kTiles>},
      {"mbarrier-deadlock", piped(pipeline<PipelineBug::deadlock>), columnSums<kTiles>},
      {"touched-in-flight", piped(pipeline<PipelineBug::touchedInFlight>), columnSums<kTiles>},
      {"missing-warpgroup-fence", piped(pipeline<PipelineBug::missingFence>), columnSums<kTiles>},
      {"stored-without-fence", stored(storedWithoutFence<false>, storedWithoutFence<true>), same},
      {"fenced-too-early", stored(fencedTooEarly<false>, fencedTooEarly<true>), same},
      {"multiplied-without-fence", runMultiplied, columnSums<1>},
      {"swizzle-ignored", swizzledBy(readSwizzled<SwizzleBug::ignored>), columnSums<1>},
      {"swizzle-of-half-the-row", swizzledBy(readSwizzled<SwizzleBug::ofHalfTheRow>), columnSums<1>},
      {"read-before-landing", runReadBeforeLanding, same},
      {"too-few-bytes", clustered(shared<ClusterBug::tooFewBytes>), columnSums<kTiles>},
      {"released-to-one", clustered(shared<ClusterBug::releasedToOne>), columnSums<kTiles>},
      {"released-to-itself", clustered(shared<ClusterBug::releasedToItself>), columnSums<kTiles>},
      {"exit-before-read", runExitBeforeRead, same},
      {"read-before-prior-grid", overlapped<OverlapBug::readsTooEarly>(), same},
      {"never-waits-for-prior-grid", overlapped<OverlapBug::neverWaits>(), same},
  };
  return all;
}
