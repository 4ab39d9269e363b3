package dev.sinter.text;

import java.util.Arrays;

/**
 * Tokens of a part of a text that is encoded by itself.
 *
 * @param ids of the tokens
 * @param starts where the characters of each begin, from the start of the part
 * @param ends where they end
 */
record Piece(int[] ids, int[] starts, int[] ends) {
  /** Some of the tokens. */
  Piece part(int from, int to) {
    return from == 0 && to == ids.length
        ? this
        : new Piece(
            Arrays.copyOfRange(ids, from, to),
            Arrays.copyOfRange(starts, from, to),
            Arrays.copyOfRange(ends, from, to));
  }
}
