// memory.cpp: host and device memory are one on a CPU; large copies use all threads. There is nothing to wait for, and
// recording would save nothing.
#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kBytesPerPart = int64_t{1} << 20;

void copyBytes(sn_stream *stream, void *to, const void *from, int64_t bytes) {
  parallelRange(poolOf(stream), bytes, kBytesPerPart, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char *>(to) + begin, static_cast<const char *>(from) + begin,
                static_cast<size_t>(end - begin));
  });
}

}  // namespace

sn_status synchronize(sn_stream *) { return SN_OK; }

sn_status capture_begin(sn_stream *) { return fail(SN_UNSUPPORTED, "capture_begin: a CPU makes no recordings"); }
sn_status capture_end(sn_stream *, sn_recording **) { return fail(SN_UNSUPPORTED, "capture_end: nothing was begun"); }
sn_status replay(sn_stream *, sn_recording *) { return fail(SN_UNSUPPORTED, "replay: a CPU has no recordings"); }

sn_status write(sn_stream *stream, void *destination, const void *host, int64_t bytes) {
  copyBytes(stream, destination, host, bytes);
  return SN_OK;
}

sn_status read(sn_stream *stream, const void *source, void *host, int64_t bytes) {
  copyBytes(stream, host, source, bytes);
  return SN_OK;
}

sn_status copy(sn_stream *stream, void *destination, const void *source, int64_t bytes) {
  copyBytes(stream, destination, source, bytes);
  return SN_OK;
}

sn_status zero(sn_stream *stream, void *destination, int64_t bytes) {
  parallelRange(poolOf(stream), bytes, kBytesPerPart, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<char *>(destination) + begin, 0, static_cast<size_t>(end - begin));
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
