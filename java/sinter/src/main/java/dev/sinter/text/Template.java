package dev.sinter.text;

import java.util.Arrays;
import java.util.List;

/**
 * How the tokens of one or two texts become a model's input, as {@code [CLS] A [SEP] B [SEP]}.
 *
 * @param single parts for one text
 * @param pair parts for two
 */
record Template(List<Part> single, List<Part> pair) {
  static final int SPECIAL = -1;

  /**
   * One part.
   *
   * @param sequence 0 or 1 for a text, {@link #SPECIAL} for the ids
   * @param ids of a special part
   * @param type of its tokens
   */
  record Part(int sequence, int[] ids, int type) {}

  /** Nothing is added; the second text has type 1. */
  static final Template PLAIN =
      new Template(
          List.of(new Part(0, null, 0)), List.of(new Part(0, null, 0), new Part(1, null, 1)));

  /** How many tokens are added. */
  int added(boolean two) {
    return (two ? pair : single)
        .stream().mapToInt(part -> part.sequence == SPECIAL ? part.ids.length : 0).sum();
  }

  /** The input for one text, or for two where the second is not null. */
  Encoding apply(Piece first, Piece second) {
    List<Part> parts = second == null ? single : pair;
    int length = 0;
    for (Part part : parts) {
      length += tokens(part, first, second).length;
    }
    Encoding encoding =
        new Encoding(
            new int[length], new int[length], new int[length], new int[length], new int[length]);
    int at = 0;
    for (Part part : parts) {
      int[] ids = tokens(part, first, second);
      System.arraycopy(ids, 0, encoding.ids(), at, ids.length);
      Arrays.fill(encoding.types(), at, at + ids.length, part.type);
      Arrays.fill(encoding.sequences(), at, at + ids.length, part.sequence);
      if (part.sequence != SPECIAL) {
        Piece text = part.sequence == 0 ? first : second;
        System.arraycopy(text.starts(), 0, encoding.starts(), at, ids.length);
        System.arraycopy(text.ends(), 0, encoding.ends(), at, ids.length);
      }
      at += ids.length;
    }
    return encoding;
  }

  private static int[] tokens(Part part, Piece first, Piece second) {
    return part.sequence == SPECIAL ? part.ids : part.sequence == 0 ? first.ids() : second.ids();
  }
}
