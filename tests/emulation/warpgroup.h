// warpgroup.h: wgmma: products of a warpgroup. They run when they are waited for: until then the accumulators are as
// they were, and who overwrites shared memory too early spoils the result.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
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
  if (meeting.what != what && std::strcmp(meeting.what, what) != 0)
    fail("the warpgroup has diverged: %s meets %s", what, meeting.what);
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

// Numbers of 8 bits (PTX ISA, "Alternate floating-point data formats"): a sign, an exponent, a mantissa. e4m3 has no
// infinity, and one NaN.
inline float decodeByte(unsigned byte, unsigned mantissaBits, int bias, bool infinities) {
  auto mantissa = static_cast<int>(byte & ((1u << mantissaBits) - 1)), one = 1 << mantissaBits;
  auto exponent = static_cast<int>(byte & 0x7fu) >> mantissaBits;
  auto bits = static_cast<int>(mantissaBits);
  bool highest = exponent == 0x7f >> mantissaBits;
  float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - bias - bits)
                              : std::ldexp(static_cast<float>(one + mantissa), exponent - bias - bits);
  if (highest && infinities && mantissa == 0) value = std::numeric_limits<float>::infinity();
  if (highest && (infinities ? mantissa != 0 : mantissa == one - 1)) value = std::numeric_limits<float>::quiet_NaN();
  return (byte & 0x80u) != 0 ? -value : value;
}

inline const float *byteValues(Numbers numbers) {
  static const auto tables = [] {
    std::array<std::array<float, 256>, 2> all;
    for (unsigned byte = 0; byte < 256; ++byte) {
      all[0][byte] = decodeByte(byte, 3, 7, false);
      all[1][byte] = decodeByte(byte, 2, 15, true);
    }
    return all;
  }();
  return tables[numbers == Numbers::e4m3 ? 0 : 1].data();
}

// The numbers of 16 bytes; how many they are.
inline unsigned decodePiece(Numbers numbers, const unsigned char *piece, float *values) {
  if (numbers == Numbers::bf16) {
    uint16_t bits[kPieceBytes / sizeof(uint16_t)];
    std::memcpy(bits, piece, sizeof bits);
    for (unsigned i = 0; i < 8; ++i) values[i] = lowHalf(bits[i]);
    return 8;
  }
  const float *table = byteValues(numbers);
  for (unsigned i = 0; i < kPieceBytes; ++i) values[i] = table[piece[i]];
  return kPieceBytes;
}

// A matrix in shared memory as a descriptor says (PTX ISA, "Matrix descriptor format"; "Canonical layouts", 128-byte
// swizzle): `line` counts rows of a or columns of b.
class SharedOperand {
 public:
  SharedOperand(uint64_t descriptor, bool transposed, Numbers numbers)
      : base_(static_cast<uint32_t>(descriptor & 0x3fffu) << 4),
        leading_(static_cast<uint32_t>(descriptor >> 16 & 0x3fffu) << 4),
        stride_(static_cast<uint32_t>(descriptor >> 32 & 0x3fffu) << 4),
        transposed_(transposed),
        numbers_(numbers) {
    if (descriptor >> 62 != 1) fail("wgmma: only the 128-byte swizzle is emulated");
    if (base_ % kSwizzlePeriod >= kSwizzleBytes) fail("wgmma: an operand begins within the swizzle's 1024 bytes");
  }

  // Calls f(line, k, number) for all of them.
  template <typename F>
  void forNumbers(unsigned lines, unsigned depth, F &&f) const {
    float values[kPieceBytes];
    if (transposed_) {
      for (unsigned k = 0; k < depth; ++k) {
        for (unsigned line = 0; line < lines; line += 8) {
          decodePiece(numbers_, piece(line / 64 * leading_ + line % 64 * 2 + k / 8 * stride_ + k % 8 * 128), values);
          for (unsigned i = 0; i < 8; ++i) f(line + i, k, values[i]);
        }
      }
      return;
    }
    for (unsigned line = 0; line < lines; ++line) {
      uint32_t start = line / 8 * stride_ + line % 8 * 128;
      for (unsigned k = 0; k < depth; start += kPieceBytes) {
        unsigned count = decodePiece(numbers_, piece(start), values);
        for (unsigned i = 0; i < count; ++i) f(line, k++, values[i]);
      }
    }
  }

 private:
  const unsigned char *piece(uint32_t offset) const {
    const SharedMemory &memory = here().block->shared;
    const unsigned char *bytes = memory.at(swizzle(base_ + offset), kPieceBytes);
    if (bytes == nullptr) fail("wgmma: a descriptor reaches outside of dynamic shared memory");
    if (!memory.isShown(bytes, kPieceBytes)) failUnshown("wgmma");
    return bytes;
  }

  uint32_t base_, leading_, stride_;
  bool transposed_;
  Numbers numbers_;
};

