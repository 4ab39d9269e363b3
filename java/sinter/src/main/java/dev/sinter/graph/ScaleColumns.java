package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** out[i, j] = factor * x[i, j] * scale[j]. */
final class ScaleColumns extends Operation {
  private final Tensor x;
  private final Tensor scale;
  private final float factor;
  private final Tensor out;

  /**
   * @param scale a parameter of as many elements as a row has, or null for ones
   */
  ScaleColumns(Tensor x, Tensor scale, float factor, Tensor out) {
    super("scale_columns", present(x, scale), List.of(out));
    this.x = x;
    this.scale = scale;
    this.factor = factor;
    this.out = out;
  }

  @Override
  Tensor inPlace() {
    return x;
  }

  @Override
  void differentiate(Backward b) {
    Tensor dout = b.gradient(out);
    if (scale != null && b.trains(scale)) {
      b.emit(
          new ScaleGradient(b.saved(x), dout, factor, b.parameterGradient(scale), b.first(scale)));
    }
    if (b.wants(x)) {
      Tensor dx = b.activation("d " + x.name(), x.shape());
      b.emit(new ScaleColumns(dout, scale, factor, dx));
      b.add(x, dx);
    }
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    b.emit(new ScaleColumns(b.saved(x), scale, factor, again));
    return again;
  }

  @Override
  Call bind(Place at) {
    int dtype = out.dtype().code();
    long rows = out.rows();
    long columns = out.columns();
    Pointer px = x.address();
    Pointer ps = scale == null ? null : scale.address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_scale_columns(stream, dtype, rows, columns, factor, px, ps, po);
  }

  /** dscale[j] = factor * the sum over rows of x[i, j] dout[i, j]. */
  private static final class ScaleGradient extends Operation {
    private final Tensor x;
    private final Tensor dout;
    private final float factor;
    private final Tensor dscale;
    private final boolean first;

    ScaleGradient(Tensor x, Tensor dout, float factor, Tensor dscale, boolean first) {
      super("scale_columns_backward", List.of(x, dout), List.of(dscale));
      this.x = x;
      this.dout = dout;
      this.factor = factor;
      this.dscale = dscale;
      this.first = first;
    }

    @Override
    Call bind(Place at) {
      int dtype = x.dtype().code();
      long rows = x.rows();
      long columns = x.columns();
      Pointer px = x.address();
      Pointer pd = dout.address();
      Pointer ps = dscale.address();
      boolean overwrite = first;
      return (stream, run) ->
          sinter.sn_scale_columns_backward(
              stream,
              dtype,
              rows,
              columns,
              factor,
              px,
              pd,
              overwrite && !run.accumulating ? 0 : 1,
              ps);
    }
  }
}
