// block.h: one block of a grid: its threads, its shared memory, and the loop that runs them until all have exited.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulation/options.h"
#include "emulation/schedule.h"
#include "emulation/shared_memory.h"
#include "emulation/thread.h"

namespace sn::emulation {

constexpr unsigned kWarp = 32;

struct Grid {
  const void *kernel = nullptr;
  dim3 blocks;
  dim3 threads;
  size_t sharedBytes = 0;
  // Whether it may start before the kernel before it has ended.
  bool overlapping = false;
  std::function<void()> body;
  // Where the host's memory becomes the kernel's, and the other way.
  mutable char begin = 0;
  mutable char end = 0;

  uint64_t blockCount() const { return uint64_t{blocks.x} * blocks.y * blocks.z; }
  unsigned threadCount() const { return threads.x * threads.y * threads.z; }
};

// The lanes of one warp that have come to a collective operation and wait for the others of their mask.
struct Meeting {
  unsigned mask = 0;
  unsigned arrived = 0;
  unsigned generation = 0;
  const char *what = nullptr;
  void *slots[kWarp] = {};
  // One for each of two generations: who wakes late must not acquire what the next meeting released.
  alignas(64) char edges[2][64] = {};
};

struct Warp {
  // As many as diverged groups of lanes can meet at once.
  Meeting meetings[kWarp / 2];
};

// __syncthreads is number 0 of the sixteen.
struct Barrier {
  unsigned expected = 0;
  unsigned arrived = 0;
  unsigned generation = 0;
  int reduction = 0;
  int result = 0;
  std::vector<Thread *> waiting;
  alignas(64) char edges[2][64] = {};
};

constexpr unsigned kBarriers = 16;

// The threads of one warpgroup that have come to an instruction of all 128.
constexpr unsigned kWarpgroup = 128;
struct WarpgroupMeeting {
  unsigned arrived = 0;
  const char *what = nullptr;
  void *slots[kWarpgroup] = {};
};

// What an mbarrier object in shared memory stands for. Its phase ends when all arrivals and all bytes have come.
struct Mbarrier {
  unsigned expected = 0;
  unsigned pending = 0;
  int64_t bytes = 0;
  unsigned phase = 0;
  std::vector<Thread *> waiting;
  alignas(64) char edges[2][64] = {};
};

class Block {
 public:
  Block(const Grid &grid_, uint64_t number, uint64_t seed, Stacks &stacks)
      : grid(grid_),
        index{static_cast<unsigned>(number % grid_.blocks.x),
              static_cast<unsigned>(number / grid_.blocks.x % grid_.blocks.y),
              static_cast<unsigned>(number / grid_.blocks.x / grid_.blocks.y)},
        count(grid_.threadCount()),
        shared(grid_.sharedBytes),
        random(options().seed != 0),
        choices(seed),
        threads(count),
        warps((count + kWarp - 1) / kWarp),
        warpgroups((count + kWarpgroup - 1) / kWarpgroup),
        schedule_(static_cast<unsigned>(warps.size()), random, choices) {
#if defined(__SANITIZE_THREAD__)
    scheduler_.tsanFiber = __tsan_get_current_fiber();
#endif
    for (unsigned rank = 0; rank < count; ++rank) {
      Thread &thread = threads[rank];
      thread.block = this;
      thread.rank = rank;
      thread.lane = rank % kWarp;
      thread.warp = rank / kWarp;
      thread.index = {rank % grid.threads.x, rank / grid.threads.x % grid.threads.y,
                      rank / (grid.threads.x * grid.threads.y)};
      stacks.prepare(rank, thread.context, &Block::threadMain);
      schedule_.add(thread);
    }
  }
  Block(const Block &) = delete;
  Block &operator=(const Block &) = delete;

  // Whether all went well; `failure` says what did not.
  bool run() {
    while (exited < count && failure.empty()) {
      if (!background.empty() && (schedule_.empty() || (random && choices.onceIn(kStepsPerCompletion)))) {
        completeOne();
        continue;
      }
      if (schedule_.empty()) {
        failure = describe(nullptr, deadlock());
        break;
      }
      Thread &thread = schedule_.next();
      runningThread = &thread;
      switchContext(scheduler_, thread.context);
    }
    runningThread = nullptr;
    if (failure.empty() && !background.empty()) failure = describe(nullptr, "exits with tensor copies in flight");
    for (const Thread &thread : threads) {
      if (thread.state != Thread::State::exited) releaseFor(thread.context, scheduler_, &grid.end);
    }
    return failure.empty();
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
    if (failure.empty()) failure = describe(&here(), message);
    for (;;) suspend({"its failure"});
  }

  const Grid &grid;
  const uint3 index;
  const unsigned count;
  SharedMemory shared;
  const bool random;
  Random choices;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<WarpgroupMeeting> warpgroups;
  Barrier barriers[kBarriers];
  std::map<const void *, Mbarrier> mbarriers;
  // Copies of the tensor unit: they complete in any order, at any time.
  std::vector<std::function<void()>> background;
  unsigned exited = 0;
  std::string failure;

 private:
  // At random, one in so many steps completes a tensor copy though threads could run.
  static constexpr size_t kStepsPerCompletion = 64;

  void completeOne() {
    if (random) std::swap(background[choices.below(background.size())], background.front());
    auto complete = std::move(background.front());
    background.erase(background.begin());
    complete();
  }

  SN_UNINSTRUMENTED static void threadMain() {
    Thread &self = here();
    entered(self.block->scheduler_);
    runBody(*self.block);
    switchContext(self.context, self.block->scheduler_, true);
    std::abort();
  }

  // The block lies where the host's stack had something else before, which only what follows orders.
  static const Grid &gridOf(const Block &block) {
    Bookkeeping hidden;
    return block.grid;
  }

  static void runBody(Block &block) {
    const Grid &whole = gridOf(block);
    acquireFrom(&whole.begin);
    whole.body();
    releaseTo(&whole.end);
    Bookkeeping hidden;
    block.exit(here());
  }

  void exit(Thread &self) {
    if (!self.copies.empty()) fail("exits with asynchronous copies in flight");
    if (!self.stores.empty()) fail("exits with tensor stores in flight");
    if (!self.products.empty()) fail("exits with warpgroup products in flight");
    if (grid.overlapping && !self.waitedForPrior) fail("exits without having waited for the kernel before");
    self.state = Thread::State::exited;
    ++exited;
  }

  std::string describe(const Thread *thread, const std::string &message) const {
    auto triple = [](const uint3 &at) {
      return std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z);
    };
    std::string text = "block ";
    text += triple(index);
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
    for (const Thread &thread : threads) {
      if (thread.state != Thread::State::waiting) continue;
      bool found = false;
      for (Crowd &crowd : crowds) {
        const Place &place = crowd.first->place;
        if (place.line != thread.place.line || std::string(place.what) != thread.place.what) continue;
        ++crowd.size;
        found = true;
        break;
      }
      if (!found) crowds.push_back({&thread, 1});
    }
    std::string text = "deadlock:";
    for (const Crowd &crowd : crowds) {
      text.append(" ").append(std::to_string(crowd.size));
      text.append(" threads (the first is ").append(std::to_string(crowd.first->rank));
      text.append(") wait at ").append(describePlace(*crowd.first)).append(";");
    }
    text.append(" ").append(std::to_string(exited)).append(" of ").append(std::to_string(count));
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

  Schedule schedule_;
  Context scheduler_;
};

// The running thread's kernel has done what it must not: the launch fails with this message.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char *format, ...) {
  Bookkeeping hidden;
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  here().block->fail(message);
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
