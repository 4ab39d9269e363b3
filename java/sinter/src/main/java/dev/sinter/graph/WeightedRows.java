package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** A weighted sum of each sequence's rows: their mean where the weights say so. */
final class WeightedRows extends Operation {
  private final Tensor weights;
  private final Tensor x;
  private final Tensor out;

  /**
   * @param weights [batch, length], of x's dtype
   * @param x [batch, length, width]
   * @param out [batch, width]
   */
  WeightedRows(Tensor weights, Tensor x, Tensor out) {
    super("gemm", List.of(weights, x), List.of(out));
    this.weights = weights;
    this.x = x;
    this.out = out;
  }

  private static sn_gemm_shape shape(long batch, long m, long k, long n, Tensor of) {
    int code = of.dtype().code();
    return new sn_gemm_shape()
        .batch(batch)
        .m(m)
        .k(k)
        .n(n)
        .a_stride(k)
        .b_stride(n)
        .c_stride(n)
        .a_batch(m * k)
        .b_batch(k * n)
        .c_batch(m * n)
        .transpose_a(0)
        .transpose_b(0)
        .dtype(code)
        .c_dtype(code)
        .epilogue(sinter.SN_EPILOGUE_NONE)
        .activation(0)
        .accumulate(0)
        .plan(0);
  }

  private static long bytes(Device device, sn_gemm_shape shape) {
    long[] bytes = new long[1];
    Natives.check(sinter.sn_gemm_workspace(device.handle().device, shape, bytes));
    return bytes[0];
  }

  private sn_gemm_shape shape() {
    return shape(x.size(0), 1, x.size(1), x.columns(), x);
  }

  @Override
  long workspace(Device device) {
    return bytes(device, shape());
  }

  @Override
  void differentiate(Backward b) {
    Tensor dx = b.activation("d " + x.name(), x.shape());
    b.emit(new Gradient(b.saved(weights), b.gradient(out), dx));
    b.add(x, dx);
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    b.emit(new WeightedRows(b.saved(weights), b.saved(x), again));
    return again;
  }

  @Override
  Call bind(Place at) {
    sn_gemm_shape shape = shape();
    Pointer pw = weights.address();
    Pointer px = x.address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_gemm(stream, shape, null, pw, px, po, null, null, at.workspace());
  }

  /** dx = weights^T dout: each row of a sequence gets its share of the sequence's gradient. */
  private static final class Gradient extends Operation {
    private final Tensor weights;
    private final Tensor dout;
    private final Tensor dx;

    Gradient(Tensor weights, Tensor dout, Tensor dx) {
      super("gemm", List.of(weights, dout), List.of(dx));
      this.weights = weights;
      this.dout = dout;
      this.dx = dx;
    }

    private sn_gemm_shape shape() {
      return WeightedRows.shape(dx.size(0), dx.size(1), 1, dx.columns(), dx);
    }

    @Override
    long workspace(Device device) {
      return bytes(device, shape());
    }

    @Override
    Call bind(Place at) {
      sn_gemm_shape shape = shape();
      Pointer pw = weights.address();
      Pointer pd = dout.address();
      Pointer px = dx.address();
      return (stream, run) ->
          sinter.sn_gemm(stream, shape, null, pw, pd, px, null, null, at.workspace());
    }
  }
}
