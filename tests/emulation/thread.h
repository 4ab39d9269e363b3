// thread.h: one CUDA thread: where it is in its block, what it waits for, and what it has started and not yet awaited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <source_location>
#include <utility>
#include <vector>

#include "emulation/fiber.h"
#include "emulation/types.h"

// A tensor of up to five axes, the innermost first, and the box of it that one copy moves. Global, as CUDA's own.
struct alignas(64) CUtensorMap {
  static constexpr unsigned kAxes = 5;

  unsigned char *data;
  uint32_t axes, elementBytes;
  uint64_t size[kAxes], strideBytes[kAxes];
  uint32_t box[kAxes];
  bool swizzled;
};

namespace sn::emulation {

using TensorMap = CUtensorMap;

class Block;
struct Mbarrier;

// What a thread is doing, for messages: a CUDA function and, where known, the line that called it.
struct Place {
  const char *what = "its start";
  const char *file = nullptr;
  unsigned line = 0;

  static Place of(const char *what, const std::source_location &where) {
    return {what, where.file_name(), static_cast<unsigned>(where.line())};
  }
};

struct AsyncCopy {
  void *target;
  const void *source;
  int bytes;
  int present;  // the first bytes, that are copied; the others become zeros
};

// A box of a tensor, by its first element, and where it lies in shared memory.
struct Box {
  TensorMap map;
  int place[TensorMap::kAxes];
  unsigned char *shared;
};

// It reads shared memory at its issue or when reads are waited for. What it has read lands then, when stores are waited
// for, or, if nothing waits, when the grid ends.
struct BulkStore {
  Box box;
  bool adds;
  bool readAwaited;
  bool landed;
  std::vector<unsigned char> read;
};

// What the operands of a product are.
enum class Numbers { bf16, e4m3, e5m2 };

// Registers that products add to, and what they hold as far as products have written them: who else did while a product
// is in flight is found out.
struct Accumulators {
  float *d;
  std::vector<float> known;
  unsigned inFlight;
};

// One wgmma of a thread: its accumulators, and a from registers or, as b, from shared memory.
struct WarpgroupProduct {
  int columns;
  float *d;
  bool fromRegisters;
  uint32_t registers[4];
  uint64_t a, b;
  bool transposedA, transposedB;
  bool accumulate;
  Numbers numbersA = Numbers::bf16, numbersB = Numbers::bf16;
  Accumulators *accumulators = nullptr;
};

// Operations that complete in groups, in the order of their issue, when their thread waits for them.
template <typename Operation>
class Groups {
 public:
  void add(Operation operation) { operations_.push_back(std::move(operation)); }

  // What was added since the last commit becomes a group.
  void commit() { ends_.push_back(operations_.size()); }

  // Takes out the operations of all groups but the latest `kept`.
  std::vector<Operation> allBut(size_t kept) {
    if (ends_.size() <= kept) return {};
    auto groups = static_cast<std::ptrdiff_t>(ends_.size() - kept);
    auto count = static_cast<std::ptrdiff_t>(ends_[static_cast<size_t>(groups - 1)]);
    std::vector<Operation> taken(std::make_move_iterator(operations_.begin()),
                                 std::make_move_iterator(operations_.begin() + count));
    operations_.erase(operations_.begin(), operations_.begin() + count);
    ends_.erase(ends_.begin(), ends_.begin() + groups);
    for (size_t &end : ends_) end -= static_cast<size_t>(count);
    return taken;
  }

  // Those same operations, which stay. They are as many as are in front.
  size_t countOfAllBut(size_t kept) const { return ends_.size() <= kept ? 0 : ends_[ends_.size() - kept - 1]; }

  std::vector<Operation> &all() { return operations_; }

  bool empty() const { return operations_.empty(); }

 private:
  std::vector<Operation> operations_;
  std::vector<size_t> ends_;
};

struct Thread {
  enum class State { ready, waiting, exited };

  Context context;
  Block *block = nullptr;
  uint3 index{};
  unsigned rank = 0;
  unsigned lane = 0;
  unsigned warp = 0;
  // Which of the schedule's queues it is in: its warp's number in the cluster.
  unsigned queue = 0;
  // At the cluster's barrier: whether it has arrived and not waited yet, and in which generation.
  bool arrivedAtCluster = false;
  unsigned clusterGeneration = 0;
  State state = State::ready;
  Place place;
  // What it waits for, if that is an mbarrier.
  const Mbarrier *awaited = nullptr;
  Groups<AsyncCopy> copies;
  Groups<BulkStore> stores;
  Groups<WarpgroupProduct> products;
  std::list<Accumulators> accumulators;
  // Whether it has called fenceWarpgroup since products were last waited for.
  bool fencedRegisters = false;
  // Those that it waits for now. Not on its stack, which a failure would leave as it is.
  std::vector<WarpgroupProduct> completing;
};

// The CUDA thread that runs on this thread of the operating system.
inline thread_local Thread *runningThread = nullptr;
[[gnu::no_sanitize("thread")]] inline Thread &here() { return *runningThread; }

}  // namespace sn::emulation
