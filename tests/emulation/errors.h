// errors.h: CUDA's error codes.
#pragma once

#define SN_CUDA_ERRORS(X)                                                                                \
  X(cudaSuccess, 0, "no error")                                                                          \
  X(cudaErrorInvalidValue, 1, "invalid argument")                                                        \
  X(cudaErrorMemoryAllocation, 2, "out of memory")                                                       \
  X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                  \
  X(cudaErrorInvalidMemcpyDirection, 21, "invalid copy direction for memcpy")                            \
  X(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient for CUDA runtime version")     \
  X(cudaErrorInvalidDeviceFunction, 98, "invalid device function")                                       \
  X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                        \
  X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                               \
  X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                      \
  X(cudaErrorNotReady, 600, "device not ready")                                                          \
  X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                           \
  X(cudaErrorNotSupported, 801, "operation not supported")                                               \
  X(cudaErrorStreamCaptureUnsupported, 900, "operation not permitted when stream is capturing")          \
  X(cudaErrorStreamCaptureInvalidated, 901, "operation failed due to a previous error during capture")   \
  X(cudaErrorStreamCaptureMerge, 902, "operation would result in a merge of separate capture sequences") \
  X(cudaErrorStreamCaptureUnmatched, 903, "capture was not ended in the same stream as it began")        \
  X(cudaErrorStreamCaptureUnjoined, 904, "capturing stream has unjoined work")                           \
  X(cudaErrorStreamCaptureIsolation, 905, "dependency created on uncaptured work in another stream")     \
  X(cudaErrorStreamCaptureImplicit, 906, "operation would make the legacy stream depend on a capturing") \
  X(cudaErrorCapturedEvent, 907, "operation not permitted on an event last recorded in a capturing")     \
  X(cudaErrorStreamCaptureWrongThread, 908, "attempt to terminate a thread-local capture from another")  \
  X(cudaErrorGraphExecUpdateFailure, 910, "the graph update was not performed")

typedef enum cudaError {
#define SN_VALUE(name, value, text) name = value,
  SN_CUDA_ERRORS(SN_VALUE)
#undef SN_VALUE
} cudaError_t;

namespace sn::emulation {

struct ErrorText {
  const char *name;
  const char *text;
};

inline ErrorText textOf(cudaError_t error) {
  switch (error) {
#define SN_CASE(name, value, text) \
  case name:                       \
    return {#name, text};
    SN_CUDA_ERRORS(SN_CASE)
#undef SN_CASE
  }
  return {"cudaErrorUnknown", "unrecognized error code"};
}

}  // namespace sn::emulation
