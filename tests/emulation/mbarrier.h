// mbarrier.h: barriers in shared memory, which count arrivals of threads and bytes of tensor copies.
#pragma once

#include "emulation/cluster.h"

namespace sn::emulation {

// What stands in shared memory: a mark, by which an object that was overwritten or never made is known.
constexpr uint64_t kMbarrierMark = 0x6d62617272696572u;

inline void initMbarrier(uint64_t *object, unsigned arrivals) {
  requireHopper("mbarrier");
  requireAligned("mbarrier.init", object, sizeof *object);
  requireShared("mbarrier.init", object, sizeof *object);
  if (arrivals == 0 || arrivals >= 1u << 20) fail("mbarrier.init: %u arrivals", arrivals);
  *object = kMbarrierMark;
  Bookkeeping hidden;
  Mbarrier &barrier = here().block->mbarriers[object];
  if (!barrier.waiting.empty()) fail("mbarrier.init: %zu threads wait for the object", barrier.waiting.size());
  barrier.expected = barrier.pending = arrivals;
  barrier.bytes = 0;
  barrier.phase = 0;
  barrier.fenced = false;
}

inline void fenceMbarrierInit() {
  requireHopper("fence.mbarrier_init");
  Bookkeeping hidden;
  for (auto &[object, barrier] : here().block->mbarriers) barrier.fenced = true;
}

inline Mbarrier &findMbarrier(const char *what, Block &block, const uint64_t *object) {
  Bookkeeping hidden;
  auto &all = block.mbarriers;
  auto found = all.find(object);
  if (found == all.end()) fail("%s: no mbarrier was made at %p", what, static_cast<const void *>(object));
  if (*object != kMbarrierMark) fail("%s: the mbarrier at %p was overwritten", what, static_cast<const void *>(object));
  return found->second;
}

// For the tensor unit and other blocks.
inline Mbarrier &findKnownMbarrier(const char *what, Block &block, const uint64_t *object) {
  Mbarrier &barrier = findMbarrier(what, block, object);
  Bookkeeping hidden;
  if (!barrier.fenced) fail("%s: no fence has come since the mbarrier was made", what);
  return barrier;
}

inline void endPhaseIfComplete(Block &block, Mbarrier &barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.expected;
  barrier.phase ^= 1;
  for (Thread *thread : barrier.waiting) block.wake(*thread);
  barrier.waiting.clear();
}

// Expects `bytes` more in this phase, and arrives.
inline void arriveAtMbarrier(Block &block, uint64_t *object, unsigned bytes) {
  Mbarrier &barrier = findMbarrier("mbarrier.arrive", block, object);
  releaseTo(barrier.edges[barrier.phase]);
  Bookkeeping hidden;
  if (barrier.pending == 0) fail("mbarrier.arrive: more arrivals than the %u of a phase", barrier.expected);
  if (bytes >= 1u << 20) fail("mbarrier.arrive: %u bytes", bytes);
  barrier.bytes += bytes;
  --barrier.pending;
  endPhaseIfComplete(block, barrier);
}

inline void arriveAtMbarrier(uint64_t *object, unsigned bytes) { arriveAtMbarrier(*here().block, object, bytes); }

// Returns once the phase of this parity has ended: at once if the current one is of the other.
inline void waitForMbarrier(uint64_t *object, unsigned parity) {
  Mbarrier &barrier = findMbarrier("mbarrier.try_wait", *here().block, object);
  {
    Bookkeeping hidden;
    if (parity > 1) fail("mbarrier.try_wait: parity %u", parity);
    Thread &self = here();
    while (barrier.phase == parity) {
      barrier.waiting.push_back(&self);
      self.awaited = &barrier;
      self.block->suspend({"an mbarrier"});
    }
    self.awaited = nullptr;
  }
  acquireFrom(barrier.edges[parity]);
}

inline void fenceAsyncProxy() {
  requireHopper("fence.proxy.async");
  fenceMbarrierInit();
  Bookkeeping hidden;
  here().block->shared.show();
}

[[noreturn]] inline void failUnshown(const char *what) {
  fail("%s reads shared memory that threads have written to since the last fenceAsyncProxy", what);
}

}  // namespace sn::emulation
