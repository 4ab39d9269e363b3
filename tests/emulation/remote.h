// remote.h: what the blocks of a cluster do together: their barrier, and each one's access to the others' shared
// memory.
#pragma once

#include "emulation/mbarrier.h"

namespace sn::emulation {

inline unsigned clusterRank() {
  requireHopper("a cluster");
  return here().block->rank;
}

inline void arriveCluster() {
  requireHopper("barrier.cluster");
  Thread &self = here();
  Cluster &cluster = self.block->cluster;
  releaseTo(cluster.arrivals.edges[cluster.arrivals.generation % 2]);
  Bookkeeping hidden;
  if (self.arrivedAtCluster) fail("barrier.cluster.arrive: this thread has not waited since it last arrived");
  self.arrivedAtCluster = true;
  self.clusterGeneration = cluster.arrivals.generation;
  ++cluster.arrivals.arrived;
  cluster.openIfComplete();
}

inline void waitCluster() {
  Thread &self = here();
  Cluster &cluster = self.block->cluster;
  {
    Bookkeeping hidden;
    if (!self.arrivedAtCluster) fail("barrier.cluster.wait: this thread has not arrived");
    const Place place = {"barrier.cluster.wait"};
    if (cluster.arrivals.generation == self.clusterGeneration) {
      cluster.arrivals.waiting.push_back(&self);
      cluster.suspend(place);
    } else if (cluster.random) {
      cluster.yield(place);
    }
    self.arrivedAtCluster = false;
  }
  acquireFrom(cluster.arrivals.edges[self.clusterGeneration % 2]);
}

// The block of this rank, whose shared memory the running thread touches.
inline Block &peer(const char *what, unsigned rank) {
  Bookkeeping hidden;
  requireHopper(what);
  Cluster &cluster = here().block->cluster;
  if (rank >= cluster.blocks.size())
    fail("%s: a cluster of %zu blocks has none of rank %u", what, cluster.blocks.size(), rank);
  Block &block = *cluster.blocks[rank];
  if (block.hasExited()) fail("%s: block %u of the cluster has exited", what, rank);
  return block;
}

// Where that block has what this one has at `address`.
template <typename T>
T *remote(const char *what, T *address, unsigned rank) {
  Bookkeeping hidden;
  void *there = peer(what, rank).shared.counterpart(here().block->shared, address);
  if (there == nullptr) fail("%s: %p is not in shared memory", what, static_cast<const void *>(address));
  return static_cast<T *>(there);
}

// One access of the running thread, of a block that must be there still.
template <typename T>
void checkRemote(const char *what, const T *address) {
  Bookkeeping hidden;
  requireAligned(what, address, sizeof(T));
  for (const auto &block : here().block->cluster.blocks) {
    if (!block->shared.contains(address, sizeof(T))) continue;
    peer(what, block->rank);
    return;
  }
  fail("%s: %p is in no block's shared memory", what, static_cast<const void *>(address));
}

template <typename T>
T loadRemote(const T *address) {
  checkRemote("ld.shared::cluster", address);
  return *address;
}

template <typename T>
void storeRemote(T *address, const T &value) {
  checkRemote("st.shared::cluster", address);
  *address = value;
}

inline void arriveAt(uint64_t *own, unsigned rank) {
  constexpr const char *kWhat = "mbarrier.arrive";
  uint64_t *object = remote(kWhat, own, rank);
  Block &block = peer(kWhat, rank);
  findKnownMbarrier(kWhat, block, object);
  arriveAtMbarrier(block, object, 0);
}

}  // namespace sn::emulation
