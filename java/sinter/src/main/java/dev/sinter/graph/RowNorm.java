package dev.sinter.graph;

import dev.sinter.natives.sn_row_norm;
import java.util.ArrayList;
import java.util.List;

/**
 * Layer norm of the rows that a product multiplies, in the same call.
 *
 * @param x the rows before it
 * @param gain [width]
 * @param bias [width] or null
 * @param epsilon added to the variance
 * @param out receives the rows behind it
 */
record RowNorm(Tensor x, Tensor gain, Tensor bias, float epsilon, Tensor out) {
  /** After all tensors have been placed. */
  sn_row_norm bound() {
    return new sn_row_norm()
        .gain(gain.address())
        .bias(bias == null ? null : bias.address())
        .out(out.address())
        .epsilon(epsilon);
  }

  /** What a product reads, with the norm's own; {@code norm} may be null. */
  static List<Tensor> with(RowNorm norm, List<Tensor> reads) {
    if (norm == null) {
      return reads;
    }
    List<Tensor> all = new ArrayList<>(reads);
    all.addAll(Elementwise.present(norm.gain, norm.bias));
    return all;
  }
}
