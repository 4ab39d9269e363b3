// barrier.h: barriers of some of a block's threads (PTX ISA, "barrier"). sm_80.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

// Waits until `threads` threads, a multiple of 32, have come to this barrier or arrived at it. Number 0 is
// __syncthreads; 1 to 15 are free.
__device__ __forceinline__ void syncNamed(uint32_t number, uint32_t threads) {
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
  emulation::syncNamedBarrier(number, threads);
#endif
}

// Counts as one of them without waiting.
__device__ __forceinline__ void arriveNamed(uint32_t number, uint32_t threads) {
#if defined(__CUDACC__)
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
  emulation::arriveAtNamedBarrier(number, threads);
#endif
}

}  // namespace sn::cuda
