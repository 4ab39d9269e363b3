package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** Operations that end a forward pass. */
final class Loss {
  private Loss() {}

  /**
   * The cross-entropy of each row; in training the logits become their own gradient in the same
   * pass.
   */
  static final class CrossEntropy extends Operation {
    private final Tensor logits;
    private final Tensor targets;
    private final Tensor losses;
    private final Tensor dlogits;
    private final float gradientScale;

    /**
     * @param dlogits an alias of logits, or null in evaluation
     * @param gradientScale what each row's gradient is multiplied by
     */
    CrossEntropy(
        Tensor logits, Tensor targets, Tensor losses, Tensor dlogits, float gradientScale) {
      super(
          "cross_entropy",
          List.of(logits, targets),
          dlogits == null ? List.of(losses) : List.of(losses, dlogits));
      this.logits = logits;
      this.targets = targets;
      this.losses = losses;
      this.dlogits = dlogits;
      this.gradientScale = gradientScale;
    }

    @Override
    void differentiate(Backward b) {
      b.add(logits, dlogits);
    }

    @Override
    Call bind(Place at) {
      int dtype = logits.dtype().code();
      long rows = logits.rows();
      long vocabulary = logits.columns();
      Pointer pl = logits.address();
      Pointer pt = targets.address();
      Pointer po = losses.address();
      float scale = dlogits == null ? 0 : gradientScale;
      return (stream, run) ->
          sinter.sn_cross_entropy(stream, dtype, rows, vocabulary, vocabulary, pl, pt, scale, po);
    }
  }

  /** out = factor * the sum of x. Only reported, so it has no gradient. */
  static final class Sum extends Operation {
    private final Tensor x;
    private final Tensor out;
    private final float factor;

    Sum(Tensor x, float factor, Tensor out) {
      super("sum", List.of(x), List.of(out));
      this.x = x;
      this.factor = factor;
      this.out = out;
    }

    @Override
    void differentiate(Backward b) {}

    /** Bytes that the sum of so many elements needs. */
    static long workspace(Device device, long count) {
      long[] bytes = new long[1];
      Natives.check(sinter.sn_reduce_workspace(device.handle().device, count, bytes));
      return bytes[0];
    }

    @Override
    long workspace(Device device) {
      return workspace(device, x.elements());
    }

    @Override
    Call bind(Place at) {
      long count = x.elements();
      Pointer px = x.address();
      Pointer po = out.address();
      return (stream, run) -> sinter.sn_sum(stream, count, factor, px, 0, po, at.workspace());
    }
  }
}
