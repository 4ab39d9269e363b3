// warp.h: what the lanes of a warp do together: __syncwarp, shuffles, votes, reductions.
#pragma once

#include <bit>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "emulation/cluster.h"

namespace sn::emulation {

constexpr unsigned kAllLanes = 0xffffffffu;

// Lanes that meet exchange data through their slots; only __syncwarp also orders their accesses to memory.
enum class Ordering { none, memory };

// The lanes of `mask` meet here. The last one calls combine(slots, lanes), which sees every lane's slot.
template <Ordering ordering = Ordering::none, typename Slot, typename Combine>
void meet(unsigned mask, const Place &place, Slot &slot, Combine &&combine) {
  Thread &self = here();
  Block &block = *self.block;
  Warp &warp = block.warps[self.warp];
  Meeting *meeting = nullptr;
  char *edge = nullptr;
  {
    Bookkeeping hidden;
    if (((mask >> self.lane) & 1u) == 0) fail("%s: lane %u is not in its own mask %08x", place.what, self.lane, mask);
    for (unsigned left = warp.open; left != 0; left &= left - 1) {
      Meeting &candidate = warp.meetings[std::countr_zero(left)];
      if (candidate.mask == mask) meeting = &candidate;
    }
    if (meeting == nullptr) {
      unsigned number = static_cast<unsigned>(std::countr_one(warp.open));
      if (number >= Warp::kMeetings) fail("%s: more diverged groups of lanes than can be", place.what);
      warp.open |= 1u << number;
      meeting = &warp.meetings[number];
      meeting->mask = mask;
      meeting->what = place.what;
    } else if (meeting->what != place.what && std::strcmp(meeting->what, place.what) != 0) {
      fail("the warp has diverged: %s meets %s", place.what, meeting->what);
    }
    edge = meeting->edges[meeting->generation % 2];
  }
  if (ordering == Ordering::memory) releaseTo(edge);
  {
    Bookkeeping hidden;
    meeting->slots[self.lane] = &slot;
    meeting->arrived |= 1u << self.lane;
    unsigned present = block.count - self.warp * kWarp;
    unsigned wanted = present < kWarp ? mask & ((1u << present) - 1) : mask;
    if (meeting->arrived == wanted) {
      combine(meeting->slots, wanted);
      meeting->arrived = 0;
      warp.open &= ~(1u << (meeting - warp.meetings));
      ++meeting->generation;
      for (unsigned lane = 0; lane < kWarp; ++lane) {
        if (((wanted >> lane) & 1u) != 0 && lane != self.lane) block.wake(block.threads[self.warp * kWarp + lane]);
      }
      if (block.random) block.yield(place);
    } else {
      block.suspend(place);
    }
  }
  if (ordering == Ordering::memory) acquireFrom(edge);
}

// For instructions that need the whole warp: slots of lanes 0 to 31 are all there.
template <typename Slot, typename Combine>
void meetWholeWarp(const char *what, Slot &slot, Combine &&combine) {
  if (here().block->count % kWarp != 0) fail("%s: the block is not whole warps", what);
  meet(kAllLanes, {what}, slot, [&](void **slots, unsigned) { combine(reinterpret_cast<Slot **>(slots)); });
}

// Calls f(slot, lane) for each lane of `lanes`.
template <typename Slot, typename F>
void forLanes(void **slots, unsigned lanes, F &&f) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (((lanes >> lane) & 1u) != 0) f(*static_cast<Slot *>(slots[lane]), lane);
  }
}

template <typename T>
T shuffle(unsigned mask, T value, int source, const Place &place) {
  static_assert(std::is_trivially_copyable_v<T>);
  struct Slot {
    T given, taken;
    int source;
  } slot{value, value, source};
  meet(mask, place, slot, [](void **slots, unsigned lanes) {
    forLanes<Slot>(slots, lanes, [&](Slot &own, unsigned) {
      bool there = ((lanes >> own.source) & 1u) != 0;
      // What a lane that does not take part would give is undefined.
      if (there) own.taken = static_cast<Slot *>(slots[own.source])->given;
      if (!there) std::memset(static_cast<void *>(&own.taken), kPoison, sizeof(T));
    });
  });
  return slot.taken;
}

