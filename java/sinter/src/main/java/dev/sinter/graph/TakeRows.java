package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Some rows of a tensor, whose numbers lie on the device: to decode, a prompt's last row is all
 * that is needed. A look-up in a table, so that a recording may take other rows at each replay.
 */
final class TakeRows extends Operation {
  private final Tensor x;
  private final Tensor rows;
  private final Tensor out;

  /**
   * @param x [.., width]
   * @param rows int32, each below the number of x's rows
   * @param out [rows, 1, width]
   */
  TakeRows(Tensor x, Tensor rows, Tensor out) {
    super("embedding_forward", List.of(x, rows), List.of(out));
    this.x = x;
    this.rows = rows;
    this.out = out;
  }

  @Override
  Call bind(Place at) {
    int dtype = x.dtype().code();
    long count = rows.elements();
    long width = x.columns();
    long of = x.rows();
    Pointer pr = rows.address();
    Pointer px = x.address();
    Pointer po = out.address();
    return (stream, run) ->
        sinter.sn_embedding_forward(stream, dtype, count, 1, width, of, 0, pr, null, px, null, po);
  }
}
