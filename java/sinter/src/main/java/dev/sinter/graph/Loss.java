package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** Operations that end a forward pass. */
final class Loss {
  private Loss() {}

  /** What gradients begin at: in training its input becomes its own gradient. */
  private abstract static class InPlace extends Operation {
    private final Tensor input;
    private final Tensor gradient;
    private final float gradientScale;

    /**
     * @param weights or null
     * @param gradient an alias of the input, or null in evaluation
     */
    InPlace(
        String name,
        Tensor input,
        Tensor targets,
        Tensor weights,
        Tensor losses,
        Tensor gradient,
        float gradientScale) {
      super(name, present(input, targets, weights), present(losses, gradient));
      this.input = input;
      this.gradient = gradient;
      this.gradientScale = gradientScale;
    }

    /** What the kernel multiplies the gradient by; 0 where none is wanted. */
    final float scale() {
      return gradient == null ? 0 : gradientScale;
    }

    @Override
    final boolean isRoot() {
      return true;
    }

    @Override
    final void differentiate(Backward b) {
      b.add(input, gradient);
    }
  }

  /**
   * The cross-entropy of each row; in training the logits become their own gradient in the same
   * pass.
   */
  static final class CrossEntropy extends InPlace {
    private final Tensor logits;
    private final Tensor targets;
    private final Tensor weights;
    private final float smoothing;
    private final Tensor losses;

    /**
     * @param weights of the rows, fp32, or null
     * @param smoothing the share of each target that all columns have alike
     * @param dlogits an alias of logits, or null in evaluation
     * @param gradientScale what each row's gradient is multiplied by
     */
    CrossEntropy(
        Tensor logits,
        Tensor targets,
        Tensor weights,
        float smoothing,
        Tensor losses,
        Tensor dlogits,
        float gradientScale) {
      super("cross_entropy", logits, targets, weights, losses, dlogits, gradientScale);
      this.logits = logits;
      this.targets = targets;
      this.weights = weights;
      this.smoothing = smoothing;
      this.losses = losses;
    }

    @Override
    boolean heedsStrides() {
      return true;
    }

    @Override
    Call bind(Place at) {
      int dtype = logits.dtype().code();
      long rows = logits.rows();
      long vocabulary = logits.columns();
      long stride = logits.stride();
      Pointer pl = logits.address();
      Pointer pt = targets.address();
      Pointer pw = weights == null ? null : weights.address();
      Pointer po = losses.address();
      float scale = scale();
      return (stream, run) ->
          sinter.sn_cross_entropy(
              stream, dtype, rows, vocabulary, stride, smoothing, pl, pt, pw, scale, po);
    }
  }

  /**
   * The negative log-likelihood of each row's target, whose gradient comes from elsewhere: {@link
   * CallersGradient}. In the backward pass the logits' gradient takes their place.
   */
  static final class NegativeLogLikelihood extends Operation {
    private final Tensor logits;
    private final Tensor targets;
    private final Tensor out;

    NegativeLogLikelihood(Tensor logits, Tensor targets, Tensor out) {
      super("cross_entropy", List.of(logits, targets), List.of(out));
      this.logits = logits;
      this.targets = targets;
      this.out = out;
    }

    @Override
    void differentiate(Backward b) {
      Tensor dlogits = Tensor.alias("d logits", logits);
      Tensor scratch = Tensor.activation("weighted " + out.name(), DType.F32, out.shape());
      b.emit(new CrossEntropy(logits, targets, b.gradient(out), 0, scratch, dlogits, 1));
      b.add(logits, dlogits);
    }

    @Override
    boolean heedsStrides() {
      return true;
    }

    @Override
    Call bind(Place at) {
      int dtype = logits.dtype().code();
      long rows = logits.rows();
      long vocabulary = logits.columns();
      long stride = logits.stride();
      Pointer pl = logits.address();
      Pointer pt = targets.address();
      Pointer po = out.address();
      return (stream, run) ->
          sinter.sn_cross_entropy(stream, dtype, rows, vocabulary, stride, 0, pl, pt, null, 0, po);
    }
  }

  /**
   * Where the caller takes over: it computes the loss of x, and the gradient, between two halves.
   */
  static final class CallersGradient extends Operation {
    private final Tensor x;
    private final Tensor gradient;

    CallersGradient(Tensor x, Tensor gradient) {
      super("callers_gradient", List.of(x), List.of());
      this.x = x;
      this.gradient = gradient;
    }

    @Override
    boolean isRoot() {
      return true;
    }

    @Override
    void differentiate(Backward b) {
      b.add(x, gradient);
    }

    @Override
    Call bind(Place at) {
      return (stream, run) -> sinter.SN_OK;
    }
  }

  /** The loss of each number by itself; in training the numbers become their own gradient. */
  static final class ElementLoss extends InPlace {
    private final int error;
    private final Tensor x;
    private final Tensor targets;
    private final Tensor weights;
    private final Tensor losses;

    /**
     * @param error of sn_error
     * @param weights of the numbers, fp32, or null
     * @param dx an alias of x, or null in evaluation
     */
    ElementLoss(
        int error,
        Tensor x,
        Tensor targets,
        Tensor weights,
        Tensor losses,
        Tensor dx,
        float gradientScale) {
      super("element_loss", x, targets, weights, losses, dx, gradientScale);
      this.error = error;
      this.x = x;
      this.targets = targets;
      this.weights = weights;
      this.losses = losses;
    }

    @Override
    Call bind(Place at) {
      int dtype = x.dtype().code();
      long count = x.elements();
      Pointer px = x.address();
      Pointer pt = targets.address();
      Pointer pw = weights == null ? null : weights.address();
      Pointer po = losses.address();
      float scale = scale();
      return (stream, run) ->
          sinter.sn_element_loss(stream, error, dtype, count, px, pt, pw, scale, po);
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
