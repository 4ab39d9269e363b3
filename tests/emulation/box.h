// box.h: what a copy of the tensor unit moves: the pieces of a box of a tensor, in shared memory and outside of it.
#pragma once

#include <algorithm>
#include <cstring>

#include "emulation/arithmetic.h"
#include "emulation/bfloat16.h"
#include "emulation/sanitizers.h"
#include "emulation/shared_memory.h"
#include "emulation/thread.h"

namespace sn::emulation {

constexpr uint32_t kPieceBytes = 16;
constexpr uint32_t kSwizzleBytes = 128;
constexpr uint32_t kSwizzlePeriod = 1024;

// The 128-byte swizzle: which of the eight pieces of 16 bytes of a row of 128 bytes is changed with the row's number.
inline uint32_t swizzle(uint32_t address) { return address ^ ((address >> 7 & 7u) << 4); }

// Calls f(piece in shared memory, global, first, count) for each piece of 16 bytes of the box: its `count` bytes from
// byte `first` on are the tensor's at `global`. None are where the box leaves the tensor.
template <typename F>
void forPieces(const Box &box, F &&f) {
  const TensorMap &map = box.map;
  uint32_t lineBytes = map.box[0] * map.elementBytes, lines = 1;
  for (unsigned axis = 1; axis < map.axes; ++axis) lines *= map.box[axis];
  int64_t begin = int64_t{box.place[0]} * map.elementBytes;
  int64_t end = static_cast<int64_t>(map.size[0] * map.elementBytes);
  for (uint32_t line = 0; line < lines; ++line) {
    bool inside = true;
    int64_t offset = begin;
    for (uint32_t axis = 1, rest = line; axis < map.axes; rest /= map.box[axis++]) {
      int64_t at = int64_t{box.place[axis]} + rest % map.box[axis];
      inside = inside && at >= 0 && at < static_cast<int64_t>(map.size[axis]);
      offset += at * static_cast<int64_t>(map.strideBytes[axis]);
    }
    for (uint32_t piece = 0; piece < lineBytes; piece += kPieceBytes) {
      int64_t low = std::clamp<int64_t>(-begin, piece, piece + kPieceBytes);
      int64_t high = inside ? std::clamp<int64_t>(end - begin, low, piece + kPieceBytes) : low;
      uint32_t at = line * lineBytes + piece;
      f(box.shared + (map.swizzled ? swizzle(at) : at), high == low ? nullptr : map.data + offset + low,
        static_cast<size_t>(low - piece), static_cast<size_t>(high - low));
    }
  }
}

inline uint32_t boxBytes(const TensorMap &map) {
  uint32_t bytes = map.elementBytes;
  for (unsigned axis = 0; axis < map.axes; ++axis) bytes *= map.box[axis];
  return bytes;
}

inline void load(const Box &box, SharedMemory &target) {
  forPieces(box, [&](unsigned char *shared, const unsigned char *global, size_t first, size_t count) {
    unsigned char piece[kPieceBytes] = {};
    if (count > 0) std::memcpy(piece + first, global, count);
    std::memcpy(shared, piece, sizeof piece);
    target.show(shared, sizeof piece);
  });
}

// In one step for each element, as other blocks may add to the same.
template <typename Bits, typename Add>
void addTo(unsigned char *global, const unsigned char *value, Add &&add) {
  auto *target = reinterpret_cast<Bits *>(global);
  Bits addend, old = __atomic_load_n(target, __ATOMIC_RELAXED);
  std::memcpy(&addend, value, sizeof addend);
  while (!__atomic_compare_exchange_n(target, &old, add(old, addend), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

inline void addElement(uint32_t elementBytes, unsigned char *global, const unsigned char *value) {
  if (elementBytes == sizeof(float)) {
    addTo<uint32_t>(global, value,
                    [](uint32_t a, uint32_t b) { return __float_as_uint(__uint_as_float(a) + __uint_as_float(b)); });
  } else {
    addTo<uint16_t>(global, value, [](uint16_t a, uint16_t b) {
      return __bfloat16_as_ushort(__float2bfloat16(__ushort_as_bfloat16(a) + __ushort_as_bfloat16(b)));
    });
  }
}

// Visible to the sanitizers as the running thread's writes.
inline void land(const BulkStore &store) {
  if (store.landed) return;
  const unsigned char *from = store.read.data();
  uint32_t elementBytes = store.box.map.elementBytes;
  forPieces(store.box, [&](const unsigned char *, unsigned char *global, size_t first, size_t count) {
    if (store.adds) {
      for (size_t i = 0; i < count; i += elementBytes) addElement(elementBytes, global + i, from + first + i);
    } else if (count > 0) {
      std::memcpy(global, from + first, count);
    }
    from += kPieceBytes;
  });
}

}  // namespace sn::emulation
