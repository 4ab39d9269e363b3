// mbarrier.h: barriers in shared memory that count arrivals of threads and bytes of tensor copies (PTX ISA,
// "mbarrier"). sm_90a.
//
// A barrier goes through phases. A phase ends when so many threads have arrived as it was made for, and all bytes that
// they expect have come. A waiter names the parity of the phase: 0 for the first, 1 for the second, 0 for the third.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

using Mbarrier = uint64_t;

#if SN_HOPPER

// By one thread; the others may use it after fenceMbarrierInit() and a barrier.
__device__ __forceinline__ void initMbarrier(Mbarrier *barrier, uint32_t arrivals) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
#else
  emulation::initMbarrier(barrier, arrivals);
#endif
}

// Makes new barriers known to the tensor unit and to other blocks of the cluster.
__device__ __forceinline__ void fenceMbarrierInit() {
#if defined(__CUDACC__)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  emulation::fenceMbarrierInit();
#endif
}

// Makes what the thread has written to shared memory seen by tensor stores and warpgroup products after a barrier.
__device__ __forceinline__ void fenceAsyncProxy() {
#if defined(__CUDACC__)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  emulation::fenceAsyncProxy();
#endif
}

__device__ __forceinline__ void arrive(Mbarrier *barrier) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
#else
  emulation::arriveAtMbarrier(barrier, 0);
#endif
}

// Arrives, and makes the phase wait for so many bytes more.
__device__ __forceinline__ void arriveExpecting(Mbarrier *barrier, uint32_t bytes) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes) : "memory");
#else
  emulation::arriveAtMbarrier(barrier, bytes);
#endif
}

// Returns once the phase of this parity has ended: at once if the current phase is of the other parity.
__device__ __forceinline__ void waitForPhase(Mbarrier *barrier, uint32_t parity) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile(
      "{\n"
      ".reg .pred ended;\n"
      "WAIT_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra WAIT_%=;\n"
      "}" ::"r"(address),
      "r"(parity)
      : "memory");
#else
  emulation::waitForMbarrier(barrier, parity);
#endif
}

#endif

}  // namespace sn::cuda
