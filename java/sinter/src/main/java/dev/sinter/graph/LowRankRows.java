package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_lora_shape;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Adds to each row of a product, in place, the low-rank update of the row's own adapter. A row's
 * bits do not depend on the others.
 */
final class LowRankRows extends Operation {
  private final Tensor which;
  private final Tensor x;
  private final Tensor a;
  private final Tensor b;
  private final Tensor product;

  /**
   * @param which int32, an adapter for each row of x; -1: none
   * @param x what was multiplied
   * @param a [adapters, rank, in]
   * @param b [adapters, rank, out]
   * @param product of x and the weight
   * @param out the product's memory
   */
  LowRankRows(Tensor which, Tensor x, Tensor a, Tensor b, Tensor product, Tensor out) {
    super("lora", List.of(which, x, a, b, product), List.of(out));
    this.which = which;
    this.x = x;
    this.a = a;
    this.b = b;
    this.product = product;
  }

  private sn_lora_shape shape() {
    return new sn_lora_shape()
        .rows(x.rows())
        .in(a.size(2))
        .out(b.size(2))
        .rank(a.size(1))
        .adapters(a.size(0))
        .x_stride(x.columns())
        .y_stride(product.columns())
        .dtype(product.dtype().code());
  }

  @Override
  long workspace(Device device) {
    long[] bytes = new long[1];
    Natives.check(sinter.sn_lora_workspace(device.handle().device, shape(), bytes));
    return bytes[0];
  }

  @Override
  Call bind(Place at) {
    sn_lora_shape shape = shape();
    Pointer pw = which.address();
    Pointer px = x.address();
    Pointer pa = a.address();
    Pointer pb = b.address();
    Pointer py = product.address();
    return (stream, run) -> sinter.sn_lora(stream, shape, pw, px, pa, pb, py, at.workspace());
  }
}
