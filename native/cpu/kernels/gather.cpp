// gather.cpp: chosen rows of a matrix, and their gradient.
#include <atomic>

#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

sn_status gather_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                         const int32_t *indices, const void *in, void *out) {
  std::atomic<int64_t> bad{-1};
  auto bytes = width * (dtype == SN_F32 ? 4 : 2);
  parallelRange(poolOf(stream), count, rowsPerPart(width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t index = indices[i];
      auto *target = static_cast<char *>(out) + i * bytes;
      if (index >= 0 && index < rows) {
        std::memcpy(target, static_cast<const char *>(in) + index * bytes, static_cast<size_t>(bytes));
      } else {
        std::memset(target, 0, static_cast<size_t>(bytes));
        if (index != -1) bad.store(i, std::memory_order_relaxed);
      }
    }
  });
  int64_t at = bad.load();
  if (at < 0) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "gather_forward: index %d at place %lld; there are %lld rows", indices[at],
              static_cast<long long>(at), static_cast<long long>(rows));
}

sn_status gather_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                          const int32_t *indices, const void *dout, void *din) {
  auto bytes = width * (dtype == SN_F32 ? 4 : 2);
  // Each thread has columns of its own: whatever the indices are, no two write one place.
  constexpr int64_t kPiece = 64;
  int64_t pieces = (bytes + kPiece - 1) / kPiece, perPart = kGrain * 4 / ((rows + count) * kPiece) + 1;
  parallelRange(poolOf(stream), pieces, perPart, [&](int64_t begin, int64_t end) {
    int64_t first = begin * kPiece, last = end * kPiece < bytes ? end * kPiece : bytes;
    auto size = static_cast<size_t>(last - first);
    auto *target = static_cast<char *>(din) + first;
    for (int64_t row = 0; row < rows; ++row) std::memset(target + row * bytes, 0, size);
    for (int64_t i = 0; i < count; ++i) {
      if (indices[i] < 0 || indices[i] >= rows) continue;
      std::memcpy(target + indices[i] * bytes, static_cast<const char *>(dout) + i * bytes + first, size);
    }
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
