package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** What {@link Embedding} computes, of a token table that is packed as output matrix. */
final class PackedEmbedding extends Operation {
  private final Tensor tokens;
  private final Tensor offsets;
  private final Tensor tokenTable;
  private final Tensor positionTable;
  private final float scale;
  private final Tensor out;

  /**
   * @param tokens int32 [batch, length]
   * @param offsets int32 [batch], or null
   * @param tokenTable packed [width, vocabulary]
   * @param positionTable [positions, width], or null
   * @param out [batch, length, width]
   */
  PackedEmbedding(
      Tensor tokens,
      Tensor offsets,
      Tensor tokenTable,
      Tensor positionTable,
      float scale,
      Tensor out) {
    super("packed_embedding", present(tokens, offsets, tokenTable, positionTable), List.of(out));
    this.tokens = tokens;
    this.offsets = offsets;
    this.tokenTable = tokenTable;
    this.positionTable = positionTable;
    this.scale = scale;
    this.out = out;
  }

  @Override
  Call bind(Place at) {
    int format = tokenTable.format().code();
    int dtype = out.dtype().code();
    long batch = out.size(0);
    long length = out.size(1);
    long width = out.size(2);
    long vocabulary = tokenTable.size(1);
    long positions = positionTable == null ? 0 : positionTable.size(0);
    Pointer pt = tokens.address();
    Pointer po = offsets == null ? null : offsets.address();
    Pointer ptt = tokenTable.address();
    Pointer ppt = positionTable == null ? null : positionTable.address();
    Pointer pout = out.address();
    return (stream, run) ->
        sinter.sn_packed_embedding(
            stream,
            format,
            dtype,
            batch,
            length,
            width,
            vocabulary,
            positions,
            scale,
            pt,
            po,
            ptt,
            ppt,
            pout);
  }
}
