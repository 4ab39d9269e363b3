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
  // Each part has rows of its own and looks through all indices for them: whatever those are, no two threads write one
  // place. Few parts, so that looking costs less than copying.
  constexpr int64_t kMostParts = 64;
  int64_t least = rowsPerPart(width), share = (rows + kMostParts - 1) / kMostParts;
  parallelRange(poolOf(stream), rows, least > share ? least : share, [&](int64_t begin, int64_t end) {
    auto *target = static_cast<char *>(din);
    std::memset(target + begin * bytes, 0, static_cast<size_t>((end - begin) * bytes));
    for (int64_t i = 0; i < count; ++i) {
      if (indices[i] < begin || indices[i] >= end) continue;
      std::memcpy(target + indices[i] * bytes, static_cast<const char *>(dout) + i * bytes, static_cast<size_t>(bytes));
    }
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
