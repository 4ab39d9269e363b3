// memory.cu: copies and waiting.
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

// The failure that a kernel noted, once.
sn_status takeFault(sn_stream *stream) {
  Fault fault = *faultOf(stream);
  *faultOf(stream) = {};
  switch (fault.kind) {
    case Fault::kNone:
      return SN_OK;
    case Fault::kToken:
      return fail(SN_BAD_ARGUMENT, "embedding_forward: token %d at place %lld; %lld tokens are known", fault.value,
                  static_cast<long long>(fault.place), static_cast<long long>(fault.known));
    case Fault::kPosition:
      return fail(SN_BAD_ARGUMENT, "embedding_forward: position %d at place %lld; %lld positions are known",
                  fault.value, static_cast<long long>(fault.place), static_cast<long long>(fault.known));
    case Fault::kIndex:
      return fail(SN_BAD_ARGUMENT, "gather_forward: index %d at place %lld; there are %lld rows", fault.value,
                  static_cast<long long>(fault.place), static_cast<long long>(fault.known));
    case Fault::kAppendFull:
    case Fault::kDecodeFull:
      return fail(SN_BAD_ARGUMENT, "%s: sequence %lld has %d positions; with %lld more they exceed the cache's %lld",
                  fault.kind == Fault::kAppendFull ? "cache_append" : "attention_decode",
                  static_cast<long long>(fault.place), fault.value, static_cast<long long>(fault.more),
                  static_cast<long long>(fault.known));
    case Fault::kWeight:
      return fail(SN_BAD_ARGUMENT, "pack: the weight from input %lld to output %lld is not finite",
                  static_cast<long long>(fault.place), static_cast<long long>(fault.more));
    case Fault::kAdapter:
      return fail(SN_BAD_ARGUMENT, "lora: adapter %d of row %lld; there are %lld adapters", fault.value,
                  static_cast<long long>(fault.place), static_cast<long long>(fault.known));
    case Fault::kPackedRow:
      return fail(SN_BAD_ARGUMENT, "packed_rows: index %d at place %lld; there are %lld rows", fault.value,
                  static_cast<long long>(fault.place), static_cast<long long>(fault.known));
    case Fault::kPagedAppend:
    case Fault::kPagedAttention:
      return fail(SN_BAD_ARGUMENT, "%s: row %lld is position %d of sequence %lld; it has no page there",
                  fault.kind == Fault::kPagedAppend ? "paged_append" : "paged_attention",
                  static_cast<long long>(fault.place), fault.value, static_cast<long long>(fault.known));
  }
  return fail(SN_FAILED, "a kernel noted an unknown fault");
}

bool recording(sn_stream *stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(handleOf(stream), &status) == cudaSuccess && status != cudaStreamCaptureStatusNone;
}

sn_status copyBytes(sn_stream *stream, void *to, const void *from, int64_t bytes, cudaMemcpyKind direction,
                    const char *operation) {
  return check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), direction, handleOf(stream)), operation);
}

}  // namespace

sn_status synchronize(sn_stream *stream) {
  if (sn_status status = check(cudaStreamSynchronize(handleOf(stream)), "synchronize"); status != SN_OK) return status;
  return takeFault(stream);
}

sn_status write(sn_stream *stream, void *destination, const void *host, int64_t bytes) {
  return copyBytes(stream, destination, host, bytes, cudaMemcpyHostToDevice, "write");
}

sn_status read(sn_stream *stream, const void *source, void *host, int64_t bytes) {
  sn_status status = copyBytes(stream, host, source, bytes, cudaMemcpyDeviceToHost, "read");
  return status != SN_OK || recording(stream) ? status : synchronize(stream);
}

sn_status copy(sn_stream *stream, void *destination, const void *source, int64_t bytes) {
  return copyBytes(stream, destination, source, bytes, cudaMemcpyDeviceToDevice, "copy");
}

sn_status zero(sn_stream *stream, void *destination, int64_t bytes) {
  return check(cudaMemsetAsync(destination, 0, static_cast<size_t>(bytes), handleOf(stream)), "zero");
}

}  // namespace sn::cuda
