// device_memory.h: the device's memory and pinned host memory: both the host's heap, each allocation of exactly its
// size, so that AddressSanitizer sees an access past it. Device memory starts as NaN.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "emulation/errors.h"
#include "emulation/options.h"
#include "emulation/shared_memory.h"

namespace sn::emulation {

class DeviceMemory {
 public:
  enum class Kind { device, pinned, pageable };

  ~DeviceMemory() {
    for (auto &[address, allocation] : allocations_) std::free(reinterpret_cast<void *>(address));
  }

  cudaError_t allocate(Kind kind, size_t bytes, void **memory) {
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (kind == Kind::device && bytes > available()) return cudaErrorMemoryAllocation;
    void *address = nullptr;
    if (posix_memalign(&address, kAlignment, bytes) != 0) return cudaErrorMemoryAllocation;
    std::memset(address, kPoison, bytes);
    if (kind == Kind::device) used_ += bytes;
    allocations_[reinterpret_cast<uintptr_t>(address)] = {kind, bytes};
    *memory = address;
    return cudaSuccess;
  }

  cudaError_t free(Kind kind, void *memory) {
    if (memory == nullptr) return cudaSuccess;
    auto found = allocations_.find(reinterpret_cast<uintptr_t>(memory));
    if (found == allocations_.end() || found->second.kind != kind) return cudaErrorInvalidValue;
    if (kind == Kind::device) used_ -= found->second.bytes;
    allocations_.erase(found);
    std::free(memory);
    return cudaSuccess;
  }

  // What memory the range is of; false if it begins in an allocation and does not end there.
  bool find(const void *memory, size_t bytes, Kind *kind) const {
    *kind = Kind::pageable;
    auto address = reinterpret_cast<uintptr_t>(memory);
    auto next = allocations_.upper_bound(address);
    if (next == allocations_.begin()) return true;
    auto &[first, allocation] = *std::prev(next);
    if (address >= first + allocation.bytes) return true;
    *kind = allocation.kind;
    return address + bytes <= first + allocation.bytes;
  }

  size_t total() const { return options().memory; }
  size_t available() const { return options().memory > used_ ? options().memory - used_ : 0; }

 private:
  static constexpr size_t kAlignment = 256;

  struct Allocation {
    Kind kind;
    size_t bytes;
  };

  std::map<uintptr_t, Allocation> allocations_;
  size_t used_ = 0;
};

}  // namespace sn::emulation
