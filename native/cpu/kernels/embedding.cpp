// embedding.cpp: rows of tables. The backward pass shares out columns, so that the tokens' gradients are added in the
// order of their places whatever the threads do.
#include <atomic>

#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

sn_status embedding_forward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                            int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                            const int32_t *offsets, const void *token_table, const void *position_table, void *out) {
  std::atomic<int64_t> bad{-1};
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *words = static_cast<const T *>(token_table), *places = static_cast<const T *>(position_table);
    auto *rows = static_cast<T *>(out);
    parallelRange(poolOf(stream), batch * length, rowsPerPart(width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t token = tokens[i];
        int64_t position = i % length + (offsets == nullptr ? 0 : offsets[i / length]);
        bool known = token >= 0 && token < vocabulary && (places == nullptr || (position >= 0 && position < positions));
        if (!known) bad.store(i, std::memory_order_relaxed);
        forVectors(width, [&](int64_t j, int64_t n) {
          Vec v{};
          if (known) {
            v = scale * loadUpTo(words + token * width + j, n);
            if (places != nullptr) v += loadUpTo(places + position * width + j, n);
          }
          storeUpTo(rows + i * width + j, v, n);
        });
      }
    });
  });
  int64_t at = bad.load();
  if (at < 0) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "embedding_forward: token %d at place %lld; %lld tokens and %lld positions are known",
              tokens[at], static_cast<long long>(at), static_cast<long long>(vocabulary),
              static_cast<long long>(positions));
}

sn_status embedding_backward_workspace(const sn_device *, int64_t, int64_t, int64_t *bytes) {
  *bytes = 0;
  return SN_OK;
}

sn_status embedding_backward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                             int64_t vocabulary, int64_t positions, float scale, int32_t padding, const int32_t *tokens,
                             const void *dout, int32_t accumulate_positions, float *dtoken_table,
                             float *dposition_table, void *) {
  constexpr int64_t kStrip = 4 * kLanes;
  int64_t strips = (width + kStrip - 1) / kStrip;
  int64_t stripsPerPart = kGrain / (batch * length * kStrip) + 1;
  withType(dtype, [&](auto t) {
    auto *rows = static_cast<const decltype(t) *>(dout);
    parallelRange(poolOf(stream), strips, stripsPerPart, [&](int64_t begin, int64_t end) {
      int64_t first = begin * kStrip, last = end * kStrip < width ? end * kStrip : width;
      for (int64_t i = 0; i < batch * length && dtoken_table != nullptr; ++i) {
        if (tokens[i] < 0 || tokens[i] >= vocabulary || tokens[i] == padding) continue;
        float *target = dtoken_table + tokens[i] * width + first;
        const auto *source = rows + i * width + first;
        forVectors(last - first, [&](int64_t j, int64_t n) {
          storeUpTo(target + j, fma(loadUpTo(source + j, n), broadcast(scale), loadUpTo(target + j, n)), n);
        });
      }
      if (dposition_table == nullptr) return;
      for (int64_t position = 0; position < positions; ++position) {
        if (position >= length && accumulate_positions) break;
        float *target = dposition_table + position * width + first;
        forVectors(last - first, [&](int64_t j, int64_t n) {
          Vec total = accumulate_positions ? loadUpTo(target + j, n) : Vec{};
          for (int64_t b = 0; b < batch && position < length; ++b) {
            total += loadUpTo(rows + (b * length + position) * width + first + j, n);
          }
          storeUpTo(target + j, total, n);
        });
      }
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
