// warpgroup.h: wgmma: products of a warpgroup. They run when they are waited for: until then the accumulators are as
// they were, and who overwrites shared memory too early spoils the result.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "emulation/matrix.h"
#include "emulation/tensor_copy.h"

namespace sn::emulation {

// All 128 threads of the warpgroup meet here; the last one calls run(slots).
template <typename Slot, typename F>
void meetWarpgroup(const char *what, Slot &slot, F &&run) {
  Bookkeeping hidden;
  requireHopper(what);
  Thread &self = here();
  Block &block = *self.block;
  if (block.count % kWarpgroup != 0) fail("%s: the block is not whole warpgroups", what);
  WarpgroupMeeting &meeting = block.warpgroups[self.rank / kWarpgroup];
  if (meeting.arrived == 0) meeting.what = what;
  if (std::strcmp(meeting.what, what) != 0) fail("the warpgroup has diverged: %s meets %s", what, meeting.what);
  meeting.slots[self.rank % kWarpgroup] = &slot;
  if (++meeting.arrived < kWarpgroup) {
    block.suspend({what});
    return;
  }
  run(reinterpret_cast<Slot **>(meeting.slots));
  meeting.arrived = 0;
  unsigned first = self.rank / kWarpgroup * kWarpgroup;
  for (unsigned rank = first; rank < first + kWarpgroup; ++rank) {
    if (rank != self.rank) block.wake(block.threads[rank]);
  }
  if (block.random) block.yield({what});
}

// A matrix in shared memory as a descriptor says (PTX ISA, "Matrix descriptor format"; "Canonical layouts", 128-byte
// swizzle): `line` counts rows of a or columns of b.
class SharedOperand {
 public:
  SharedOperand(uint64_t descriptor, bool transposed)
      : base_(static_cast<uint32_t>(descriptor & 0x3fffu) << 4),
        leading_(static_cast<uint32_t>(descriptor >> 16 & 0x3fffu) << 4),
        stride_(static_cast<uint32_t>(descriptor >> 32 & 0x3fffu) << 4),
        transposed_(transposed) {
    if (descriptor >> 62 != 1) fail("wgmma: only the 128-byte swizzle is emulated");
  }

  float at(unsigned line, unsigned k) const {
    uint32_t offset = transposed_ ? line / 64 * leading_ + line % 64 * 2 + k / 8 * stride_ + k % 8 * 128
                                  : line / 8 * stride_ + line % 8 * 128 + k * 2;
    const unsigned char *element = here().block->shared.at(swizzle(base_ + offset), sizeof(uint16_t));
    if (element == nullptr) fail("wgmma: a descriptor reaches outside of dynamic shared memory");
    uint16_t bits;
    std::memcpy(&bits, element, sizeof bits);
    return lowHalf(bits);
  }

 private:
  uint32_t base_, leading_, stride_;
  bool transposed_;
};

// In registers each warp of the group holds 16 rows, as of mma.m16n8k16, and of d eight columns after another.
inline unsigned rowOf(unsigned thread) { return thread / kWarp * 16 + groupOf(thread % kWarp); }

constexpr unsigned kRows = 64;
constexpr unsigned kDepth = 16;

inline void readLeft(WarpgroupProduct *const *threads, float (&left)[kRows][kDepth]) {
  if (!threads[0]->fromRegisters) {
    SharedOperand operand(threads[0]->a, threads[0]->transposedA);
    for (unsigned i = 0; i < kRows; ++i) {
      for (unsigned k = 0; k < kDepth; ++k) left[i][k] = operand.at(i, k);
    }
    return;
  }
  for (unsigned thread = 0; thread < kWarpgroup; ++thread) {
    for (unsigned i = 0; i < 4; ++i) {
      unsigned row = rowOf(thread) + 8 * (i % 2), column = 2 * placeOf(thread % kWarp) + 8 * (i / 2);
      left[row][column] = lowHalf(threads[thread]->registers[i]);
      left[row][column + 1] = highHalf(threads[thread]->registers[i]);
    }
  }
}

inline void runProduct(WarpgroupProduct *const *threads) {
  const WarpgroupProduct &first = *threads[0];
  auto differs = [&](const WarpgroupProduct *other) {
    return other->a != first.a || other->b != first.b || other->columns != first.columns;
  };
  if (std::any_of(threads, threads + kWarpgroup, differs)) fail("wgmma: threads of the warpgroup differ in operands");
  static thread_local float left[kRows][kDepth];
  static thread_local float right[256][kDepth];
  readLeft(threads, left);
  SharedOperand operand(first.b, first.transposedB);
  auto columns = static_cast<unsigned>(first.columns);
  for (unsigned j = 0; j < columns; ++j) {
    for (unsigned k = 0; k < kDepth; ++k) right[j][k] = operand.at(j, k);
  }
  for (unsigned thread = 0; thread < kWarpgroup; ++thread) {
    for (unsigned i = 0; i < columns / 2; ++i) {
      unsigned row = rowOf(thread) + 8 * (i / 2 % 2);
      unsigned column = i / 4 * 8 + 2 * placeOf(thread % kWarp) + i % 2;
      float sum = 0;
      for (unsigned k = 0; k < kDepth; ++k) sum += left[row][k] * right[column][k];
      float &d = threads[thread]->d[i];
      d = threads[thread]->accumulate ? d + sum : sum;
    }
  }
}

inline void fenceWarpgroup() {
  char nothing = 0;
  meetWarpgroup("wgmma.fence", nothing, [](char **) {});
}

inline void addProduct(const WarpgroupProduct &product) {
  Bookkeeping hidden;
  requireHopper("wgmma");
  here().products.add(product);
}

inline void commitProducts() {
  Bookkeeping hidden;
  here().products.commit();
}

inline void waitForProducts(size_t pendingGroups) {
  Bookkeeping hidden;
  auto &completing = here().completing;
  completing = here().products.allBut(pendingGroups);
  for (WarpgroupProduct &product : completing) meetWarpgroup("wgmma", product, runProduct);
}

}  // namespace sn::emulation
