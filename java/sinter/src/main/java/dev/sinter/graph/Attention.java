package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_attention_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Attention of queries over keys and values that stand in columns of tensors [batch, length,
 * columns].
 */
final class Attention extends Operation {
  /** Columns {@code offset ..} of a tensor: where queries, keys or values stand. */
  record Columns(Tensor of, long offset) {
    Pointer address() {
      return of.address(offset);
    }
  }

  /** What is not a tensor. */
  record Settings(
      long batch,
      long heads,
      long kvHeads,
      long headSize,
      Mask mask,
      float dropout,
      long seed,
      long number) {}

  private final Columns q;
  private final Columns k;
  private final Columns v;
  private final Settings settings;
  private final Tensor out;
  private final Tensor lse;

  /**
   * @param lse fp32 [batch, heads, queries], kept for the backward pass; null in inference
   */
  Attention(Columns q, Columns k, Columns v, Settings settings, Tensor out, Tensor lse) {
    super(
        "attention_forward",
        distinct(q.of, k.of, v.of, lengths(settings), starts(settings)),
        present(out, lse));
    this.q = q;
    this.k = k;
    this.v = v;
    this.settings = settings;
    this.out = out;
    this.lse = lse;
  }

  private static List<Tensor> distinct(Tensor... tensors) {
    return present(tensors).stream().distinct().toList();
  }

  private static Tensor lengths(Settings settings) {
    return settings.mask.lengths();
  }

  private static Tensor starts(Settings settings) {
    return settings.mask.starts();
  }

  /** The shape, with the addresses of lengths and starts once they have them. */
  private sn_attention_shape boundShape(Place at) {
    sn_attention_shape shape = shape();
    shape.key().clock(at.clock());
    Tensor lengths = lengths(settings);
    Tensor starts = starts(settings);
    return shape
        .key_lengths(lengths == null ? null : lengths.address())
        .key_starts(starts == null ? null : starts.address());
  }

  private sn_attention_shape shape() {
    sn_attention_shape shape = new sn_attention_shape();
    shape
        .batch(settings.batch)
        .queries(q.of.rows() / settings.batch)
        .keys(k.of.rows() / settings.batch)
        .heads(settings.heads)
        .kv_heads(settings.kvHeads)
        .head_size(settings.headSize)
        .q_stride(q.of.columns())
        .k_stride(k.of.columns())
        .v_stride(v.of.columns())
        .out_stride(out.columns())
        .dtype(out.dtype().code())
        .causal(settings.mask.causal() ? 1 : 0)
        .window(settings.mask.window())
        .scale(0)
        .dropout(settings.dropout);
    shape.key().seed(settings.seed).step(0).tensor(settings.number);
    return shape;
  }

  /**
   * Queries times keys, and what that gives times values, of the keys that the mask lets through.
   */
  @Override
  double arithmetic() {
    double queries = q.of.rows();
    double seen = settings.mask.seen(k.of.rows() / settings.batch);
    return 2 * 2 * queries * seen * settings.heads * settings.headSize;
  }

  @Override
  void differentiate(Backward b) {
    Tensor dq = gradientOf(q.of, b);
    Tensor dk = k.of == q.of ? dq : gradientOf(k.of, b);
    Tensor dv = v.of == q.of ? dq : v.of == k.of ? dk : gradientOf(v.of, b);
    b.emit(
        new Gradient(
            this,
            new Columns(b.saved(q.of), q.offset),
            new Columns(b.saved(k.of), k.offset),
            new Columns(b.saved(v.of), v.offset),
            b.saved(out),
            b.saved(lse),
            b.gradient(out),
            new Columns(dq, q.offset),
            new Columns(dk, k.offset),
            new Columns(dv, v.offset)));
    b.add(q.of, dq);
    if (k.of != q.of) {
      b.add(k.of, dk);
    }
    if (v.of != q.of && v.of != k.of) {
      b.add(v.of, dv);
    }
  }

  private static Tensor gradientOf(Tensor tensor, Backward b) {
    return b.activation("d " + tensor.name(), tensor.shape());
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    Tensor lseAgain = Tensor.activation(lse.name() + " again", DType.F32, lse.shape());
    b.emit(
        new Attention(
            new Columns(b.saved(q.of), q.offset),
            new Columns(b.saved(k.of), k.offset),
            new Columns(b.saved(v.of), v.offset),
            settings,
            again,
            lseAgain));
    b.recomputed(out, again);
    b.recomputed(lse, lseAgain);
    return output == out ? again : lseAgain;
  }

  @Override
  Call bind(Place at) {
    sn_attention_shape shape = boundShape(at);
    Pointer pq = q.address();
    Pointer pk = k.address();
    Pointer pv = v.address();
    Pointer po = out.address();
    Pointer pl = lse == null ? null : lse.address();
    return (stream, run) -> sinter.sn_attention_forward(stream, shape, pq, pk, pv, po, pl);
  }

  private static final class Gradient extends Operation {
    private final Attention forward;
    private final Columns q;
    private final Columns k;
    private final Columns v;
    private final Tensor out;
    private final Tensor lse;
    private final Tensor dout;
    private final Columns dq;
    private final Columns dk;
    private final Columns dv;

    Gradient(
        Attention forward,
        Columns q,
        Columns k,
        Columns v,
        Tensor out,
        Tensor lse,
        Tensor dout,
        Columns dq,
        Columns dk,
        Columns dv) {
      super(
          "attention_backward",
          distinct(
              q.of,
              k.of,
              v.of,
              out,
              lse,
              dout,
              lengths(forward.settings),
              starts(forward.settings)),
          distinct(dq.of, dk.of, dv.of));
      this.forward = forward;
      this.q = q;
      this.k = k;
      this.v = v;
      this.out = out;
      this.lse = lse;
      this.dout = dout;
      this.dq = dq;
      this.dk = dk;
      this.dv = dv;
    }

    /**
     * Of each of the two products the gradients of both factors; that scores are computed again is
     * no work.
     */
    @Override
    double arithmetic() {
      return 2 * forward.arithmetic();
    }

    @Override
    long workspace(Device device) {
      long[] bytes = new long[1];
      Natives.check(
          sinter.sn_attention_backward_workspace(device.handle().device, forward.shape(), bytes));
      return bytes[0];
    }

    @Override
    Call bind(Place at) {
      sn_attention_shape shape = forward.boundShape(at);
      Pointer pq = q.address();
      Pointer pk = k.address();
      Pointer pv = v.address();
      Pointer po = out.address();
      Pointer pl = lse.address();
      Pointer pdout = dout.address();
      Pointer pdq = dq.address();
      Pointer pdk = dk.address();
      Pointer pdv = dv.address();
      return (stream, run) ->
          sinter.sn_attention_backward(
              stream, shape, pq, pk, pv, po, pl, pdout, pdq, pdk, pdv, at.workspace());
    }
  }
}
