// thread.h: one CUDA thread: where it is in its block, what it waits for, and what it has started and not yet awaited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <utility>
#include <vector>

#include "emulation/fiber.h"
#include "emulation/types.h"

// A matrix of elements of 2 bytes, and the box of it that one copy moves. Global, as CUDA's own.
struct alignas(64) CUtensorMap {
  unsigned char *data;
  uint64_t rows, columns;
  uint64_t strideBytes;
  uint32_t boxRows, boxColumns;
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

struct TensorStore {
  TensorMap map;
  int column, row;
  const unsigned char *shared;
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
    std::vector<Operation> taken(operations_.begin(), operations_.begin() + count);
    operations_.erase(operations_.begin(), operations_.begin() + count);
    ends_.erase(ends_.begin(), ends_.begin() + groups);
    for (size_t &end : ends_) end -= static_cast<size_t>(count);
    return taken;
  }

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
  State state = State::ready;
  Place place;
  // What it waits for, if that is an mbarrier.
  const Mbarrier *awaited = nullptr;
  // Whether it has called griddepcontrol.wait.
  bool waitedForPrior = false;
  Groups<AsyncCopy> copies;
  Groups<TensorStore> stores;
  Groups<WarpgroupProduct> products;
  // Those that it waits for now. Not on its stack, which a failure would leave as it is.
  std::vector<WarpgroupProduct> completing;
};

// The CUDA thread that runs on this thread of the operating system.
inline thread_local Thread *runningThread = nullptr;
[[gnu::no_sanitize("thread")]] inline Thread &here() { return *runningThread; }

}  // namespace sn::emulation
