package dev.sinter.text;

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
