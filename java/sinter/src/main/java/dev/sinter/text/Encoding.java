package dev.sinter.text;

import java.util.stream.IntStream;

/**
 * The tokens of one or two texts as a model takes them, with the places that they came from.
 *
 * @param ids of the tokens
 * @param types 0 or 1: BERT's segment of each token
 * @param starts where the characters of each token begin in its own text: an index of {@link
 *     String#charAt}, so that {@code text.substring(starts[i], ends[i])} is what it came from; 0
 *     for tokens of the template
 * @param ends where they end; tokens that share a character have it all
 * @param sequences 0 for tokens of the first text, 1 for those of the second, -1 for those that the
 *     template added
 */
public record Encoding(int[] ids, int[] types, int[] starts, int[] ends, int[] sequences) {
  /**
   * Ids without a text, all of them of the first.
   *
   * @param ids of the tokens, the template's included
   * @return each token's place is its number: from i to i + 1
   */
  public static Encoding of(int... ids) {
    return of(ids, new int[ids.length]);
  }

  /**
   * Ids without texts.
   *
   * @param ids of the tokens, the template's included
   * @param types 0 or 1 for each: its segment, and the text that it counts as
   * @return each token's place is its number: from i to i + 1
   */
  public static Encoding of(int[] ids, int[] types) {
    if (types.length != ids.length) {
      throw new IllegalArgumentException(ids.length + " ids and " + types.length + " types");
    }
    int[] starts = IntStream.range(0, ids.length).toArray();
    int[] ends = IntStream.rangeClosed(1, ids.length).toArray();
    return new Encoding(ids.clone(), types.clone(), starts, ends, types.clone());
  }

  /**
   * Returns the number of tokens.
   *
   * @return how many there are, those of the template included
   */
  public int length() {
    return ids.length;
  }

  /**
   * Tells the template's tokens, as [CLS] and [SEP], from those of the texts.
   *
   * @param i from 0 to {@link #length} - 1
   * @return whether the template added the token
   */
  public boolean special(int i) {
    return sequences[i] < 0;
  }
}
