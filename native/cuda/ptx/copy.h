// copy.h: cp.async: copies from global to shared memory that do not pass through registers (PTX ISA, "Data movement and
// conversion instructions: asynchronous copy"). sm_80.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

// Copies the first `present` of `Bytes` (4, 8 or 16, both addresses a multiple of it) and writes zeros for the others,
// which it does not read.
template <int Bytes>
__device__ __forceinline__ void copyAsyncFirst(void *shared, const void *global, int present) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
#if defined(__CUDACC__)
  auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  // Only whole 16 bytes can stay out of the first-level cache.
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(global), "r"(present) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(target), "l"(global), "n"(Bytes), "r"(present)
                 : "memory");
  }
#else
  emulation::copyAsync(shared, global, Bytes, present);
#endif
}

// Copies all of them; writes zeros where `valid` is false, without reading.
template <int Bytes>
__device__ __forceinline__ void copyAsync(void *shared, const void *global, bool valid = true) {
  copyAsyncFirst<Bytes>(shared, global, valid ? Bytes : 0);
}

// The thread's copies since the last commit become a group.
__device__ __forceinline__ void commitCopies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulation::commitCopies();
#endif
}

// Waits for all of the thread's groups but the latest `Pending`. Others see what landed after the next barrier.
template <int Pending>
__device__ __forceinline__ void waitForCopies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#else
  emulation::waitForCopies(Pending);
#endif
}

// Asks for a line of global memory, which the second-level cache then has. Whoever writes it later writes it there: so
// it may be asked for before it is known to be final.
__device__ __forceinline__ void prefetchLine(const void *global) {
#if defined(__CUDACC__)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(global)));
#else
  static_cast<void>(global);
#endif
}

}  // namespace sn::cuda
