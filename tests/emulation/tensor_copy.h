// tensor_copy.h: copies of the tensor unit between device and shared memory: boxes of a tensor, and plain bytes. A load
// completes at any time after its issue, in any order; for stores see BulkStore.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "emulation/box.h"
#include "emulation/mbarrier.h"
#include "emulation/remote.h"
#include "emulation/runtime.h"

namespace sn::emulation {

// As cuTensorMapEncodeTiled: refuses what the hardware does not take; and a tensor that leaves its allocation.
inline cudaError_t describeTensor(TensorMap *map, uint32_t elementBytes, const void *data, unsigned axes,
                                  const uint64_t *sizes, const uint64_t *strideBytes, const uint32_t *box,
                                  bool swizzled) {
  Runtime &runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  *map = {static_cast<unsigned char *>(const_cast<void *>(data)), axes, elementBytes, {}, {}, {}, swizzled};
  bool possible = aligned(data, 16);
  uint64_t bytes = elementBytes;
  for (unsigned i = 0; i < axes; ++i) {
    map->size[i] = sizes[i];
    map->strideBytes[i] = strideBytes[i];
    map->box[i] = box[i];
    possible = possible && sizes[i] > 0 && sizes[i] <= uint64_t{1} << 32 && box[i] > 0 && box[i] <= 256;
    possible = possible && (i == 0 || (strideBytes[i] % 16 == 0 && strideBytes[i] < uint64_t{1} << 40));
    bytes += (sizes[i] - 1) * strideBytes[i];
  }
  uint32_t lineBytes = box[0] * elementBytes;
  possible = possible && lineBytes % kPieceBytes == 0 && (!swizzled || lineBytes <= kSwizzleBytes);
  DeviceMemory::Kind kind;
  if (!possible || !runtime.memory.find(data, bytes, &kind)) return runtime.finish(cudaErrorInvalidValue);
  return runtime.finish(cudaSuccess);
}

inline Box checkedBox(const char *what, const TensorMap &map, std::initializer_list<int> place, const void *shared) {
  requireHopper(what);
  if (place.size() != map.axes) fail("%s: %zu coordinates of a map of %u axes", what, place.size(), map.axes);
  requireAligned(what, shared, map.swizzled ? kSwizzlePeriod : 128);
  requireShared(what, shared, boxBytes(map));
  Box box{map, {}, static_cast<unsigned char *>(const_cast<void *>(shared))};
  std::copy(place.begin(), place.end(), box.place);
  return box;
}

// Plain bytes are a tensor of one axis.
inline Box checkedBytes(const char *what, const void *global, const void *shared, uint32_t bytes,
                        uint32_t elementBytes) {
  requireHopper(what);
  requireAligned(what, shared, 16);
  requireAligned(what, global, 16);
  if (bytes == 0 || bytes % 16 != 0) fail("%s: %u bytes are no multiple of 16", what, bytes);
  requireShared(what, shared, bytes);
  uint32_t count = bytes / elementBytes;
  TensorMap map{static_cast<unsigned char *>(const_cast<void *>(global)), 1, elementBytes, {count}, {}, {count}, false};
  return {map, {}, static_cast<unsigned char *>(const_cast<void *>(shared))};
}

inline void startLoad(const char *what, Block &block, const Box &box, uint64_t *object) {
  Bookkeeping hidden;
  Mbarrier &barrier = findKnownMbarrier(what, block, object);
  block.cluster.background.push_back([&block, &barrier, box] {
    if (block.hasExited()) return block.cluster.report(block, Cluster::kCopiesInFlight);
    load(box, block.shared);
    barrier.bytes -= boxBytes(box.map);
    endPhaseIfComplete(block, barrier);
  });
}

inline void loadTile(void *shared, const TensorMap *map, std::initializer_list<int> place, uint64_t *barrier) {
  constexpr const char *kWhat = "a tensor load";
  startLoad(kWhat, *here().block, checkedBox(kWhat, *map, place, shared), barrier);
}

inline void loadBulk(void *shared, const void *global, uint32_t bytes, uint64_t *barrier) {
  constexpr const char *kWhat = "a bulk load";
  startLoad(kWhat, *here().block, checkedBytes(kWhat, global, shared, bytes, 1), barrier);
}

// To the same place of each of the blocks, each one's barrier counting what comes to it.
inline void loadTileMulticast(void *shared, const TensorMap *map, std::initializer_list<int> place, uint64_t *barrier,
                              unsigned blocks) {
  constexpr const char *kWhat = "a multicast load";
  Box box = checkedBox(kWhat, *map, place, shared);
  if (blocks == 0) fail("%s to no block", kWhat);
  for (unsigned rank = 0; blocks >> rank != 0; ++rank) {
    if ((blocks >> rank & 1u) == 0) continue;
    Block &block = peer(kWhat, rank);
    box.shared = remote(kWhat, static_cast<unsigned char *>(shared), rank);
    startLoad(kWhat, block, box, remote(kWhat, barrier, rank));
  }
}

// Visible to the sanitizers as the running thread's reads.
inline void readShared(BulkStore &store) {
  if (!store.read.empty()) return;
  const SharedMemory &memory = here().block->shared;
  {
    Bookkeeping hidden;
    store.read.resize(boxBytes(store.box.map));
  }
  unsigned char *to = store.read.data();
  forPieces(store.box, [&](const unsigned char *shared, const unsigned char *, size_t, size_t) {
    std::memcpy(to, shared, kPieceBytes);
    to += kPieceBytes;
    Bookkeeping hidden;
    if (!memory.isShown(shared, kPieceBytes)) failUnshown(store.adds ? "an add" : "a store");
  });
}

inline void startStore(const Box &box, bool adds) {
  Thread &self = here();
  bool readsAtOnce, landsAtOnce;
  BulkStore *store;
  {
    Bookkeeping hidden;
    readsAtOnce = self.block->random && self.block->choices.onceIn(2);
    landsAtOnce = readsAtOnce && self.block->choices.onceIn(2);
    self.stores.add({box, adds, false, false, {}});
    store = &self.stores.all().back();
  }
  if (readsAtOnce) readShared(*store);
  if (!landsAtOnce) return;
  land(*store);
  Bookkeeping hidden;
  store->landed = true;
}

inline void storeTile(const TensorMap *map, std::initializer_list<int> place, const void *shared) {
  startStore(checkedBox("a tensor store", *map, place, shared), false);
}

inline void addTile(const TensorMap *map, std::initializer_list<int> place, const void *shared) {
  if (map->elementBytes == 1) fail("a tensor add: bytes are no numbers");
  startStore(checkedBox("a tensor add", *map, place, shared), true);
}

inline void storeBulk(void *global, const void *shared, uint32_t bytes) {
  startStore(checkedBytes("a bulk store", global, shared, bytes, 1), false);
}

inline void addBulk(float *global, const float *shared, uint32_t bytes) {
  startStore(checkedBytes("a bulk add", global, shared, bytes, sizeof(float)), true);
}

inline void commitStores() {
  Bookkeeping hidden;
  here().stores.commit();
}

inline void waitForStoreReads(size_t pendingGroups) {
  Thread &self = here();
  BulkStore *stores;
  size_t count;
  {
    Bookkeeping hidden;
    stores = self.stores.all().data();
    count = self.stores.countOfAllBut(pendingGroups);
  }
  for (size_t i = 0; i < count; ++i) {
    readShared(stores[i]);
    Bookkeeping hidden;
    stores[i].readAwaited = true;
  }
}

inline void waitForStores(size_t pendingGroups) {
  waitForStoreReads(pendingGroups);
  std::vector<BulkStore> landing;
  {
    Bookkeeping hidden;
    landing = here().stores.allBut(pendingGroups);
  }
  for (const BulkStore &store : landing) land(store);
  Bookkeeping hidden;
  landing.clear();
}

}  // namespace sn::emulation
