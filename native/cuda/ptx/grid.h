// grid.h: the order of kernels that overlap, launched by launchOverlapping (PTX ISA, "griddepcontrol"), and the share
// of registers of a warpgroup (PTX ISA, "setmaxnreg"). sm_90a.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

#if SN_HOPPER

// Waits until the kernel before this one in the stream has ended, and its writes are seen.
__device__ __forceinline__ void waitForPriorGrid() {
#if defined(__CUDACC__)
  asm volatile("griddepcontrol.wait;" ::: "memory");
#else
  emulation::waitForPriorGrid();
#endif
}

// Lets the kernel after this one start once all blocks have said so or exited.
__device__ __forceinline__ void releaseNextGrid() {
#if defined(__CUDACC__)
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Sets how many registers each thread of the warpgroup has: more than before, or fewer. All its threads execute it.
template <int Count>
__device__ __forceinline__ void raiseRegisters() {
  static_assert(Count >= 24 && Count <= 256 && Count % 8 == 0);
#if defined(__CUDACC__)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
#else
  emulation::requireHopper("setmaxnreg");
#endif
}

template <int Count>
__device__ __forceinline__ void lowerRegisters() {
  static_assert(Count >= 24 && Count <= 256 && Count % 8 == 0);
#if defined(__CUDACC__)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
#else
  emulation::requireHopper("setmaxnreg");
#endif
}

#endif

}  // namespace sn::cuda
