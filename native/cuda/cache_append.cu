// cache_append.cu: new keys and values go behind what the cache holds of each sequence: bound by memory.
#include "cuda/attention.cuh"
#include "cuda/operations.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

// Copies eight columns of a row of keys and of values behind each sequence's length.
template <typename T>
struct Append {
  AttentionSize size;
  Heads<const T> k, v;
  Heads<T> keyCache, valueCache;
  bool inPieces;

  // `i` counts eight for each such part, whether the row ends within it or not.
  __device__ void operator()(int64_t i, int) const {
    int parts = (size.headSize + 7) / 8, sharedHeads = size.heads / size.group;
    int64_t number = i / 8, row = number / parts / sharedHeads;
    auto column = static_cast<int>(number % parts) * 8, head = static_cast<int>(number / parts % sharedHeads);
    auto query = static_cast<int>(row % size.queries), batch = static_cast<int>(row / size.queries);
    if (!size.cache.fits(batch)) {
      if (column == 0 && head == 0 && query == 0) size.cache.note(batch);
      return;
    }
    int64_t position = size.cache.lengths[batch] + query;
    copy(k.at(batch, head) + query * k.rowStride + column,
         keyCache.at(batch, head) + position * keyCache.rowStride + column, size.headSize - column);
    copy(v.at(batch, head) + query * v.rowStride + column,
         valueCache.at(batch, head) + position * valueCache.rowStride + column, size.headSize - column);
  }

 private:
  __device__ void copy(const T *from, T *to, int count) const {
    constexpr int kPiece = Vector<T>::kCount;
#pragma unroll
    for (int i = 0; i < 8; i += kPiece) {
      if (inPieces) {
        if (i < count) *reinterpret_cast<Vector<T> *>(to + i) = *reinterpret_cast<const Vector<T> *>(from + i);
      } else {
        for (int j = i; j < i + kPiece && j < count; ++j) to[j] = from[j];
      }
    }
  }
};

}  // namespace

sn_status cache_append(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *k,
                       const void *v, void *key_cache, void *value_cache) {
  const auto &s = *shape;
  sn_status status = checkAttentionSize(s.batch, s.queries, s.capacity, s.heads, "cache_append");
  if (status != SN_OK) return status;
  return withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    Append<T> work{sizeOf(stream, s, lengths, Fault::kAppendFull),    newRows(static_cast<const T *>(k), s, s.k_stride),
                   newRows(static_cast<const T *>(v), s, s.v_stride), cacheRows(static_cast<T *>(key_cache), s),
                   cacheRows(static_cast<T *>(value_cache), s),       false};
    work.inPieces = work.k.inPieces(s.head_size) && work.v.inPieces(s.head_size) &&
                    work.keyCache.inPieces(s.head_size) && work.valueCache.inPieces(s.head_size);
    int64_t parts = s.batch * s.queries * s.kv_heads * ((s.head_size + 7) / 8);
    return check(
        launchInStep(stream, forEights<Append<T>>, blocksOfEights(8 * parts), dim3(kEightThreads), 0, 8 * parts, work),
        "cache_append");
  });
}

}  // namespace sn::cuda
