package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;
import dev.sinter.natives.sn_row_norm;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * out = x W + bias, with an activation or a residual sum in the same pass where asked. The backward
 * pass fuses the derivative of an activation that made x into the product that gives x's gradient.
 */
final class Linear extends Operation {
  private final Tensor x;
  private final Tensor weight;
  private final Tensor bias;
  private final Tensor residual;
  private final Tensor out;
  private final Tensor preActivation;
  private final Activation activation;
  private final boolean outByIn;
  private final RowNorm norm;

  /** As many rows a GPU normalises within the product. */
  private static final long FEW_ROWS = 8;

  /**
   * @param weight [in, out], or [out, in] where {@code outByIn}
   * @param bias [out] or null; an activation needs one
   * @param residual like out, or null
   * @param activation out = activation(x W + bias); null: none
   * @param preActivation receives x W + bias before the activation, for the backward pass; null in
   *     inference
   */
  Linear(
      Tensor x,
      Tensor weight,
      boolean outByIn,
      Tensor bias,
      Tensor residual,
      Activation activation,
      Tensor out,
      Tensor preActivation) {
    this(x, weight, outByIn, bias, residual, activation, out, preActivation, null);
  }

  /**
   * @param norm of the rows of x, in inference; null: none
   */
  private Linear(
      Tensor x,
      Tensor weight,
      boolean outByIn,
      Tensor bias,
      Tensor residual,
      Activation activation,
      Tensor out,
      Tensor preActivation,
      RowNorm norm) {
    super(
        "gemm",
        RowNorm.with(norm, present(x, weight, bias, residual)),
        present(out, preActivation, norm == null ? null : norm.out()));
    this.norm = norm;
    this.x = x;
    this.weight = weight;
    this.outByIn = outByIn;
    this.bias = bias;
    this.residual = residual;
    this.activation = activation;
    this.out = out;
    this.preActivation = preActivation;
  }

  /**
   * Whether this is the tensor after the activation: cheap to compute again from the one before it.
   */
  boolean isActivated(Tensor tensor) {
    return activation != null && tensor == out;
  }

  private long in() {
    return x.columns();
  }

  private long outs() {
    return out.columns();
  }

  @Override
  Tensor inPlace() {
    return residual;
  }

  @Override
  Operation behind(RowNorm before) {
    return x != before.out() || residual == x || x.rows() > FEW_ROWS
        ? null
        : new Linear(before.x(), weight, outByIn, bias, residual, activation, out, null, before);
  }

  @Override
  Gemm product() {
    return Gemm.plain(x.rows(), outs(), in(), false, outByIn, x.dtype(), out.dtype())
        .among(x.stride(), out.stride())
        .with(
            epilogue(bias, residual, activation),
            activation,
            bias != null,
            residual != null || preActivation != null);
  }

  /** What follows the product, of sn_epilogue. */
  static int epilogue(Tensor bias, Tensor residual, Activation activation) {
    return activation != null
        ? sinter.SN_EPILOGUE_BIAS_ACTIVATION
        : residual != null
            ? sinter.SN_EPILOGUE_BIAS_RESIDUAL
            : bias != null ? sinter.SN_EPILOGUE_BIAS : sinter.SN_EPILOGUE_NONE;
  }

  @Override
  Call bind(Place at) {
    sn_gemm_shape shape = product().shape(at.device());
    Pointer px = x.address();
    Pointer pw = weight.address();
    Pointer po = out.address();
    Pointer pb = bias == null ? null : bias.address();
    Pointer aux =
        activation != null
            ? (preActivation == null ? null : preActivation.address())
            : residual == null ? null : residual.address();
    sn_row_norm pn = norm == null ? null : norm.bound();
    return (stream, run) -> sinter.sn_gemm(stream, shape, pn, px, pw, po, pb, aux, at.workspace());
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    if (output == out && activation != null && b.keeps(preActivation)) {
      Tensor again = b.activation(out.name() + " again", out.shape());
      b.emit(new Elementwise.ActivationForward(activation, preActivation, again));
      return again;
    }
    Tensor again = b.activation(out.name() + " again", out.shape());
    Tensor preAgain =
        activation != null ? b.activation(preActivation.name() + " again", out.shape()) : null;
    Tensor residualSaved = residual == null ? null : b.saved(residual);
    b.emit(
        new Linear(
            b.saved(x),
            b.saved(weight),
            outByIn,
            bias,
            residualSaved,
            activation,
            again,
            preAgain));
    b.recomputed(out, again);
    if (activation != null) {
      b.recomputed(preActivation, preAgain);
    }
    return output == out ? again : preAgain;
  }

  @Override
  void differentiate(Backward b) {
    Tensor dout = activation != null ? preActivationGradient(b) : b.gradient(out);
    if (residual != null) {
      b.add(residual, dout);
    }
    if (b.trains(weight)) {
      Tensor input = b.saved(x);
      Tensor dweight = b.parameterGradient(weight);
      boolean first = b.first(weight);
      if (outByIn) {
        b.emit(new WeightGradient(dout, input, dweight, first));
      } else {
        b.emit(new WeightGradient(input, dout, dweight, first));
      }
    }
    if (bias != null && b.trains(bias)) {
      addBiasGradient(b, dout);
    }
    if (!b.wants(x)) {
      return;
    }
    Tensor dx = b.activation("d " + x.name(), x.shape());
    if (b.producer(x) instanceof Linear before && before.isActivated(x) && b.readOnce(x)) {
      Tensor pre = b.saved(before.preActivation);
      b.emit(new InputGradient(dout, b.saved(weight), outByIn, before.activation, pre, null, dx));
      b.add(before.preActivation, dx);
    } else {
      Tensor partial = b.takePartial(x);
      b.emit(new InputGradient(dout, b.saved(weight), outByIn, null, null, partial, dx));
      b.add(x, dx);
    }
  }

