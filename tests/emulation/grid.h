// grid.h: runs all blocks of a grid, one cluster after another or, when asked, several at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <iterator>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "emulation/box.h"
#include "emulation/cluster.h"
#include "emulation/symbol.h"

namespace sn::emulation {

class GridRun {
 public:
  explicit GridRun(const Grid &grid) : grid_(grid) {
    static std::atomic<uint64_t> launches{0};
    seed_ = options().seed + (launches++ << 32);
    if (options().seed == 0) return;
    order_.resize(grid.clusterCount());
    std::iota(order_.begin(), order_.end(), uint64_t{0});
    Random(seed_).shuffle(order_);
  }

  // The failure's message; empty if all went well.
  std::string run() {
    releaseTo(&grid_.begin);
    std::vector<std::thread> others;
    auto wanted = std::min<uint64_t>(static_cast<uint64_t>(std::max(options().threads, 1)), grid_.clusterCount());
    for (uint64_t i = 1; i < wanted; ++i) others.emplace_back([this] { work(); });
    work();
    for (std::thread &other : others) other.join();
    acquireFrom(&grid_.end);
    Bookkeeping hidden;
    if (options().seed != 0) Random(seed_).shuffle(landing_);
    for (const BulkStore &store : landing_) land(store);
    landing_.clear();
    return failure_.empty() ? failure_ : functionName(grid_.kernel) + ", " + failure_;
  }

 private:
  void work() {
    Bookkeeping hidden;
    auto stacks = Stacks::take();
    while (!failed_) {
      uint64_t turn = next_++;
      if (turn >= grid_.clusterCount()) break;
      uint64_t number = order_.empty() ? turn : order_[turn];
      Cluster cluster(grid_, number, seed_ ^ (number << 16), *stacks);
      if (cluster.run()) {
        std::lock_guard lock(mutex_);
        std::move(cluster.landing.begin(), cluster.landing.end(), std::back_inserter(landing_));
        continue;
      }
      stacks->abandon();
      std::lock_guard lock(mutex_);
      failed_ = true;
      if (failure_.empty()) failure_ = cluster.failure;
      return;
    }
    Stacks::giveBack(std::move(stacks));
  }

  const Grid &grid_;
  uint64_t seed_;
  std::vector<uint64_t> order_;
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string failure_;
  std::vector<BulkStore> landing_;
};

inline std::string runGrid(const Grid &grid) { return GridRun(grid).run(); }

}  // namespace sn::emulation
