// tensor_copy.h: copies between device and shared memory by the tensor unit, at the word of one thread: of boxes of a
// tensor (PTX ISA, "cp.async.bulk.tensor", "cp.reduce.async.bulk.tensor"), and of plain bytes ("cp.async.bulk",
// "cp.reduce.async.bulk"). sm_90a.
//
// Boxes lie in dynamic shared memory, swizzled ones at multiples of 1024 bytes, others of 128. Coordinates are those of
// the box's first element, the innermost first. What threads have written to shared memory comes before a store or an
// add by fenceAsyncProxy() and a barrier.
#pragma once

#include "cuda/ptx/mbarrier.h"
#include "cuda/tensor_map.h"

namespace sn::cuda {

#if SN_HOPPER

// Loads a box; its bytes, also those outside of the tensor, count at the barrier.
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
  emulation::loadTile(shared, map, {column, row}, barrier);
#endif
}

__device__ __forceinline__ void loadTile(void *shared, const TensorMap *map, int column, int row, int head, int batch,
                                         Mbarrier *barrier) {
#if defined(__CUDACC__)
  auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  auto counter = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6];" ::"r"(target),
      "l"(map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(counter)
      : "memory");
#else
  emulation::loadTile(shared, map, {column, row, head, batch}, barrier);
#endif
}

// Stores a box.
__device__ __forceinline__ void storeTile(const TensorMap *map, int column, int row, const void *shared) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(column),
               "r"(row), "r"(source)
               : "memory");
#else
  emulation::storeTile(map, {column, row}, shared);
#endif
}

__device__ __forceinline__ void storeTile(const TensorMap *map, int column, int row, int head, int batch,
                                          const void *shared) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(map),
               "r"(column), "r"(row), "r"(head), "r"(batch), "r"(source)
               : "memory");
#else
  emulation::storeTile(map, {column, row, head, batch}, shared);
#endif
}

// Adds a box of bf16 or f32 to the tensor, each element in one step.
__device__ __forceinline__ void addTile(const TensorMap *map, int column, int row, const void *shared) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(column), "r"(row), "r"(source)
               : "memory");
#else
  emulation::addTile(map, {column, row}, shared);
#endif
}

__device__ __forceinline__ void addTile(const TensorMap *map, int column, int row, int head, int batch,
                                        const void *shared) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile(
      "cp.reduce.async.bulk.tensor.4d.global.shared::cta.add.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(map),
      "r"(column), "r"(row), "r"(head), "r"(batch), "r"(source)
      : "memory");
#else
  emulation::addTile(map, {column, row, head, batch}, shared);
#endif
}

// Loads bytes that need no map: addresses and number are multiples of 16.
__device__ __forceinline__ void loadBulk(void *shared, const void *global, uint32_t bytes, Mbarrier *barrier) {
#if defined(__CUDACC__)
  auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  auto counter = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(target),
               "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(counter)
               : "memory");
#else
  emulation::loadBulk(shared, global, bytes, barrier);
#endif
}

// Stores them.
__device__ __forceinline__ void storeBulk(void *global, const void *shared, uint32_t bytes) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(__cvta_generic_to_global(global)),
               "r"(source), "r"(bytes)
               : "memory");
#else
  emulation::storeBulk(global, shared, bytes);
#endif
}

// Adds them, each number in one step.
__device__ __forceinline__ void addBulk(float *global, const float *shared, uint32_t bytes) {
#if defined(__CUDACC__)
  auto source = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(
                   __cvta_generic_to_global(global)),
               "r"(source), "r"(bytes)
               : "memory");
#else
  emulation::addBulk(global, shared, bytes);
#endif
}

// The thread's stores and adds since the last commit become a group.
__device__ __forceinline__ void commitStores() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  emulation::commitStores();
#endif
}

// Waits until all of the thread's groups but the latest `Pending` have landed.
template <int Pending>
__device__ __forceinline__ void waitForStores() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
#else
  emulation::waitForStores(Pending);
#endif
}

// Waits only until they have read shared memory, which may then be used again, or the thread exit.
template <int Pending>
__device__ __forceinline__ void waitForStoreReads() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
#else
  emulation::waitForStoreReads(Pending);
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
