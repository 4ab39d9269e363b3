// barrier.h: __syncthreads and its relatives, and the named barriers of PTX.
#pragma once

#include <source_location>

#include "emulation/cluster.h"

namespace sn::emulation {

enum class Reduction { none, count, any, all };

class BarrierUse {
 public:
  BarrierUse(unsigned number, unsigned expected, const Place &place)
      : block_(*here().block), barrier_(block_.barriers[number]), place_(place) {
    Bookkeeping hidden;
    if (block_.exited > 0 && number == 0) {
      fail("%s is divergent: %u of the block's threads have exited", place.what, block_.exited);
    }
    if (barrier_.arrived == 0) {
      barrier_.expected = expected;
    } else if (barrier_.expected != expected) {
      fail("%s: barrier %u is for %u threads here, for %u elsewhere", place.what, number, expected, barrier_.expected);
    }
    edge_ = barrier_.edges[barrier_.generation % 2];
  }

  // Counts the running thread; the last one opens the barrier.
  bool arrive(Reduction reduction, int value) {
    releaseTo(edge_);
    Bookkeeping hidden;
    if (barrier_.arrived == 0) barrier_.reduction = reduction == Reduction::all ? 1 : 0;
    if (reduction == Reduction::count) barrier_.reduction += value != 0;
    if (reduction == Reduction::any) barrier_.reduction |= value != 0;
    if (reduction == Reduction::all) barrier_.reduction &= value != 0;
    if (++barrier_.arrived < barrier_.expected) return false;
    barrier_.arrived = 0;
    ++barrier_.generation;
    barrier_.result = barrier_.reduction;
    for (Thread *thread : barrier_.waiting) block_.wake(*thread);
    barrier_.waiting.clear();
    return true;
  }

  int wait(bool open) {
    {
      Bookkeeping hidden;
      if (!open) {
        barrier_.waiting.push_back(&here());
        block_.suspend(place_);
      } else if (block_.random) {
        block_.yield(place_);
      }
    }
    acquireFrom(edge_);
    Bookkeeping hidden;
    return barrier_.result;
  }

 private:
  Block &block_;
  Barrier &barrier_;
  Place place_;
  char *edge_;
};

inline int syncBlock(Reduction reduction, int value, const Place &place) {
  BarrierUse use(0, here().block->count, place);
  bool open = use.arrive(reduction, value);
  return use.wait(open);
}

inline void checkNamedBarrier(unsigned number, unsigned threads, const char *what) {
  if (number >= kBarriers) fail("%s: there is no barrier %u", what, number);
  if (threads == 0 || threads % kWarp != 0) fail("%s: %u threads are no whole number of warps", what, threads);
}

inline void syncNamedBarrier(unsigned number, unsigned threads) {
  checkNamedBarrier(number, threads, "bar.sync");
  BarrierUse use(number, threads, {"bar.sync"});
  bool open = use.arrive(Reduction::none, 0);
  use.wait(open);
}

inline void arriveAtNamedBarrier(unsigned number, unsigned threads) {
  checkNamedBarrier(number, threads, "bar.arrive");
  BarrierUse use(number, threads, {"bar.arrive"});
  use.arrive(Reduction::none, 0);
}

}  // namespace sn::emulation

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  syncBlock(Reduction::none, 0, Place::of("__syncthreads", where));
}
inline int __syncthreads_count(int value, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  return syncBlock(Reduction::count, value, Place::of("__syncthreads_count", where));
}
inline int __syncthreads_or(int value, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  return syncBlock(Reduction::any, value, Place::of("__syncthreads_or", where));
}
inline int __syncthreads_and(int value, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  return syncBlock(Reduction::all, value, Place::of("__syncthreads_and", where));
}
