// attention_forward.cpp: attention without the queries x keys matrix (Dao 2023, algorithm 1).
//
// A part of the work is one block of queries of one head. A head's last block sees most under a causal mask: it starts
// first.
#include "cpu/kernels/attention.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

sn_status attention_forward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                            const void *v, void *out, float *lse) {
  const auto &s = *shape;
  float scale = scaleOf(s.scale, s.head_size);
  Dropout dropout{s.dropout, keyNow(s.key), s.keys};
  int64_t blocks = (s.queries + kQueryBlock - 1) / kQueryBlock;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    parallel(poolOf(stream), s.batch * s.heads * blocks, [&](int64_t part, int32_t worker) {
      int64_t block = blocks - 1 - part % blocks, index = part / blocks;
      int64_t b = index / s.heads, h = index % s.heads, shared = h / (s.heads / s.kv_heads);
      Head<T> head{static_cast<const T *>(q) + b * s.queries * s.q_stride + h * s.head_size,
                   static_cast<const T *>(k) + b * s.keys * s.k_stride + shared * s.head_size,
                   static_cast<const T *>(v) + b * s.keys * s.v_stride + shared * s.head_size,
                   s.q_stride,
                   s.k_stride,
                   s.v_stride,
                   s.head_size};
      int64_t query = block * kQueryBlock;
      int64_t queries = s.queries - query < kQueryBlock ? s.queries - query : kQueryBlock;
      AttentionScratch scratch(deviceOf(stream).scratch(worker), padded(s.head_size));
      attendBlock(head, sightOf(s, b), scale, dropout, index * s.queries + query, query, queries, scratch,
                  static_cast<T *>(out) + b * s.queries * s.out_stride + h * s.head_size, s.out_stride,
                  lse == nullptr ? nullptr : lse + index * s.queries);
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
