// cluster.h: the blocks that run together, of a cluster or one alone, and the loop that runs their threads until all
// have exited.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "emulation/block.h"
#include "emulation/options.h"
#include "emulation/schedule.h"

namespace sn::emulation {

class Cluster {
 public:
  // `watched`: shared memory has an image, see there.
  Cluster(const Grid &grid_, uint64_t number, uint64_t seed, Stacks &stacks, bool watched)
      : grid(grid_),
        random(options().seed != 0),
        choices(seed),
        count_(grid_.threadCount() * grid_.clusterBlocks),
        schedule_((grid_.threadCount() + kWarp - 1) / kWarp * grid_.clusterBlocks, random, choices) {
#if defined(__SANITIZE_THREAD__)
    scheduler_.tsanFiber = __tsan_get_current_fiber();
#endif
    size_t stack = 0;
    for (unsigned rank = 0; rank < grid.clusterBlocks; ++rank) {
      blocks.push_back(
          std::make_unique<Block>(grid, number * grid.clusterBlocks + rank, rank, *this, watched, random, choices));
      for (Thread &thread : blocks.back()->threads) {
        thread.queue = rank * static_cast<unsigned>(blocks.back()->warps.size()) + thread.warp;
        stacks.prepare(stack++, thread.context, &Cluster::threadMain);
        schedule_.add(thread);
      }
    }
  }
  Cluster(const Cluster &) = delete;
  Cluster &operator=(const Cluster &) = delete;

  // Until all threads have exited, or nothing goes on before the prior grid ends. Whether all went well; `failure` says
  // what did not.
  bool run() {
    while (exited_ < count_ && failure.empty()) {
      if (!background.empty() && (schedule_.empty() || (random && choices.onceIn(kStepsPerCompletion)))) {
        completeOne();
        continue;
      }
      if (schedule_.empty() && !awaitingPrior.empty()) return true;
      if (schedule_.empty()) {
        failure = describe(*blocks.front(), nullptr, deadlock());
        break;
      }
      Thread &thread = schedule_.next();
      runningThread = &thread;
      switchContext(scheduler_, thread.context);
    }
    runningThread = nullptr;
    if (failure.empty() && !background.empty()) report(*blocks.front(), kCopiesInFlight);
    forThreads([&](const Thread &thread) {
      if (thread.state != Thread::State::exited) releaseFor(thread.context, scheduler_, &grid.end);
    });
    return failure.empty();
  }

  // For one that began while the prior grid still ran.
  void endPrior() {
    priorRuns = false;
    for (Thread *thread : awaitingPrior) wake(*thread);
    awaitingPrior.clear();
  }

  void wake(Thread &thread) { schedule_.add(thread); }

  // Leaves the running thread until something wakes it.
  void suspend(const Place &place) {
    Thread &self = here();
    self.state = Thread::State::waiting;
    self.place = place;
    switchContext(self.context, scheduler_);
  }

  // Lets others run first.
  void yield(const Place &place) {
    wake(here());
    suspend(place);
  }

  // The thread is never left in order: nothing on its stack may own memory.
  [[noreturn]] void fail(const char *message) {
    if (failure.empty()) failure = describe(*here().block, &here(), message);
    for (;;) suspend({"its failure"});
  }

  // For what no thread does: the tensor unit.
  void report(const Block &block, const char *message) {
    if (failure.empty()) failure = describe(block, nullptr, message);
  }

  // The threads that have come to the barrier of all blocks. Those that have exited count.
  struct Arrivals {
    unsigned arrived = 0;
    unsigned gone = 0;
    unsigned leaving = 0;  // arrived, and exited since
    unsigned generation = 0;
    std::vector<Thread *> waiting;
    alignas(64) char edges[2][64] = {};
  };

  void openIfComplete() {
    if (arrivals.arrived + arrivals.gone < count_) return;
    arrivals.arrived = 0;
    arrivals.gone += std::exchange(arrivals.leaving, 0);
    ++arrivals.generation;
    for (Thread *thread : arrivals.waiting) wake(*thread);
    arrivals.waiting.clear();
  }

  const Grid &grid;
  const bool random;
  Random choices;
  std::vector<std::unique_ptr<Block>> blocks;
  Arrivals arrivals;
  // Whether the grid before this one in the stream still runs, and who waits for its end.
  bool priorRuns = false;
  std::vector<Thread *> awaitingPrior;
  // Copies of the tensor unit: they complete in any order, at any time.
  std::vector<std::function<void()>> background;
  // What its threads' stores have read and nothing waits for.
  std::vector<BulkStore> landing;
  std::string failure;

  static constexpr const char *kCopiesInFlight = "exits with tensor copies in flight";

 private:
  // At random, one in so many steps completes a tensor copy though threads could run.
  static constexpr size_t kStepsPerCompletion = 64;

