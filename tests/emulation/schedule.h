// schedule.h: which of a cluster's threads runs next.
#pragma once

#include <deque>
#include <numeric>
#include <vector>

#include "emulation/random.h"
#include "emulation/thread.h"

namespace sn::emulation {

// In order: first come, first served. At random: the warps have priorities, which seldom change, so that one warp runs
// far ahead of another, as deep as the barriers let it. With every choice at random all warps would stay close
// together, and a buffer that is overwritten one step too early would have been read by then.
class Schedule {
 public:
  Schedule(unsigned warps, bool random, Random &choices) : random_(random), choices_(choices) {
    if (!random_) return;
    ofWarp_.resize(warps);
    priority_.resize(warps);
    std::iota(priority_.begin(), priority_.end(), 0u);
    choices_.shuffle(priority_);
  }

  bool empty() const { return count_ == 0; }

  void add(Thread &thread) {
    thread.state = Thread::State::ready;
    ++count_;
    if (random_) {
      ofWarp_[thread.queue].push_back(&thread);
    } else {
      inOrder_.push_back(&thread);
    }
  }

  Thread &next() {
    --count_;
    if (random_) return nextAtRandom();
    Thread *thread = inOrder_.front();
    inOrder_.pop_front();
    return *thread;
  }

 private:
  // One in so many steps two warps change places.
  static constexpr size_t kStepsPerSwap = 512;

  Thread &nextAtRandom() {
    size_t warps = priority_.size();
    if (choices_.onceIn(kStepsPerSwap)) std::swap(priority_[choices_.below(warps)], priority_[choices_.below(warps)]);
    size_t first = 0;
    while (ofWarp_[priority_[first]].empty()) ++first;
    auto &threads = ofWarp_[priority_[first]];
    std::swap(threads[choices_.below(threads.size())], threads.back());
    Thread *thread = threads.back();
    threads.pop_back();
    return *thread;
  }

  bool random_;
  Random &choices_;
  size_t count_ = 0;
  std::deque<Thread *> inOrder_;
  std::vector<std::vector<Thread *>> ofWarp_;
  std::vector<unsigned> priority_;
};

}  // namespace sn::emulation
