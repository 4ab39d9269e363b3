// shared_memory.h: a block's shared memory: the dynamic part and each static variable as an allocation of exactly its
// size, so that AddressSanitizer sees an access past it. It starts as NaN.
//
// Where it is watched it also has an image: what the asynchronous proxy (tensor stores and warpgroup products) may see,
// as threads have shown it by fences and tensor loads have written it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace sn::emulation {

// All bits set: a NaN in every floating-point format.
constexpr int kPoison = 0xff;

class SharedMemory {
 public:
  SharedMemory(size_t dynamicBytes, bool watched)
      : watched_(watched), dynamic_(allocate(kDynamicAlignment, dynamicBytes)) {}
  SharedMemory(const SharedMemory &) = delete;
  SharedMemory &operator=(const SharedMemory &) = delete;

  ~SharedMemory() {
    release(dynamic_);
    for (Variable &variable : variables_) release(variable.memory);
  }

  unsigned char *dynamic() const { return dynamic_.bytes; }

  // The variable with this identity; the block's first thread that comes makes it.
  void *variable(const void *identity, size_t bytes) {
    for (Variable &variable : variables_) {
      if (variable.identity == identity) return variable.memory.bytes;
    }
    variables_.push_back({identity, allocate(kStaticAlignment, bytes)});
    return variables_.back().memory.bytes;
  }

  // Where this block has what another one of the same kernel has at `address`; null if that is not shared memory.
  void *counterpart(const SharedMemory &other, const void *address) {
    auto offset = [&](const Memory &memory) { return static_cast<const unsigned char *>(address) - memory.bytes; };
    if (other.dynamic_.contains(address, 1)) return dynamic_.bytes + offset(other.dynamic_);
    for (const Variable &theirs : other.variables_) {
      if (!theirs.memory.contains(address, 1)) continue;
      return static_cast<unsigned char *>(variable(theirs.identity, theirs.memory.size)) + offset(theirs.memory);
    }
    return nullptr;
  }

  bool contains(const void *address, size_t bytes) const { return find(address, bytes) != nullptr; }

  // Shows all that was written up to now.
  void show() {
    if (!watched_) return;
    dynamic_.show(dynamic_.bytes, dynamic_.size);
    for (Variable &variable : variables_) variable.memory.show(variable.memory.bytes, variable.memory.size);
  }

  void show(const void *address, size_t bytes) {
    if (watched_) find(address, bytes)->show(address, bytes);
  }

  // Whether all of these bytes were shown since they were last written.
  bool isShown(const void *address, size_t bytes) const {
    return !watched_ || std::memcmp(find(address, bytes)->imageOf(address), address, bytes) == 0;
  }

  // An address as instructions' descriptors have it. Like on a GPU dynamic shared memory does not start at 0.
  uint32_t addressOf(const void *dynamicAddress) const {
    return kDynamicAlignment +
           static_cast<uint32_t>(static_cast<const unsigned char *>(dynamicAddress) - dynamic_.bytes);
  }

  // Null where no dynamic shared memory is.
  unsigned char *at(uint32_t address, size_t bytes) const {
    if (address < kDynamicAlignment || address - kDynamicAlignment + bytes > dynamic_.size) return nullptr;
    return dynamic_.bytes + (address - kDynamicAlignment);
  }

 private:
  static constexpr uint32_t kDynamicAlignment = 1024;
  static constexpr uint32_t kStaticAlignment = 16;

  struct Memory {
    unsigned char *bytes;
    unsigned char *image;
    size_t size;

    bool contains(const void *address, size_t count) const {
      auto first = reinterpret_cast<uintptr_t>(bytes), wanted = reinterpret_cast<uintptr_t>(address);
      return wanted >= first && wanted + count <= first + size;
    }

    unsigned char *imageOf(const void *address) const {
      return image + (static_cast<const unsigned char *>(address) - bytes);
    }

    void show(const void *address, size_t count) const { std::memcpy(imageOf(address), address, count); }
  };

  struct Variable {
    const void *identity;
    Memory memory;
  };

  const Memory *find(const void *address, size_t bytes) const {
    if (dynamic_.contains(address, bytes)) return &dynamic_;
    for (const Variable &variable : variables_) {
      if (variable.memory.contains(address, bytes)) return &variable.memory;
    }
    return nullptr;
  }

  Memory allocate(size_t alignment, size_t bytes) const {
    return {poisoned(alignment, bytes), watched_ ? poisoned(alignment, bytes) : nullptr, bytes};
  }

  static unsigned char *poisoned(size_t alignment, size_t bytes) {
    void *memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes) != 0) std::abort();
    std::memset(memory, kPoison, bytes);
    return static_cast<unsigned char *>(memory);
  }

  static void release(const Memory &memory) {
    std::free(memory.bytes);
    std::free(memory.image);
  }

  const bool watched_;
  Memory dynamic_;
  std::vector<Variable> variables_;
};

}  // namespace sn::emulation
