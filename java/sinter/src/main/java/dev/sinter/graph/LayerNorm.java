package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Layer norm over each row; the backward pass adds the gradient that reaches the input on other
 * ways.
 */
final class LayerNorm extends Operation {
  private final Tensor x;
  private final Tensor gain;
  private final Tensor bias;
  private final Tensor out;
  private final Tensor mean;
  private final Tensor rstd;
  private final float epsilon;

  /**
   * @param bias or null
   * @param mean and {@code rstd}: fp32 of a value a row, kept for the backward pass; both null in
   *     inference
   */
  LayerNorm(
      Tensor x, Tensor gain, Tensor bias, float epsilon, Tensor out, Tensor mean, Tensor rstd) {
    super("layer_norm_forward", present(x, gain, bias), present(out, mean, rstd));
    this.x = x;
    this.gain = gain;
    this.bias = bias;
    this.epsilon = epsilon;
    this.out = out;
    this.mean = mean;
    this.rstd = rstd;
  }

  /** As part of a product; without what the backward pass needs. */
  RowNorm ofRows() {
    return new RowNorm(x, gain, bias, epsilon, out);
  }

  boolean isOutput(Tensor tensor) {
    return tensor == out;
  }

  @Override
  void differentiate(Backward b) {
    Tensor dx = b.activation("d " + x.name(), x.shape());
    b.emit(new Gradient(this, b, b.saved(x), b.gradient(out), b.takePartial(x), dx));
    b.add(x, dx);
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    boolean statistics = !b.keeps(mean);
    Tensor meanAgain =
        statistics ? Tensor.activation(mean.name() + " again", DType.F32, mean.shape()) : null;
    Tensor rstdAgain =
        statistics ? Tensor.activation(rstd.name() + " again", DType.F32, rstd.shape()) : null;
    b.emit(new LayerNorm(b.saved(x), gain, bias, epsilon, again, meanAgain, rstdAgain));
    b.recomputed(out, again);
    if (statistics) {
      b.recomputed(mean, meanAgain);
      b.recomputed(rstd, rstdAgain);
    }
    return output == out ? again : output == mean ? meanAgain : rstdAgain;
  }

  @Override
  Call bind(Place at) {
    int dtype = x.dtype().code();
    long rows = x.rows();
    long width = x.columns();
    Pointer px = x.address();
    Pointer pg = gain.address();
    Pointer pb = bias == null ? null : bias.address();
    Pointer po = out.address();
    Pointer pm = mean == null ? null : mean.address();
    Pointer pr = rstd == null ? null : rstd.address();
    return (stream, run) ->
        sinter.sn_layer_norm_forward(
            stream, dtype, rows, width, epsilon, px, null, pg, pb, null, po, pm, pr);
  }

  /** The gradient of the input, and the sums over the rows that come with it. */
  static final class Gradient extends Operation {
    private final LayerNorm forward;
    private final Tensor x;
    private final Tensor mean;
    private final Tensor rstd;
    private final Tensor dout;
    private final Tensor dresidual;
    private final Tensor dx;
    private final Tensor dgain;
    private final Tensor dbias;
    private final Tensor dshift;
    private final boolean first;

    Gradient(LayerNorm forward, Backward b, Tensor x, Tensor dout, Tensor dresidual, Tensor dx) {
      this(
          forward,
          x,
          b.saved(forward.mean),
          b.saved(forward.rstd),
          dout,
          dresidual,
          dx,
          b.parameterGradient(forward.gain),
          forward.bias == null ? null : b.parameterGradient(forward.bias),
          null,
          b.first(forward.gain));
    }

    private Gradient(
        LayerNorm forward,
        Tensor x,
        Tensor mean,
        Tensor rstd,
        Tensor dout,
        Tensor dresidual,
        Tensor dx,
        Tensor dgain,
        Tensor dbias,
        Tensor dshift,
        boolean first) {
      super(
          "layer_norm_backward",
          present(x, forward.gain, mean, rstd, dout, dresidual),
          present(dx, dgain, dbias, dshift));
      this.forward = forward;
      this.x = x;
      this.mean = mean;
      this.rstd = rstd;
      this.dout = dout;
      this.dresidual = dresidual;
      this.dx = dx;
      this.dgain = dgain;
      this.dbias = dbias;
      this.dshift = dshift;
      this.first = first;
    }

    /**
     * Whether it can add up dx's rows as well: it overwrites or adds, and does the same with all
     * sums.
     */
    boolean takesShift(boolean firstTime) {
      return dshift == null && first == firstTime;
    }

    /** The same with the gradient of a bias that was added to x. */
    Gradient withShift(Tensor shift) {
      return new Gradient(forward, x, mean, rstd, dout, dresidual, dx, dgain, dbias, shift, first);
    }

    @Override
    Tensor inPlace() {
      return dresidual == null ? dout : dresidual;
    }

    @Override
    long workspace(Device device) {
      long[] bytes = new long[1];
      Natives.check(
          sinter.sn_layer_norm_backward_workspace(
              device.handle().device, x.rows(), x.columns(), bytes));
      return bytes[0];
    }

    @Override
    Call bind(Place at) {
      int dtype = x.dtype().code();
      long rows = x.rows();
      long width = x.columns();
      Pointer px = x.address();
      Pointer pg = forward.gain.address();
      Pointer pm = mean.address();
      Pointer pr = rstd.address();
      Pointer pdout = dout.address();
      Pointer pdresidual = dresidual == null ? null : dresidual.address();
      Pointer pdx = dx.address();
      Pointer pdgain = dgain == null ? null : dgain.address();
      Pointer pdbias = dbias == null ? null : dbias.address();
      Pointer pdshift = dshift == null ? null : dshift.address();
      boolean overwrite = first;
      return (stream, run) ->
          sinter.sn_layer_norm_backward(
              stream,
              dtype,
              rows,
              width,
              px,
              pg,
              pm,
              pr,
              pdout,
              pdresidual,
              overwrite && !run.accumulating ? 0 : 1,
              pdx,
              pdgain,
              pdbias,
              pdshift,
              at.workspace());
    }
  }

  static List<Tensor> statistics(String name, long rows) {
    return List.of(
        Tensor.activation(name + " mean", DType.F32, rows),
        Tensor.activation(name + " rstd", DType.F32, rows));
  }
}
