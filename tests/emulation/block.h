// block.h: one block of a grid: its threads, its shared memory and what they meet at. See cluster.h for how they run.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <vector>

#include "emulation/random.h"
#include "emulation/shared_memory.h"
#include "emulation/thread.h"

namespace sn::emulation {

constexpr unsigned kWarp = 32;

struct Grid {
  const void *kernel = nullptr;
  dim3 blocks;
  dim3 threads;
  size_t sharedBytes = 0;
  // How many blocks, beside one another in x, are a cluster.
  unsigned clusterBlocks = 1;
  // Launched by launchOverlapping, and whether a thread has called waitForPriorGrid.
  bool overlapping = false;
  mutable std::atomic<bool> waitedForPrior{false};
  std::function<void()> body;
  // Where the host's memory becomes the kernel's, and the other way.
  mutable char begin = 0;
  mutable char priorEnd = 0;
  mutable char end = 0;

  uint64_t blockCount() const { return uint64_t{blocks.x} * blocks.y * blocks.z; }
  uint64_t clusterCount() const { return blockCount() / clusterBlocks; }
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
  static constexpr unsigned kMeetings = kWarp / 2;
  Meeting meetings[kMeetings];
  // A bit for each where lanes wait.
  unsigned open = 0;
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
  // Whether a fence has made it known beyond the block's threads.
  bool fenced = false;
  std::vector<Thread *> waiting;
  alignas(64) char edges[2][64] = {};
};

class Cluster;

struct Block {
  Block(const Grid &grid_, uint64_t number, unsigned rank_, Cluster &cluster_, bool watched, bool random_,
        Random &choices_)
      : grid(grid_),
        cluster(cluster_),
        rank(rank_),
        index{static_cast<unsigned>(number % grid_.blocks.x),
              static_cast<unsigned>(number / grid_.blocks.x % grid_.blocks.y),
              static_cast<unsigned>(number / grid_.blocks.x / grid_.blocks.y)},
        count(grid_.threadCount()),
        shared(grid_.sharedBytes, watched),
        random(random_),
        choices(choices_),
        threads(count),
        warps((count + kWarp - 1) / kWarp),
        warpgroups((count + kWarpgroup - 1) / kWarpgroup) {
    for (unsigned i = 0; i < count; ++i) {
      Thread &thread = threads[i];
      thread.block = this;
      thread.rank = i;
      thread.lane = i % kWarp;
      thread.warp = i / kWarp;
      thread.index = {i % grid.threads.x, i / grid.threads.x % grid.threads.y, i / (grid.threads.x * grid.threads.y)};
    }
  }
  Block(const Block &) = delete;
  Block &operator=(const Block &) = delete;

  bool hasExited() const { return exited == count; }

  // The cluster's; see there.
  void wake(Thread &thread);
  void suspend(const Place &place);
  void yield(const Place &place);

  const Grid &grid;
  Cluster &cluster;
  // In its cluster.
  const unsigned rank;
  const uint3 index;
  const unsigned count;
  SharedMemory shared;
  const bool random;
  Random &choices;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<WarpgroupMeeting> warpgroups;
  Barrier barriers[kBarriers];
  std::map<const void *, Mbarrier> mbarriers;
  unsigned exited = 0;
};

}  // namespace sn::emulation
