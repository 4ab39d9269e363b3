package dev.sinter;

import dev.sinter.text.Encoding;
import java.util.Arrays;

/**
 * A text cut into windows that overlap by half, each with the template's tokens around it.
 *
 * @param input the whole
 * @param before the template's tokens in front
 * @param after the template's tokens behind
 * @param room tokens of the text in a window
 */
record Windows(Encoding input, int before, int after, int room) {
  static Windows of(Encoding input, int context) {
    int before = 0;
    while (before < input.length() && input.special(before)) {
      before++;
    }
    int after = 0;
    while (after < input.length() - before && input.special(input.length() - 1 - after)) {
      after++;
    }
    int room = context - before - after;
    if (room < 1) {
      throw new IllegalArgumentException(
          "the model's context of " + context + " has no room for a token of the text");
    }
    return new Windows(input, before, after, room);
  }

  private int tokens() {
    return input.length() - before - after;
  }

  private int step() {
    return Math.max(1, room / 2);
  }

  private int count() {
    return tokens() <= room ? 1 : 1 + (tokens() - room + step() - 1) / step();
  }

  Encoding[] inputs() {
    Encoding[] all = new Encoding[count()];
    for (int i = 0; i < all.length; i++) {
      int from = before + i * step();
      int to = Math.min(input.length() - after, from + room);
      all[i] = Encoding.of(part(input.ids(), from, to), part(input.types(), from, to));
    }
    return all;
  }

  private int[] part(int[] values, int from, int to) {
    int[] part = Arrays.copyOf(values, before + to - from + after);
    System.arraycopy(values, from, part, before, to - from);
    System.arraycopy(values, values.length - after, part, before + to - from, after);
    return part;
  }

  /** The window in which a token is furthest from the edges. */
  int of(int place) {
    int token = place - before;
    int middle = (token - room / 2 + step() / 2) / step();
    return Math.max(0, Math.min(count() - 1, token < room / 2 ? 0 : middle));
  }

  /** Where a token of the whole stands in a window. */
  int place(int place, int window) {
    return place - window * step();
  }
}
