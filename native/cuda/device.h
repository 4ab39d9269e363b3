// device.h: a GPU and its streams, as launchers see them.
#pragma once

#include <memory>
#include <string>

#include "common/operations.h"
#include "common/status.h"
#include "cuda/cuda.h"

namespace sn::cuda {

// What only a kernel can see, noted for the next synchronisation. It lies in pinned host memory.
struct Fault {
  enum Kind : int32_t {
    kNone = 0,
    kToken,
    kPosition,
    kIndex,
    kAppendFull,
    kDecodeFull,
    kWeight,
    kAdapter,
    kPackedRow,
    kPagedAppend,
    kPagedAttention
  };

  Kind kind;
  int32_t value;  // the token, position or length that does not fit
  int64_t place;  // where it stands: a token's place, a sequence, a row, a weight's input
  int64_t known;  // how many there are: tokens, positions, room in a cache; of a row its sequence
  int64_t more;   // what was to be added to a cache; a weight's output

  // The first to come until it is taken.
  __device__ void note(Kind what, int32_t value_, int64_t place_, int64_t known_, int64_t more_ = 0) {
    static_assert(sizeof(Kind) == sizeof(int));
    if (atomicCAS(reinterpret_cast<int *>(&kind), kNone, what) != kNone) return;
    value = value_;
    place = place_;
    known = known_;
    more = more_;
  }
};

class CublasLt;

struct Device : sn_device {
  int ordinal = 0;
  int capability = 0;     // 90 for 9.0
  bool hopper = false;    // whether kernels of sm_90a are used
  bool overlaps = false;  // whether a kernel may start before the one before it has ended
  int multiprocessors = 0;
  size_t sharedBytes = 0;  // that one block may have
  size_t cacheBytes = 0;   // of the second-level cache
  std::string nameText, isaText;
  std::shared_ptr<CublasLt> cublasLt;  // never null; without the library until it is asked for
};

struct Stream : sn_stream {
  cudaStream_t handle = nullptr;
  Fault *fault = nullptr;
  mutable bool inStep = false;  // whether its last kernel is one of launchInStep
};

inline const Device &deviceOf(const sn_device *device) { return *static_cast<const Device *>(device); }
inline const Device &deviceOf(const sn_stream *stream) { return deviceOf(stream->device); }

// The stream for what starts when all before it has ended.
inline cudaStream_t handleOf(const sn_stream *stream) {
  auto *own = static_cast<const Stream *>(stream);
  own->inStep = false;
  return own->handle;
}
inline Fault *faultOf(const sn_stream *stream) { return static_cast<const Stream *>(stream)->fault; }

// Launches a kernel of a step of decoding, most of which are over almost before they have begun. It may start while the
// one before it runs, if that is such a kernel too: so each of them lets the next one start (releaseNextGrid), reads at
// first only weights, which none of them writes, and then waits (waitForPriorGrid). The first after anything else
// starts when that has ended, even if it has written weights.
template <typename... Parameters, typename... Arguments>
cudaError_t launchInStep(const sn_stream *stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                         size_t sharedBytes, Arguments &&...arguments) {
  auto *own = static_cast<const Stream *>(stream);
  bool overlaps = deviceOf(stream).overlaps && own->inStep;
  own->inStep = true;
  return overlaps ? launchOverlapping(kernel, grid, block, sharedBytes, own->handle, arguments...)
                  : launch(kernel, grid, block, sharedBytes, own->handle, arguments...);
}

// What a CUDA error means for the caller; `operation` begins the message.
sn_status check(cudaError_t error, const char *operation);

}  // namespace sn::cuda
