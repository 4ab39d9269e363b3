// sanitizers.h: what the emulation tells AddressSanitizer and ThreadSanitizer; nothing where neither is on.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>

extern "C" {
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void __tsan_write_range(void *address, unsigned long size);
}
#endif

#include <cstddef>

// On code that changes stacks: ThreadSanitizer counts a function's entry and exit, which then happen on two stacks.
#define SN_UNINSTRUMENTED [[gnu::no_sanitize("thread"), gnu::noinline]]

namespace sn::emulation {

// While one lives, ThreadSanitizer looks away: what the emulator does for itself is no access of the kernel's.
class Bookkeeping {
 public:
#if defined(__SANITIZE_THREAD__)
  Bookkeeping() {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
  }
  ~Bookkeeping() {
    AnnotateIgnoreWritesEnd("", 0);
    AnnotateIgnoreReadsEnd("", 0);
  }
#else
  Bookkeeping() {}
  ~Bookkeeping() {}
#endif
  Bookkeeping(const Bookkeeping &) = delete;
  Bookkeeping &operator=(const Bookkeeping &) = delete;
};

// What a thread did before it released to an edge happens before what another does after it acquired from it.
inline void releaseTo([[maybe_unused]] void *edge) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(edge);
#endif
}

inline void acquireFrom([[maybe_unused]] void *edge) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(edge);
#endif
}

// An asynchronous write may land at any time from now on: to ThreadSanitizer it also does so now.
inline void announceWrite([[maybe_unused]] void *address, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_THREAD__)
  __tsan_write_range(address, bytes);
#endif
}

}  // namespace sn::emulation
