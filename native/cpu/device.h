// device.h: a CPU device: its threads, and a scratch memory for each of them.
#pragma once

#include "common/operations.h"
#include "cpu/thread_pool.h"

namespace sn::cpu {

// What a worker may use inside one part of an operation (packed panels, rows of scores). 64-byte aligned.
constexpr int64_t kScratchBytes = int64_t{8} << 20;

struct Device : sn_device {
  explicit Device(int32_t threads);
  ~Device();

  ThreadPool pool;
  void *scratch(int32_t worker) const { return static_cast<char *>(scratch_) + worker * kScratchBytes; }

 private:
  void *scratch_;
};

inline Device &deviceOf(const sn_stream *stream) { return *static_cast<Device *>(stream->device); }
inline ThreadPool &poolOf(const sn_stream *stream) { return deviceOf(stream).pool; }

// Huge pages where the system has them: the weights of a model are read end to end at every step.
void *allocatePages(int64_t bytes);
void freePages(void *memory);

}  // namespace sn::cpu
