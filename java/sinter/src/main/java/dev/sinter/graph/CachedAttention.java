package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_cache_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Writes new keys and values into the cache, then lets the new queries see all of it up to
 * themselves.
 */
final class CachedAttention extends Operation {
  private final Tensor qkv;
  private final Tensor out;
  private final KvCache cache;
  private final int layer;
  private final long heads;
  private final long window;

  /**
   * @param qkv [batch, length, (heads + 2 kvHeads) headSize]
   * @param out [batch, length, heads headSize]
   */
  CachedAttention(Tensor qkv, KvCache cache, int layer, long heads, long window, Tensor out) {
    super("attention_decode", List.of(qkv, cache.lengths()), List.of(out));
    this.qkv = qkv;
    this.cache = cache;
    this.layer = layer;
    this.heads = heads;
    this.window = window;
    this.out = out;
  }

  private sn_cache_shape shape() {
    Tensor keys = cache.keys(layer);
    return new sn_cache_shape()
        .batch(qkv.size(0))
        .queries(qkv.size(1))
        .heads(heads)
        .kv_heads(keys.size(1))
        .head_size(keys.size(3))
        .cache_capacity(keys.size(2))
        .q_stride(qkv.columns())
        .k_stride(qkv.columns())
        .v_stride(qkv.columns())
        .out_stride(out.columns())
        .dtype(out.dtype().code())
        .window(window)
        .scale(0);
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
    Tensor keys = cache.keys(layer);
    Tensor values = cache.values(layer);
    long kvHeads = keys.size(1);
    long headSize = keys.size(3);
    sn_cache_shape shape = shape();
    Pointer lengths = cache.lengths().address();
    Pointer q = qkv.address();
    Pointer k = qkv.address(heads * headSize);
    Pointer v = qkv.address((heads + kvHeads) * headSize);
    Pointer pk = keys.address();
    Pointer pv = values.address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_attention_decode(stream, shape, lengths, q, k, v, pk, pv, po, at.workspace());
  }
}
