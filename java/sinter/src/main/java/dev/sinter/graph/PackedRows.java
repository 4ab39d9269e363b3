package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** The weights of chosen outputs: rows of a token table that is also the output matrix. */
final class PackedRows extends Operation {
  private final Tensor indices;
  private final Tensor weight;
  private final Tensor out;

  /**
   * @param indices int32, of outputs
   * @param weight packed
   * @param out [indices, in]
   */
  PackedRows(Tensor indices, Tensor weight, Tensor out) {
    super("packed_rows", List.of(indices, weight), List.of(out));
    this.indices = indices;
    this.weight = weight;
    this.out = out;
  }

  /** What is packed does not train. */
  @Override
  void differentiate(Backward b) {}

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    b.emit(new PackedRows(indices, weight, again));
    return again;
  }

  @Override
  Call bind(Place at) {
    int format = weight.format().code();
    int dtype = out.dtype().code();
    long in = weight.size(0);
    long outs = weight.size(1);
    long count = indices.elements();
    Pointer pi = indices.address();
    Pointer pw = weight.address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_packed_rows(stream, format, dtype, in, outs, count, pi, pw, po);
  }
}
