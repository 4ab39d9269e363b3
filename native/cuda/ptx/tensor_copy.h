// tensor_copy.h: copies of boxes of a matrix between device and shared memory, by one thread (PTX ISA,
// "cp.async.bulk.tensor"). sm_90a.
//
// Boxes lie in dynamic shared memory, swizzled ones at multiples of 1024 bytes, others of 128.
#pragma once

#include "cuda/ptx/mbarrier.h"
#include "cuda/tensor_map.h"

namespace sn::cuda {

#if SN_HOPPER

// Loads the box whose first element is at (row, column); its bytes count at the barrier.
__device__ __forceinline__ void loadTile(void *shared, const TensorMap *map, int column, int row, Mbarrier *barrier) {
#if defined(__CUDACC__)
  auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  auto counter = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          target),
      "l"(map), "r"(column), "r"(row), "r"(counter)
      : "memory");
#else
  emulation::loadTile(shared, map, column, row, barrier);
#endif
}

// Stores a box. What threads have written to it comes before by fenceAsyncProxy() and a barrier.
__device__ __forceinline__ void storeTile(const TensorMap *map, int column, int row, const void *shared) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(column),
               "r"(row), "r"(source)
               : "memory");
#else
  emulation::storeTile(map, column, row, shared);
#endif
}

// The thread's stores since the last commit become a group.
__device__ __forceinline__ void commitStores() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  emulation::commitStores();
#endif
}

// Waits until all of the thread's groups but the latest `Pending` are stored.
template <int Pending>
__device__ __forceinline__ void waitForStores() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
#else
  emulation::waitForStores(Pending);
#endif
}

// Waits only until they have read shared memory, which may then be used again.
template <int Pending>
__device__ __forceinline__ void waitForStoreReads() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
#else
  emulation::waitForStores(Pending);
#endif
}

// Brings a map into the cache before its first use.
__device__ __forceinline__ void prefetchMap([[maybe_unused]] const TensorMap *map) {
#if defined(__CUDACC__)
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

#endif

}  // namespace sn::cuda
