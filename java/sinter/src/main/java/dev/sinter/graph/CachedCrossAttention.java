package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_cache_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Attention of one new token over a cache that holds another sequence. The cache's lengths are one
 * less than that sequence's: a query sees the keys up to its own place, which is then the last.
 */
final class CachedCrossAttention extends Operation {
  private final Tensor q;
  private final KvCache cache;
  private final int layer;
  private final long heads;
  private final Tensor out;

  CachedCrossAttention(Tensor q, KvCache cache, int layer, long heads, Tensor out) {
    super("attention_decode", List.of(q, cache.lengths()), List.of(out));
    if (q.size(1) != 1) {
      throw new IllegalArgumentException(q.size(1) + " queries; one a sequence");
    }
    this.q = q;
    this.cache = cache;
    this.layer = layer;
    this.heads = heads;
    this.out = out;
  }

  private static sn_cache_shape shape(
      Tensor keys, long queries, long heads, long qStride, long kvStride, long outStride) {
    return new sn_cache_shape()
        .batch(keys.size(0))
        .queries(queries)
        .heads(heads)
        .kv_heads(keys.size(1))
        .head_size(keys.size(3))
        .cache_capacity(keys.size(2))
        .q_stride(qStride)
        .k_stride(kvStride)
        .v_stride(kvStride)
        .out_stride(outStride)
        .dtype(keys.dtype().code())
        .window(0)
        .scale(0);
  }

  private sn_cache_shape shape() {
    return shape(cache.keys(layer), 1, heads, q.columns(), q.columns(), out.columns());
  }

  @Override
  long workspace(Device device) {
    long[] bytes = new long[1];
    Natives.check(sinter.sn_attention_decode_workspace(device.handle().device, shape(), bytes));
    return bytes[0];
  }

  @Override
  boolean keepsWorkspace() {
    return true;
  }

  @Override
  Call bind(Place at) {
    sn_cache_shape shape = shape();
    Pointer lengths = cache.lengths().address();
    Pointer pq = q.address();
    Pointer pk = cache.keys(layer).address();
    Pointer pv = cache.values(layer).address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_attention_decode(
            stream, shape, lengths, pq, null, null, pk, pv, po, at.workspace());
  }

  /** Writes keys and values from the cache's first position on. */
  static final class Fill extends Operation {
    private final Tensor kv;
    private final KvCache cache;
    private final int layer;
    private final long heads;

    Fill(Tensor kv, KvCache cache, int layer, long heads) {
      super("cache_append", List.of(kv, cache.lengths()), List.of());
      this.kv = kv;
      this.cache = cache;
      this.layer = layer;
      this.heads = heads;
    }

    @Override
    Call bind(Place at) {
      Tensor keys = cache.keys(layer);
      long columns = kv.columns();
      sn_cache_shape shape = shape(keys, kv.size(1), heads, columns, columns, columns);
      Pointer lengths = cache.lengths().address();
      Pointer k = kv.address();
      Pointer v = kv.address(columns / 2);
      Pointer pk = keys.address();
      Pointer pv = cache.values(layer).address();
      return (stream, run) -> sinter.sn_cache_append(stream, shape, lengths, k, v, pk, pv);
    }
  }
}
