// orders.cu: named barriers, kernels that overlap, and registers that move between warpgroups.
#include "conformance.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/grid.h"

namespace sn::conformance {

namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 64;

// Warp 0 gives, warp 1 takes, and gives back; the others have no part in it.
__global__ void handOver(uint32_t *out, const uint32_t *in) {
  SN_SHARED(uint32_t, there, 32);
  SN_SHARED(uint32_t, back, 32);
  unsigned lane = threadIdx.x % 32;
  if (threadIdx.x < 32) {
    there[lane] = in[lane];
    cuda::arriveNamed(1, 64);
    cuda::syncNamed(2, 64);
    out[lane] = back[31 - lane];
  } else if (threadIdx.x < 64) {
    cuda::syncNamed(1, 64);
    back[lane] = there[31 - lane] + 1;
    cuda::arriveNamed(2, 64);
  }
}

// The second of two such kernels must see all that the first has written, also of other blocks.
__global__ void __launch_bounds__(kThreads, 1)
    successor([[maybe_unused]] uint32_t *out, [[maybe_unused]] const uint32_t *in) {
#if SN_HOPPER
  if (threadIdx.x < 128) {
    cuda::lowerRegisters<40>();
  } else {
    cuda::raiseRegisters<232>();
  }
  cuda::releaseNextGrid();
  cuda::waitForPriorGrid();
  unsigned i = blockIdx.x * kThreads + threadIdx.x;
  out[i] = in[kBlocks * kThreads - 1 - i] + 1;
#endif
}

}  // namespace

void namedBarriers() {
  auto in = randomBits(32);
  Device<uint32_t> source(in), target(32);
  require(cuda::launch(handOver, 1, 96, 0, nullptr, target, source));
  for (uint32_t &word : in) ++word;
  Report("bar.arrive and bar.sync").equal(target.values(), in);
}

void overlappingKernels() {
  auto in = randomBits(kBlocks * kThreads);
  Device<uint32_t> first(in), second(in.size());
  require(cuda::launchOverlapping(successor, kBlocks, kThreads, 0, nullptr, second, first));
  require(cuda::launchOverlapping(successor, kBlocks, kThreads, 0, nullptr, first, second));
  for (uint32_t &word : in) word += 2;
  Report("griddepcontrol and setmaxnreg").equal(first.values(), in);
}

}  // namespace sn::conformance
