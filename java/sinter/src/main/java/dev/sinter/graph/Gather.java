package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** Chosen rows of a tensor. */
final class Gather extends Operation {
  private final Tensor x;
  private final Tensor indices;
  private final Tensor out;

  /**
   * @param indices int32, of rows of x over all its sequences; -1: a row of zeros
   */
  Gather(Tensor x, Tensor indices, Tensor out) {
    super("gather_forward", List.of(x, indices), List.of(out));
    this.x = x;
    this.indices = indices;
    this.out = out;
  }

  @Override
  void differentiate(Backward b) {
    Tensor dx = b.activation("d " + x.name(), x.shape());
    b.emit(new Gradient(b.gradient(out), indices, dx));
    b.add(x, dx);
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    b.emit(new Gather(b.saved(x), indices, again));
    return again;
  }

  @Override
  Call bind(Place at) {
    int dtype = x.dtype().code();
    long rows = x.rows();
    long width = x.columns();
    long count = indices.elements();
    Pointer px = x.address();
    Pointer pi = indices.address();
    Pointer po = out.address();
    return (stream, run) -> sinter.sn_gather_forward(stream, dtype, rows, width, count, pi, px, po);
  }

  /** dx = dout in the places that its rows came from. */
  private static final class Gradient extends Operation {
    private final Tensor dout;
    private final Tensor indices;
    private final Tensor dx;

    Gradient(Tensor dout, Tensor indices, Tensor dx) {
      super("gather_backward", List.of(dout, indices), List.of(dx));
      this.dout = dout;
      this.indices = indices;
      this.dx = dx;
    }

    @Override
    Call bind(Place at) {
      int dtype = dx.dtype().code();
      long rows = dx.rows();
      long width = dx.columns();
      long count = indices.elements();
      Pointer pd = dout.address();
      Pointer pi = indices.address();
      Pointer px = dx.address();
      return (stream, run) ->
          sinter.sn_gather_backward(stream, dtype, rows, width, count, pi, pd, px);
    }
  }
}