  /** The sum of dout's rows: where a layer norm writes dout, it adds them up in passing. */
  private void addBiasGradient(Backward b, Tensor dout) {
    Tensor dbias = b.parameterGradient(bias);
    boolean first = b.first(bias);
    if (b.writer(dout) instanceof LayerNorm.Gradient norm && norm.takesShift(first)) {
      b.replace(norm, norm.withShift(dbias));
    } else {
      b.emit(new BiasGradient(dout, dbias, first));
    }
  }

  private Tensor preActivationGradient(Backward b) {
    Tensor fused = b.gradient(preActivation);
    if (fused != null) {
      return fused;
    }
    Tensor dpre = b.activation("d " + preActivation.name(), out.shape());
    b.emit(
        new Elementwise.ActivationBackward(
            activation, b.saved(preActivation), b.gradient(out), dpre));
    return dpre;
  }

  /**
   * dx = dout W^T, times activation'(pre) where x came from an activation; or plus a part of it.
   */
  private static final class InputGradient extends Operation {
    private final Tensor dout;
    private final Tensor weight;
    private final boolean outByIn;
    private final Activation activation;
    private final Tensor pre;
    private final Tensor partial;
    private final Tensor dx;

    InputGradient(
        Tensor dout,
        Tensor weight,
        boolean outByIn,
        Activation activation,
        Tensor pre,
        Tensor partial,
        Tensor dx) {
      super("gemm", present(dout, weight, pre, partial), List.of(dx));
      this.dout = dout;
      this.weight = weight;
      this.outByIn = outByIn;
      this.activation = activation;
      this.pre = pre;
      this.partial = partial;
      this.dx = dx;
    }

    @Override
    Tensor inPlace() {
      return partial;
    }

    @Override
    Gemm product() {
      Gemm plain =
          Gemm.plain(
                  dout.rows(),
                  dx.columns(),
                  dout.columns(),
                  false,
                  !outByIn,
                  dout.dtype(),
                  dx.dtype())
              .among(dout.stride(), dx.stride());
      if (pre != null) {
        return plain.with(sinter.SN_EPILOGUE_ACTIVATION_BACKWARD, activation, false, true);
      }
      return partial == null
          ? plain
          : plain.with(sinter.SN_EPILOGUE_BIAS_RESIDUAL, null, false, true);
    }

    @Override
    Call bind(Place at) {
      sn_gemm_shape shape = product().shape(at.device());
      Pointer pd = dout.address();
      Pointer pw = weight.address();
      Pointer px = dx.address();
      Tensor aux = pre == null ? partial : pre;
      Pointer pp = aux == null ? null : aux.address();
      return (stream, run) ->
          sinter.sn_gemm(stream, shape, null, pd, pw, px, null, pp, at.workspace());
    }
  }

  /** dw = a^T b in fp32, summed over the rows. */
  private static final class WeightGradient extends Operation {
    private final Tensor a;
    private final Tensor b;
    private final Tensor dweight;
    private final boolean first;

    WeightGradient(Tensor a, Tensor b, Tensor dweight, boolean first) {
      super("gemm", List.of(a, b), List.of(dweight));
      this.a = a;
      this.b = b;
      this.dweight = dweight;
      this.first = first;
    }

    @Override
    Gemm product() {
      return Gemm.plain(a.columns(), b.columns(), a.rows(), true, false, a.dtype(), DType.F32)
          .among(a.stride(), dweight.stride());
    }

    @Override
    Call bind(Place at) {
      sn_gemm_shape overwrite = product().shape(at.device()).accumulate(first ? 0 : 1);
      sn_gemm_shape accumulate = product().shape(at.device()).accumulate(1);
      Pointer pa = a.address();
      Pointer pb = b.address();
      Pointer pw = dweight.address();
      return (stream, run) ->
          sinter.sn_gemm(
              stream,
              run.accumulating ? accumulate : overwrite,
              null,
              pa,
              pb,
              pw,
              null,
              null,
              at.workspace());
    }
  }

  /** dbias = the sum of dout's rows. */
  private static final class BiasGradient extends Operation {
    private final Tensor dout;
    private final Tensor dbias;
    private final boolean first;

    BiasGradient(Tensor dout, Tensor dbias, boolean first) {
      super("bias_backward", List.of(dout), List.of(dbias));
      this.dout = dout;
      this.dbias = dbias;
      this.first = first;
    }

    @Override
    boolean heedsStrides() {
      return true;
    }

    @Override
    Call bind(Place at) {
      int dtype = dout.dtype().code();
      long rows = dout.rows();
      long columns = dout.columns();
      long stride = dout.stride();
      Pointer pd = dout.address();
      Pointer pb = dbias.address();
      boolean overwrite = first;
      return (stream, run) ->
          sinter.sn_bias_backward(
              stream, dtype, rows, columns, stride, pd, overwrite && !run.accumulating ? 0 : 1, pb);
    }
  }
}
