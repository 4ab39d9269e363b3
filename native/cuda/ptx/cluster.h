// cluster.h: clusters: blocks that run at the same time and reach one another's shared memory (PTX ISA,
// "barrier.cluster", "mapa", "ld.shared::cluster", "mbarrier.arrive", "cp.async.bulk.tensor"). sm_90a.
//
// A kernel launched by launchCluster. A block must not exit while others may touch its memory, nor be touched before it
// has begun: syncCluster() comes first and last.
#pragma once

#include "cuda/ptx/tensor_copy.h"

namespace sn::cuda {

#if SN_HOPPER

// The block's number in its cluster.
__device__ __forceinline__ unsigned clusterRank() {
#if defined(__CUDACC__)
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return emulation::clusterRank();
#endif
}

// A barrier of all threads of all blocks, in two parts. What a thread did before it arrives is seen by those that have
// waited.
__device__ __forceinline__ void arriveCluster() {
#if defined(__CUDACC__)
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#else
  emulation::arriveCluster();
#endif
}

__device__ __forceinline__ void waitCluster() {
#if defined(__CUDACC__)
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
  emulation::waitCluster();
#endif
}

__device__ __forceinline__ void syncCluster() {
  arriveCluster();
  waitCluster();
}

// Where the block of this rank has what this one has at `own`, in its shared memory. Only for loadRemote and
// storeRemote.
template <typename T>
__device__ __forceinline__ T *remote(T *own, unsigned rank) {
#if defined(__CUDACC__)
  uint64_t there;
  asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(own), "r"(rank));
  return reinterpret_cast<T *>(there);
#else
  return emulation::remote("mapa", own, rank);
#endif
}

__device__ __forceinline__ float4 loadRemote(const float4 *there) {
#if defined(__CUDACC__)
  float4 value;
  asm volatile(
      "{\n"
      ".reg .b64 address;\n"
      "cvta.to.shared::cluster.u64 address, %4;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [address];\n"
      "}"
      : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
      : "l"(there)
      : "memory");
  return value;
#else
  return emulation::loadRemote(there);
#endif
}

__device__ __forceinline__ void storeRemote(float4 *there, float4 value) {
#if defined(__CUDACC__)
  asm volatile(
      "{\n"
      ".reg .b64 address;\n"
      "cvta.to.shared::cluster.u64 address, %0;\n"
      "st.shared::cluster.v4.f32 [address], {%1, %2, %3, %4};\n"
      "}" ::"l"(there),
      "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w)
      : "memory");
#else
  emulation::storeRemote(there, value);
#endif
}

// Arrives at the barrier that the block of this rank has where this one has `own`.
__device__ __forceinline__ void arriveAt(Mbarrier *own, unsigned rank) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(own));
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n"
      "}" ::"r"(address),
      "r"(rank)
      : "memory");
#else
  emulation::arriveAt(own, rank);
#endif
}

// waitForPhase, where what other blocks' threads did before they arrived is to be seen.
__device__ __forceinline__ void waitForPhaseOfCluster(Mbarrier *barrier, uint32_t parity) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile(
      "{\n"
      ".reg .pred ended;\n"
      "WAIT_%=:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra WAIT_%=;\n"
      "}" ::"r"(address),
      "r"(parity)
      : "memory");
#else
  emulation::waitForMbarrier(barrier, parity);
#endif
}

// Loads a box to the same place of each block whose bit is set in `blocks`. What comes to a block counts at its own
// barrier, at the place of this one.
__device__ __forceinline__ void loadTileMulticast(void *shared, const TensorMap *map, int column, int row,
                                                  Mbarrier *barrier, uint16_t blocks) {
#if defined(__CUDACC__)
  auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  auto counter = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(target),
      "l"(map), "r"(column), "r"(row), "r"(counter), "h"(blocks)
      : "memory");
#else
  emulation::loadTileMulticast(shared, map, {column, row}, barrier, blocks);
#endif
}

__device__ __forceinline__ void loadTileMulticast(void *shared, const TensorMap *map, int column, int row, int head,
                                                  int batch, Mbarrier *barrier, uint16_t blocks) {
#if defined(__CUDACC__)
  auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  auto counter = static_cast<uint32_t>(__cvta_generic_to_shared(barrier));
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], %7;" ::"r"(target),
      "l"(map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(counter), "h"(blocks)
      : "memory");
#else
  emulation::loadTileMulticast(shared, map, {column, row, head, batch}, barrier, blocks);
#endif
}

#endif

}  // namespace sn::cuda
