// grid.h: runs all blocks of a grid, one cluster after another or, when asked, several at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
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

  // Never run to its end.
  ~GridRun() {
    if (early_ != nullptr) earlyStacks_->abandon();
  }

  // Lets one cluster run up to where it waits for the grid before this one, which has not ended.
  void begin() {
    releaseTo(&grid_.begin);
    Bookkeeping hidden;
    earlyStacks_ = Stacks::take();
    early_ = makeCluster(next_++, *earlyStacks_);
    early_->priorRuns = true;
    early_->run();
  }

  // The failure's message; empty if all went well.
  std::string run() {
    releaseTo(&grid_.begin);
    releaseTo(&grid_.priorEnd);
    if (early_ != nullptr) {
      Bookkeeping hidden;
      early_->endPrior();
      finish(*early_, std::move(earlyStacks_));
      early_ = nullptr;
    }
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
    if (failure_.empty() && grid_.overlapping && !grid_.waitedForPrior) {
      failure_ = "no thread has called waitForPriorGrid, though the launch lets it overlap";
    }
    return failure_.empty() ? failure_ : functionName(grid_.kernel) + ", " + failure_;
  }

 private:
  // The one that runs first has its shared memory watched: in all of them that would take too long.
  std::unique_ptr<Cluster> makeCluster(uint64_t turn, Stacks &stacks) const {
    uint64_t number = order_.empty() ? turn : order_[turn];
    return std::make_unique<Cluster>(grid_, number, seed_ ^ (number << 16), stacks, turn == 0);
  }

  void work() {
    Bookkeeping hidden;
    while (!failed_) {
      uint64_t turn = next_++;
      if (turn >= grid_.clusterCount()) break;
      auto stacks = Stacks::take();
      auto cluster = makeCluster(turn, *stacks);
      finish(*cluster, std::move(stacks));
    }
  }

  void finish(Cluster &cluster, std::unique_ptr<Stacks> stacks) {
    bool right = cluster.run();
    std::lock_guard lock(mutex_);
    if (right) {
      std::move(cluster.landing.begin(), cluster.landing.end(), std::back_inserter(landing_));
      Stacks::giveBack(std::move(stacks));
    } else {
      stacks->abandon();
      failed_ = true;
      if (failure_.empty()) failure_ = cluster.failure;
    }
  }

  const Grid &grid_;
  uint64_t seed_;
  std::vector<uint64_t> order_;
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string failure_;
  std::vector<BulkStore> landing_;
  std::unique_ptr<Stacks> earlyStacks_;
  std::unique_ptr<Cluster> early_;
};

inline void waitForPriorGrid() {
  requireHopper("griddepcontrol");
  Thread &self = here();
  Cluster &cluster = self.block->cluster;
  {
    Bookkeeping hidden;
    cluster.grid.waitedForPrior = true;
    if (cluster.priorRuns) {
      cluster.awaitingPrior.push_back(&self);
      cluster.suspend({"griddepcontrol.wait"});
    }
  }
  acquireFrom(&cluster.grid.priorEnd);
}

}  // namespace sn::emulation
