package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** Rows of a token table, scaled, plus rows of a position table. */
final class Embedding extends Operation {
  private final Tensor tokens;
  private final Tensor offsets;
  private final Tensor tokenTable;
  private final Tensor positionTable;
  private final float scale;
  private final int padding;
  private final Tensor out;

  /**
   * @param offsets the position of each sequence's first token [batch], or null for zero
   * @param tokenTable [vocabulary, width]; or packed [width, vocabulary], which trains nowhere
   * @param positionTable or null
   * @param scale of the tokens' rows
   * @param padding a token whose row gets no gradient; -1: none
   * @param out [batch, length, width]
   */
  Embedding(
      Tensor tokens,
      Tensor offsets,
      Tensor tokenTable,
      Tensor positionTable,
      float scale,
      int padding,
      Tensor out) {
    super(
        tokenTable.format() == null ? "embedding_forward" : "packed_embedding",
        present(tokens, offsets, tokenTable, positionTable),
        List.of(out));
    this.tokens = tokens;
    this.offsets = offsets;
    this.tokenTable = tokenTable;
    this.positionTable = positionTable;
    this.scale = scale;
    this.padding = padding;
    this.out = out;
  }

  private long positions() {
    return positionTable == null ? 0 : positionTable.size(0);
  }

  @Override
  void differentiate(Backward b) {
    if (b.trains(tokenTable) && b.first(tokenTable)) {
      b.emit(new Clear(b.parameterGradient(tokenTable)));
    }
    boolean positionsTrain = positionTable != null && b.trains(positionTable);
    boolean firstPositions = !positionsTrain || b.first(positionTable);
    b.emit(
        new Gradient(
            this,
            b.gradient(out),
            b.parameterGradient(tokenTable),
            positionsTrain ? b.parameterGradient(positionTable) : null,
            firstPositions));
  }

  @Override
  Tensor recompute(Tensor output, Backward b) {
    Tensor again = b.activation(out.name() + " again", out.shape());
    b.emit(new Embedding(tokens, offsets, tokenTable, positionTable, scale, padding, again));
    return again;
  }

  @Override
  Call bind(Place at) {
    int dtype = out.dtype().code();
    long batch = out.size(0);
    long length = out.size(1);
    long width = out.size(2);
    WeightFormat packed = tokenTable.format();
    long vocabulary = tokenTable.size(packed == null ? 0 : 1);
    long positions = positions();
    Pointer pt = tokens.address();
    Pointer po = offsets == null ? null : offsets.address();
    Pointer ptt = tokenTable.address();
    Pointer ppt = positionTable == null ? null : positionTable.address();
    Pointer pout = out.address();
    if (packed != null) {
      int format = packed.code();
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
    return (stream, run) ->
        sinter.sn_embedding_forward(
            stream,
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

  /** Zeroes a gradient before the first addition to it. */
  private static final class Clear extends Operation {
    private final Tensor tensor;

    Clear(Tensor tensor) {
      super("zero", List.of(), List.of(tensor));
      this.tensor = tensor;
    }

    @Override
    Call bind(Place at) {
      Pointer p = tensor.address();
      long bytes = tensor.bytes();
      return (stream, run) -> run.accumulating ? sinter.SN_OK : sinter.sn_zero(stream, p, bytes);
    }
  }

  private static final class Gradient extends Operation {
    private final Embedding forward;
    private final Tensor dout;
    private final Tensor dtokenTable;
    private final Tensor dpositionTable;
    private final boolean firstPositions;

    Gradient(
        Embedding forward,
        Tensor dout,
        Tensor dtokenTable,
        Tensor dpositionTable,
        boolean firstPositions) {
      super(
          "embedding_backward",
          List.of(forward.tokens, dout),
          present(dtokenTable, dpositionTable));
      this.forward = forward;
      this.dout = dout;
      this.dtokenTable = dtokenTable;
      this.dpositionTable = dpositionTable;
      this.firstPositions = firstPositions;
    }

    @Override
    long workspace(Device device) {
      long[] bytes = new long[1];
      Natives.check(
          sinter.sn_embedding_backward_workspace(
              device.handle().device, dout.size(0), dout.size(1), bytes));
      return bytes[0];
    }

    @Override
    Call bind(Place at) {
      int dtype = dout.dtype().code();
      long batch = dout.size(0);
      long length = dout.size(1);
      long width = dout.size(2);
      long vocabulary = forward.tokenTable.size(0);
      long positions = forward.positions();
      float scale = forward.scale;
      int padding = forward.padding;
      Pointer pt = forward.tokens.address();
      Pointer pd = dout.address();
      Pointer pdt = dtokenTable == null ? null : dtokenTable.address();
      Pointer pdp = dpositionTable == null ? null : dpositionTable.address();
      boolean overwrite = firstPositions;
      return (stream, run) ->
          sinter.sn_embedding_backward(
              stream,
              dtype,
              batch,
              length,
              width,
              vocabulary,
              positions,
              scale,
              padding,
              pt,
              pd,
              overwrite && !run.accumulating ? 0 : 1,
              pdt,
              pdp,
              at.workspace());
    }
  }
}