  template <typename F>
  void forThreads(F &&f) const {
    for (const auto &block : blocks) {
      for (const Thread &thread : block->threads) f(thread);
    }
  }

  void completeOne() {
    if (random) std::swap(background[choices.below(background.size())], background.front());
    auto complete = std::move(background.front());
    background.erase(background.begin());
    complete();
  }

  SN_UNINSTRUMENTED static void threadMain() {
    Thread &self = here();
    Cluster &cluster = self.block->cluster;
    entered(cluster.scheduler_);
    runBody(cluster);
    switchContext(self.context, cluster.scheduler_, true);
    std::abort();
  }

  // The cluster lies where the host's stack had something else before, which only what follows orders.
  static const Grid &gridOf(const Cluster &cluster) {
    Bookkeeping hidden;
    return cluster.grid;
  }

  static void runBody(Cluster &cluster) {
    const Grid &whole = gridOf(cluster);
    acquireFrom(&whole.begin);
    whole.body();
    releaseTo(&whole.end);
    Bookkeeping hidden;
    cluster.exit(here());
  }

  void exit(Thread &self) {
    if (!self.copies.empty()) fail("exits with asynchronous copies in flight");
    if (!self.products.empty()) fail("exits with warpgroup products in flight");
    for (BulkStore &store : self.stores.all()) {
      if (!store.readAwaited) fail("exits with tensor stores in flight");
      landing.push_back(std::move(store));
    }
    self.state = Thread::State::exited;
    ++exited_;
    ++self.block->exited;
    bool counted = self.arrivedAtCluster && self.clusterGeneration == arrivals.generation;
    ++(counted ? arrivals.leaving : arrivals.gone);
    openIfComplete();
  }

  static std::string describe(const Block &block, const Thread *thread, const std::string &message) {
    auto triple = [](const uint3 &at) {
      return std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z);
    };
    std::string text = "block ";
    text += triple(block.index);
    if (thread != nullptr) text.append(" thread ").append(triple(thread->index));
    return text.append(": ").append(message);
  }

  // Who waits where: threads at the same place are counted together.
  std::string deadlock() const {
    struct Crowd {
      const Thread *first;
      unsigned size;
    };
    std::vector<Crowd> crowds;
    forThreads([&](const Thread &thread) {
      if (thread.state != Thread::State::waiting) return;
      bool found = false;
      for (Crowd &crowd : crowds) {
        const Place &place = crowd.first->place;
        if (place.line != thread.place.line || std::string(place.what) != thread.place.what) continue;
        ++crowd.size;
        found = true;
        break;
      }
      if (!found) crowds.push_back({&thread, 1});
    });
    std::string text = "deadlock:";
    for (const Crowd &crowd : crowds) {
      text.append(" ").append(std::to_string(crowd.size));
      text.append(" threads (the first is ").append(std::to_string(crowd.first->rank));
      text.append(") wait at ").append(describePlace(*crowd.first)).append(";");
    }
    text.append(" ").append(std::to_string(exited_)).append(" of ").append(std::to_string(count_));
    return text.append(" have exited");
  }

  static std::string describePlace(const Thread &thread) {
    const Place &place = thread.place;
    std::string text = place.what;
    if (place.file != nullptr) {
      std::string file = place.file;
      text.append(" (").append(file, file.rfind('/') + 1).append(":").append(std::to_string(place.line)).append(")");
    }
    if (thread.awaited != nullptr) {
      text.append(" whose phase lacks ").append(std::to_string(thread.awaited->pending)).append(" arrivals and ");
      text.append(std::to_string(thread.awaited->bytes)).append(" bytes");
    }
    return text;
  }

  const unsigned count_;
  unsigned exited_ = 0;
  Schedule schedule_;
  Context scheduler_;
};

inline void Block::wake(Thread &thread) { cluster.wake(thread); }
inline void Block::suspend(const Place &place) { cluster.suspend(place); }
inline void Block::yield(const Place &place) { cluster.yield(place); }

// The running thread's kernel has done what it must not: the launch fails with this message.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char *format, ...) {
  Bookkeeping hidden;
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  here().block->cluster.fail(message);
}

// For what only sm_90a has: the host must not launch such a kernel on another device.
inline void requireHopper(const char *what) {
  if (options().major != 9) fail("%s needs compute capability 9, the device has %d", what, options().major);
}

inline bool aligned(const void *address, size_t bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

inline void requireAligned(const char *what, const void *address, size_t bytes) {
  if (!aligned(address, bytes)) fail("%s: the address %p is not a multiple of %zu", what, address, bytes);
}

inline void requireShared(const char *what, const void *address, size_t bytes) {
  Bookkeeping hidden;
  if (!here().block->shared.contains(address, bytes)) {
    fail("%s: %zu bytes at %p are not in shared memory", what, bytes, address);
  }
}

}  // namespace sn::emulation
