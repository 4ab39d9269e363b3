// tensor_copy.h: copies of boxes between a matrix in device memory and shared memory. A load completes at any time
// after its issue, in any order; a store reads shared memory at its issue or when it is waited for.
#pragma once

#include <cstring>

#include "emulation/mbarrier.h"
#include "emulation/runtime.h"

namespace sn::emulation {

constexpr uint32_t kElementBytes = 2;

// The 128-byte swizzle: which of the eight pieces of 16 bytes of a row of 128 bytes is changed with the row's number.
inline uint32_t swizzle(uint32_t address) { return address ^ ((address >> 7 & 7u) << 4); }

// As cuTensorMapEncodeTiled: refuses what the hardware does not take; and a matrix that leaves its allocation.
inline cudaError_t describeMatrix(TensorMap *map, const void *data, uint64_t rows, uint64_t columns, uint64_t stride,
                                  uint32_t boxRows, uint32_t boxColumns, bool swizzled) {
  Runtime &runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  uint64_t strideBytes = stride * kElementBytes;
  uint32_t boxBytes = boxColumns * kElementBytes;
  bool possible = aligned(data, 16) && strideBytes % 16 == 0 && rows > 0 && columns > 0 && columns <= stride;
  possible = possible && boxRows > 0 && boxRows <= 256 && boxColumns > 0 && boxColumns <= 256 && boxBytes % 16 == 0;
  possible = possible && (!swizzled || boxBytes <= 128);
  DeviceMemory::Kind kind;
  size_t bytes = (rows - 1) * strideBytes + columns * kElementBytes;
  if (!possible || !runtime.memory.find(data, bytes, &kind)) return runtime.finish(cudaErrorInvalidValue);
  auto *bytesOf = static_cast<unsigned char *>(const_cast<void *>(data));
  *map = {bytesOf, rows, columns, strideBytes, boxRows, boxColumns, swizzled};
  return runtime.finish(cudaSuccess);
}

// Calls f(shared byte offset, matrix element or null where the box leaves the matrix) for each element of the box.
template <typename F>
void forElements(const TensorMap &map, int column, int row, uint32_t sharedAddress, F &&f) {
  for (uint32_t i = 0; i < map.boxRows; ++i) {
    for (uint32_t j = 0; j < map.boxColumns; ++j) {
      uint32_t address = sharedAddress + (i * map.boxColumns + j) * kElementBytes;
      if (map.swizzled) address = swizzle(address);
      int64_t y = int64_t{row} + i, x = int64_t{column} + j;
      bool inside = y >= 0 && x >= 0 && y < static_cast<int64_t>(map.rows) && x < static_cast<int64_t>(map.columns);
      auto offset = static_cast<uint64_t>(y) * map.strideBytes + static_cast<uint64_t>(x) * kElementBytes;
      f(address, inside ? map.data + offset : nullptr);
    }
  }
}

inline uint32_t boxBytes(const TensorMap &map) { return map.boxRows * map.boxColumns * kElementBytes; }

// The shared address of a box. Only dynamic shared memory can be aligned so far.
inline uint32_t checkedBox(const char *what, const TensorMap &map, const void *shared) {
  requireHopper(what);
  requireAligned(what, shared, map.swizzled ? 1024 : 128);
  const SharedMemory &memory = here().block->shared;
  requireShared(what, shared, boxBytes(map));
  uint32_t address = memory.addressOf(shared);
  // A swizzle changes places within whole pieces of 1024 bytes.
  uint32_t reach = map.swizzled ? (boxBytes(map) + 1023) / 1024 * 1024 : boxBytes(map);
  if (memory.at(address, reach) == nullptr) fail("%s: %u bytes are not in dynamic shared memory", what, reach);
  return address;
}

inline void loadTile(void *shared, const TensorMap *map, int column, int row, uint64_t *object) {
  Bookkeeping hidden;
  uint32_t address = checkedBox("a tensor load", *map, shared);
  Mbarrier &barrier = findMbarrier("a tensor load", object);
  Block &block = *here().block;
  block.background.push_back([&block, &barrier, address, column, row, copy = *map] {
    forElements(copy, column, row, address, [&](uint32_t at, const unsigned char *element) {
      const unsigned char zero[kElementBytes] = {};
      std::memcpy(block.shared.at(at, kElementBytes), element == nullptr ? zero : element, kElementBytes);
    });
    barrier.bytes -= boxBytes(copy);
    endPhaseIfComplete(block, barrier);
  });
}

// Visible to the sanitizers as the running thread's reads and writes.
inline void land(const TensorStore &store) {
  const SharedMemory &memory = here().block->shared;
  forElements(store.map, store.column, store.row, memory.addressOf(store.shared),
              [&](uint32_t at, unsigned char *element) {
                if (element != nullptr) std::memcpy(element, memory.at(at, kElementBytes), kElementBytes);
              });
}

inline void storeTile(const TensorMap *map, int column, int row, const void *shared) {
  checkedBox("a tensor store", *map, shared);
  Thread &self = here();
  TensorStore store{*map, column, row, static_cast<const unsigned char *>(shared)};
  bool atOnce;
  {
    Bookkeeping hidden;
    atOnce = self.block->random && self.block->choices.onceIn(2);
    if (!atOnce) self.stores.add(store);
  }
  if (atOnce) land(store);
}

inline void commitStores() {
  Bookkeeping hidden;
  here().stores.commit();
}

inline void waitForStores(size_t pendingGroups) {
  std::vector<TensorStore> landing;
  {
    Bookkeeping hidden;
    landing = here().stores.allBut(pendingGroups);
  }
  for (const TensorStore &store : landing) land(store);
}

}  // namespace sn::emulation