inline int checkedWidth(int width, const char *what) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0)
    fail("%s: width %d is no power of two up to 32", what, width);
  return width;
}

inline unsigned ballot(unsigned mask, bool vote, const Place &place) {
  struct Slot {
    bool vote;
    unsigned all;
  } slot{vote, 0};
  meet(mask, place, slot, [](void **slots, unsigned lanes) {
    unsigned all = 0;
    forLanes<Slot>(slots, lanes, [&](Slot &own, unsigned lane) { all |= own.vote ? 1u << lane : 0u; });
    forLanes<Slot>(slots, lanes, [&](Slot &own, unsigned) { own.all = all; });
  });
  return slot.all;
}

template <typename T, typename Operator>
T reduce(unsigned mask, T value, Operator &&combine, const Place &place) {
  struct Slot {
    T value, result;
  } slot{value, value};
  meet(mask, place, slot, [&](void **slots, unsigned lanes) {
    T all = static_cast<Slot *>(slots[std::countr_zero(lanes)])->value;
    unsigned others = lanes & (lanes - 1);
    forLanes<Slot>(slots, others, [&](Slot &own, unsigned) { all = combine(all, own.value); });
    forLanes<Slot>(slots, lanes, [&](Slot &own, unsigned) { own.result = all; });
  });
  return slot.result;
}

}  // namespace sn::emulation

inline void __syncwarp(unsigned mask = 0xffffffffu, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  char nothing = 0;
  meet<Ordering::memory>(mask, Place::of("__syncwarp", where), nothing, [](void **, unsigned) {});
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  int self = static_cast<int>(here().lane);
  int within = checkedWidth(width, "__shfl_sync") - 1;
  return shuffle(mask, value, (self & ~within) | (lane & within), Place::of("__shfl_sync", where));
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  int self = static_cast<int>(here().lane);
  int source = self ^ bits;
  bool reachable = source < 32 && source / checkedWidth(width, "__shfl_xor_sync") <= self / width;
  return shuffle(mask, value, reachable ? source : self, Place::of("__shfl_xor_sync", where));
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32,
                   std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  int self = static_cast<int>(here().lane), away = static_cast<int>(distance);
  bool reachable = self % checkedWidth(width, "__shfl_down_sync") + away < width;
  return shuffle(mask, value, reachable ? self + away : self, Place::of("__shfl_down_sync", where));
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32,
                 std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  int self = static_cast<int>(here().lane), away = static_cast<int>(distance);
  bool reachable = self % checkedWidth(width, "__shfl_up_sync") >= away;
  return shuffle(mask, value, reachable ? self - away : self, Place::of("__shfl_up_sync", where));
}

inline unsigned __ballot_sync(unsigned mask, int vote, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  return ballot(mask, vote != 0, Place::of("__ballot_sync", where));
}
inline int __any_sync(unsigned mask, int vote, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  return ballot(mask, vote != 0, Place::of("__any_sync", where)) != 0;
}
inline int __all_sync(unsigned mask, int vote, std::source_location where = std::source_location::current()) {
  using namespace sn::emulation;
  return ballot(mask, vote == 0, Place::of("__all_sync", where)) == 0;
}

#define SN_REDUCE(name, type, expression)                                                                     \
  inline type name(unsigned mask, type value, std::source_location where = std::source_location::current()) { \
    using namespace sn::emulation;                                                                            \
    return reduce(                                                                                            \
        mask, value, [](type a, type b) { return expression; }, Place::of(#name, where));                     \
  }
SN_REDUCE(__reduce_add_sync, int, a + b)
SN_REDUCE(__reduce_add_sync, unsigned, a + b)
SN_REDUCE(__reduce_min_sync, int, b < a ? b : a)
SN_REDUCE(__reduce_min_sync, unsigned, b < a ? b : a)
SN_REDUCE(__reduce_max_sync, int, a < b ? b : a)
SN_REDUCE(__reduce_max_sync, unsigned, a < b ? b : a)
SN_REDUCE(__reduce_and_sync, unsigned, a &b)
SN_REDUCE(__reduce_or_sync, unsigned, a | b)
SN_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef SN_REDUCE
