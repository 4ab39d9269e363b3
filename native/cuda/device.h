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
  int capability = 0;   // 90 for 9.0
  bool hopper = false;  // whether kernels of sm_90a are used
  int multiprocessors = 0;
  size_t sharedBytes = 0;  // that one block may have
  size_t cacheBytes = 0;   // of the second-level cache
  std::string nameText, isaText;
  std::shared_ptr<CublasLt> cublasLt;  // never null; without the library until it is asked for
};

struct Stream : sn_stream {
  cudaStream_t handle = nullptr;
  Fault *fault = nullptr;
};

inline const Device &deviceOf(const sn_device *device) { return *static_cast<const Device *>(device); }
inline const Device &deviceOf(const sn_stream *stream) { return deviceOf(stream->device); }
inline cudaStream_t handleOf(const sn_stream *stream) { return static_cast<const Stream *>(stream)->handle; }
inline Fault *faultOf(const sn_stream *stream) { return static_cast<const Stream *>(stream)->fault; }

// What a CUDA error means for the caller; `operation` begins the message.
sn_status check(cudaError_t error, const char *operation);

}  // namespace sn::cuda
