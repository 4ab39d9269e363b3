package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_paged_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Writes new keys and values into their pages, then lets each row see those of its sequence up to
 * itself.
 */
final class PagedAttention extends Operation {
  private final Tensor qkv;
  private final Tensor slots;
  private final Tensor positions;
  private final PagedCache cache;
  private final int layer;
  private final long heads;
  private final long window;
  private final Tensor out;

  /**
   * @param qkv [rows, 1, (heads + 2 kvHeads) headSize]
   * @param slots int32 [rows]; -1: a row of no sequence
   * @param positions int32 [rows]
   * @param out [rows, 1, heads headSize]
   */
  PagedAttention(
      Tensor qkv,
      Tensor slots,
      Tensor positions,
      PagedCache cache,
      int layer,
      long heads,
      long window,
      Tensor out) {
    super("paged_attention", List.of(qkv, slots, positions, cache.tables().tensor()), List.of(out));
    this.qkv = qkv;
    this.slots = slots;
    this.positions = positions;
    this.cache = cache;
    this.layer = layer;
    this.heads = heads;
    this.window = window;
    this.out = out;
  }

  private sn_paged_shape shape() {
    Tensor keys = cache.keys(layer);
    Tensor tables = cache.tables().tensor();
    return new sn_paged_shape()
        .rows(qkv.rows())
        .sequences(tables.size(0))
        .heads(heads)
        .kv_heads(keys.size(1))
        .head_size(keys.size(3))
        .pages(keys.size(0))
        .page_size(keys.size(2))
        .table_stride(tables.size(1))
        .q_stride(qkv.columns())
        .k_stride(qkv.columns())
        .v_stride(qkv.columns())
        .out_stride(out.columns())
        .dtype(qkv.dtype().code())
        .cache_dtype(keys.dtype().code())
        .window(window)
        .scale(0);
  }

  @Override
  long workspace(Device device) {
    long[] bytes = new long[1];
    Natives.check(sinter.sn_paged_attention_workspace(device.handle().device, shape(), bytes));
    return bytes[0];
  }

  @Override
  boolean keepsWorkspace() {
    return true;
  }

  @Override
  Call bind(Place at) {
    Tensor keys = cache.keys(layer);
    long headSize = keys.size(3);
    sn_paged_shape shape = shape();
    Pointer ps = slots.address();
    Pointer pp = positions.address();
    Pointer pt = cache.tables().tensor().address();
    Pointer q = qkv.address();
    Pointer k = qkv.address(heads * headSize);
    Pointer v = qkv.address((heads + keys.size(1)) * headSize);
    Pointer pk = keys.address();
    Pointer pv = cache.values(layer).address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_paged_attention(stream, shape, ps, pp, pt, q, k, v, pk, pv, po, at.workspace());
  }
}
