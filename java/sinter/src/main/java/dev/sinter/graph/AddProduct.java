package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** Adds x W^T to some columns of a tensor, in place: the second half of a low-rank update. */
final class AddProduct extends Operation {
  private final Tensor base;
  private final Tensor x;
  private final Tensor weight;
  private final long column;
  private final Tensor out;

  /**
   * @param base [.., width]; nothing reads it after this
   * @param x [.., rank]
   * @param weight a parameter [columns, rank]
   * @param column the first of base's that it is added to
   * @param out an alias of base
   */
  AddProduct(Tensor base, Tensor x, Tensor weight, long column, Tensor out) {
    super("gemm", List.of(base, x, weight), List.of(out));
    this.base = base;
    this.x = x;
    this.weight = weight;
    this.column = column;
    this.out = out;
  }

  @Override
  Gemm product() {
    return Gemm.plain(x.rows(), weight.size(0), x.columns(), false, true, x.dtype(), out.dtype())
        .with(sinter.SN_EPILOGUE_BIAS_RESIDUAL, null, false, true)
        .among(x.columns(), out.stride());
  }

  @Override
  Call bind(Place at) {
    sn_gemm_shape shape = product().shape(at.device());
    Pointer px = x.address();
    Pointer pw = weight.address();
    Pointer po = out.address(column);
    return (stream, run) ->
        sinter.sn_gemm(stream, shape, null, px, pw, po, null, po, at.workspace());
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = Tensor.alias(out.name() + " again", b.saved(base));
    b.emit(new AddProduct(b.saved(base), b.saved(x), weight, column, again));
    return again;
  }

  @Override
  void differentiate(Backward b) {
    Tensor dout = b.gradient(out);
    b.add(base, dout);
    if (b.trains(weight)) {
      Tensor dweight = b.parameterGradient(weight);
      b.emit(new WeightGradient(dout, column, b.saved(x), dweight, b.first(weight)));
    }
    if (b.wants(x)) {
      Tensor dx = b.activation("d " + x.name(), x.shape());
      b.emit(new InputGradient(dout, column, weight, dx));
      b.add(x, dx);
    }
  }

  /** dx = columns of dout times W. */
  private static final class InputGradient extends Operation {
    private final Tensor dout;
    private final long column;
    private final Tensor weight;
    private final Tensor dx;

    InputGradient(Tensor dout, long column, Tensor weight, Tensor dx) {
      super("gemm", List.of(dout, weight), List.of(dx));
      this.dout = dout;
      this.column = column;
      this.weight = weight;
      this.dx = dx;
    }

    @Override
    Gemm product() {
      return Gemm.plain(
              dx.rows(), dx.columns(), weight.size(0), false, false, dout.dtype(), dx.dtype())
          .among(dout.stride(), dx.columns());
    }

    @Override
    Call bind(Place at) {
      sn_gemm_shape shape = product().shape(at.device());
      Pointer pd = dout.address(column);
      Pointer pw = weight.address();
      Pointer px = dx.address();
      return (stream, run) ->
          sinter.sn_gemm(stream, shape, null, pd, pw, px, null, null, at.workspace());
    }
  }

  /** dW = columns of dout, transposed, times x; summed over the rows in fp32. */
  private static final class WeightGradient extends Operation {
    private final Tensor dout;
    private final long column;
    private final Tensor x;
    private final Tensor dweight;
    private final boolean first;

    WeightGradient(Tensor dout, long column, Tensor x, Tensor dweight, boolean first) {
      super("gemm", List.of(dout, x), List.of(dweight));
      this.dout = dout;
      this.column = column;
      this.x = x;
      this.dweight = dweight;
      this.first = first;
    }

    @Override
    Gemm product() {
      return Gemm.plain(
              dweight.size(0), x.columns(), x.rows(), true, false, dout.dtype(), DType.F32)
          .among(dout.stride(), x.columns());
    }

    @Override
    Call bind(Place at) {
      sn_gemm_shape overwrite = product().shape(at.device()).accumulate(first ? 0 : 1);
      sn_gemm_shape accumulate = product().shape(at.device()).accumulate(1);
      Pointer pd = dout.address(column);
      Pointer px = x.address();
      Pointer pw = dweight.address();
      return (stream, run) ->
          sinter.sn_gemm(
              stream,
              run.accumulating ? accumulate : overwrite,
              null,
              pd,
              px,
              pw,
              null,
              null,
              at.workspace());
    }
  }
}
