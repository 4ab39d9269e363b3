// async_copy.h: cp.async: each copy lands at its issue or when its group is waited for; at random, or always late.
#pragma once

#include <cstring>

#include "emulation/cluster.h"

namespace sn::emulation {

// One store of all bytes, like the hardware's, that the sanitizers see as one of the running thread's.
template <int Bytes>
void land(const AsyncCopy &copy) {
  unsigned char bytes[Bytes] = {};
  if (copy.present > 0) std::memcpy(bytes, copy.source, static_cast<size_t>(copy.present));
  std::memcpy(copy.target, bytes, Bytes);
}

inline void land(const AsyncCopy &copy) {
  if (copy.bytes == 4) land<4>(copy);
  if (copy.bytes == 8) land<8>(copy);
  if (copy.bytes == 16) land<16>(copy);
}

inline void copyAsync(void *shared, const void *global, int bytes, int present) {
  if (present < 0 || present > bytes) fail("cp.async of %d of %d bytes", present, bytes);
  requireAligned("cp.async to shared memory", shared, static_cast<size_t>(bytes));
  requireShared("cp.async", shared, static_cast<size_t>(bytes));
  if (present > 0) requireAligned("cp.async from global memory", global, static_cast<size_t>(bytes));
  Thread &self = here();
  AsyncCopy copy{shared, global, bytes, present};
  bool atOnce;
  {
    Bookkeeping hidden;
    atOnce = self.block->random && self.block->choices.onceIn(2);
    if (!atOnce) self.copies.add(copy);
  }
  if (atOnce) {
    land(copy);
  } else {
    announceWrite(shared, static_cast<size_t>(bytes));
  }
}

inline void commitCopies() {
  Bookkeeping hidden;
  here().copies.commit();
}

inline void waitForCopies(size_t pendingGroups) {
  std::vector<AsyncCopy> landing;
  {
    Bookkeeping hidden;
    landing = here().copies.allBut(pendingGroups);
  }
  for (size_t i = 0;; ++i) {
    AsyncCopy copy;
    {
      Bookkeeping hidden;
      if (i == landing.size()) break;
      copy = landing[i];
    }
    land(copy);
  }
}

}  // namespace sn::emulation
