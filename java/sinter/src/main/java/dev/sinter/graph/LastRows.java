package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** The last row of each sequence: all that decoding needs of a prompt's hidden states. */
final class LastRows extends Operation {
  private final Tensor x;
  private final Tensor out;

  /**
   * @param x [batch, length, width]
   * @param out [batch, 1, width]
   */
  LastRows(Tensor x, Tensor out) {
    super("copy", List.of(x), List.of(out));
    this.x = x;
    this.out = out;
  }

  @Override
  Call bind(Place at) {
    int batch = Math.toIntExact(x.size(0));
    long length = x.size(1);
    long width = x.columns();
    Pointer[] from = new Pointer[batch];
    Pointer[] to = new Pointer[batch];
    for (int i = 0; i < batch; i++) {
      from[i] = x.address((i * length + length - 1) * width);
      to[i] = out.address(i * width);
    }
    long bytes = width * x.dtype().bytes();
    return (stream, run) -> {
      int status = sinter.SN_OK;
      for (int i = 0; i < batch && status == sinter.SN_OK; i++) {
        status = sinter.sn_copy(stream, to[i], from[i], bytes);
      }
      return status;
    };
  }
}
