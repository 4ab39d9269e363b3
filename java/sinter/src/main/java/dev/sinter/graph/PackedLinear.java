package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_linear_shape;
import dev.sinter.natives.sn_row_norm;
import org.bytedeco.javacpp.Pointer;

/** What {@link Linear} computes, with packed weights: a row's bits do not depend on the others. */
final class PackedLinear extends Operation {
  private final Tensor x;
  private final Tensor weight;
  private final Tensor bias;
  private final Tensor residual;
  private final Activation activation;
  private final Tensor out;
  private final RowNorm norm;

  /**
   * @param weight packed
   * @param bias [out] or null; an activation needs one
   * @param residual like out, or null
   * @param activation out = activation(x W + bias); null: none
   */
  PackedLinear(
      Tensor x, Tensor weight, Tensor bias, Tensor residual, Activation activation, Tensor out) {
    this(x, weight, bias, residual, activation, out, null);
  }

  /**
   * @param norm of the rows of x; null: none
   */
  private PackedLinear(
      Tensor x,
      Tensor weight,
      Tensor bias,
      Tensor residual,
      Activation activation,
      Tensor out,
      RowNorm norm) {
    super(
        "linear",
        RowNorm.with(norm, present(x, weight, bias, residual)),
        present(out, norm == null ? null : norm.out()));
    this.norm = norm;
    this.x = x;
    this.weight = weight;
    this.bias = bias;
    this.residual = residual;
    this.activation = activation;
    this.out = out;
  }

  @Override
  Tensor inPlace() {
    return residual;
  }

  @Override
  Operation behind(RowNorm before) {
    return x != before.out() || residual == x
        ? null
        : new PackedLinear(before.x(), weight, bias, residual, activation, out, before);
  }

  private sn_linear_shape shape() {
    sn_linear_shape shape =
        new sn_linear_shape()
            .rows(x.rows())
            .in(weight.size(0))
            .out(weight.size(1))
            .x_stride(x.columns())
            .y_stride(out.columns())
            .format(weight.format().code())
            .dtype(x.dtype().code())
            .y_dtype(out.dtype().code())
            .epilogue(Linear.epilogue(bias, residual, activation));
    return activation == null ? shape : shape.activation(activation.code());
  }

  @Override
  long workspace(Device device) {
    long[] bytes = new long[1];
    Natives.check(sinter.sn_linear_workspace(device.handle().device, shape(), bytes));
    return bytes[0];
  }

  @Override
  Call bind(Place at) {
    sn_linear_shape shape = shape();
    Pointer px = x.address();
    Pointer pw = weight.address();
    Pointer po = out.address();
    Pointer pb = bias == null ? null : bias.address();
    Pointer pr = residual == null ? null : residual.address();
    sn_row_norm pn = norm == null ? null : norm.bound();
    return (stream, run) -> sinter.sn_linear(stream, shape, pn, px, pw, po, pb, pr, at.workspace());
  }
}