// In registers each warp of the group holds 16 rows, as of mma.m16n8k16, and of d eight columns after another.
inline unsigned rowOf(unsigned thread) { return thread / kWarp * 16 + groupOf(thread % kWarp); }

constexpr unsigned kRows = 64;
constexpr unsigned kColumns = 256;
constexpr unsigned kDepth = 32;

inline void readLeft(WarpgroupProduct *const *threads, unsigned depth, float (&left)[kRows][kDepth]) {
  const WarpgroupProduct &first = *threads[0];
  if (!first.fromRegisters) {
    SharedOperand operand(first.a, first.transposedA, first.numbersA);
    operand.forNumbers(kRows, depth, [&](unsigned row, unsigned k, float number) { left[row][k] = number; });
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
    return other->a != first.a || other->b != first.b || other->columns != first.columns ||
           other->fromRegisters != first.fromRegisters || other->accumulate != first.accumulate;
  };
  if (std::any_of(threads, threads + kWarpgroup, differs)) fail("wgmma: threads of the warpgroup differ in operands");
  static thread_local float left[kRows][kDepth];
  static thread_local float right[kDepth][kColumns];
  auto columns = static_cast<unsigned>(first.columns);
  unsigned depth = first.numbersB == Numbers::bf16 ? 16 : 32;
  readLeft(threads, depth, left);
  SharedOperand operand(first.b, first.transposedB, first.numbersB);
  operand.forNumbers(columns, depth, [&](unsigned column, unsigned k, float number) { right[k][column] = number; });
  for (unsigned row = 0; row < kRows; ++row) {
    float sums[kColumns] = {};
    for (unsigned k = 0; k < depth; ++k) {
      for (unsigned j = 0; j < columns; ++j) sums[j] += left[row][k] * right[k][j];
    }
    unsigned half = row % 16 / 8;
    for (unsigned j = 0; j < columns; ++j) {
      const WarpgroupProduct &thread = *threads[row / 16 * kWarp + row % 8 * 4 + j % 8 / 2];
      float &d = thread.d[j / 8 * 4 + 2 * half + j % 2];
      d = first.accumulate ? d + sums[j] : sums[j];
    }
  }
  for (unsigned thread = 0; thread < kWarpgroup; ++thread) {
    const WarpgroupProduct &product = *threads[thread];
    product.accumulators->known.assign(product.d, product.d + columns / 2);
  }
}

inline void fenceWarpgroup() {
  char nothing = 0;
  meetWarpgroup("wgmma.fence", nothing, [](char **) {});
  Bookkeeping hidden;
  here().fencedRegisters = true;
}

inline bool touched(const Accumulators &accumulators) {
  const std::vector<float> &known = accumulators.known;
  return std::memcmp(known.data(), accumulators.d, known.size() * sizeof(float)) != 0;
}

inline Accumulators &accumulatorsOf(Thread &thread, const WarpgroupProduct &product) {
  auto count = static_cast<size_t>(product.columns / 2);
  auto found = std::find_if(thread.accumulators.begin(), thread.accumulators.end(),
                            [&](const Accumulators &some) { return some.d == product.d; });
  bool isNew = found == thread.accumulators.end();
  if (isNew) found = thread.accumulators.insert(found, {product.d, {}, 0});
  Accumulators &accumulators = *found;
  isNew = isNew || accumulators.known.size() != count;
  if (accumulators.inFlight > 0) {
    if (isNew || touched(accumulators)) fail("wgmma: accumulators were written to while a product was in flight");
  } else if (isNew || touched(accumulators)) {
    if (!thread.fencedRegisters) fail("wgmma: accumulators were written to and no fenceWarpgroup came after");
    accumulators.known.assign(product.d, product.d + count);
  }
  return accumulators;
}

inline void addProduct(WarpgroupProduct product) {
  Bookkeeping hidden;
  requireHopper("wgmma");
  Thread &self = here();
  if (product.fromRegisters && !self.fencedRegisters) {
    fail("wgmma: a in registers, and no fenceWarpgroup since products were last waited for");
  }
  product.accumulators = &accumulatorsOf(self, product);
  ++product.accumulators->inFlight;
  self.products.add(product);
}

inline void commitProducts() {
  Bookkeeping hidden;
  here().products.commit();
}

inline void waitForProducts(size_t pendingGroups) {
  Bookkeeping hidden;
  Thread &self = here();
  self.completing = self.products.allBut(pendingGroups);
  for (const WarpgroupProduct &product : self.completing) {
    if (touched(*product.accumulators)) fail("wgmma: accumulators were written to while a product was in flight");
  }
  if (!self.completing.empty()) self.fencedRegisters = false;
  for (WarpgroupProduct &product : self.completing) {
    meetWarpgroup("wgmma", product, runProduct);
    --product.accumulators->inFlight;
  }
}

}  // namespace sn::emulation
