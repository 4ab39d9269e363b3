package dev.sinter.generate;

import java.util.Arrays;
import java.util.Set;

/** A sequence as far as it has grown, and what a processor may know of its generation. */
public final class Sequence {
  private final int row;
  private final int promptLength;
  private final int maxLength;
  private final Set<Integer> endTokens;
  private final int[] source;
  private int[] ids;
  private int length;

  /**
   * Starts a sequence.
   *
   * @param row of the batch
   * @param prompt its first tokens; of an encoder-decoder, what the decoder starts with
   * @param maxLength the most tokens it may have, those of the prompt included
   * @param endTokens ids that end it
   * @param source the encoder's ids; of a decoder alone, those of the prompt
   */
  Sequence(int row, int[] prompt, int maxLength, Set<Integer> endTokens, int[] source) {
    this.row = row;
    this.promptLength = prompt.length;
    this.maxLength = maxLength;
    this.endTokens = endTokens;
    this.source = source;
    this.ids = Arrays.copyOf(prompt, Math.max(prompt.length, 16));
    this.length = prompt.length;
  }

  private Sequence(Sequence of) {
    this(of.row, Arrays.copyOf(of.ids, of.promptLength), of.maxLength, of.endTokens, of.source);
    ids = of.ids.clone();
    length = of.length;
  }

  /** This sequence with one more token. */
  Sequence then(int id) {
    Sequence longer = new Sequence(this);
    longer.add(id);
    return longer;
  }

  void add(int id) {
    if (length == ids.length) {
      ids = Arrays.copyOf(ids, 2 * length);
    }
    ids[length++] = id;
  }

  /**
   * Returns the number of the sequence in its batch.
   *
   * @return from 0; beams of one prompt have the same
   */
  public int row() {
    return row;
  }

  /**
   * Counts the tokens.
   *
   * @return of prompt and completion
   */
  public int length() {
    return length;
  }

  /**
   * Returns a token.
   *
   * @param at its place, from 0
   * @return its id
   */
  public int id(int at) {
    return ids[at];
  }

  /**
   * Returns all tokens.
   *
   * @return a copy
   */
  public int[] ids() {
    return Arrays.copyOf(ids, length);
  }

  /**
   * Counts the prompt's tokens.
   *
   * @return how many of the tokens were given
   */
  public int promptLength() {
    return promptLength;
  }

  /**
   * Returns the most tokens that the sequence may have.
   *
   * @return prompt included
   */
  public int maxLength() {
    return maxLength;
  }

  /**
   * Returns the tokens that end the sequence.
   *
   * @return ids
   */
  public Set<Integer> endTokens() {
    return endTokens;
  }

  /**
   * Returns what the encoder read.
   *
   * @return ids; of a decoder alone, those of the prompt
   */
  public int[] source() {
    return source.clone();
  }

  /** Whether the last {@code count} tokens are those of a text from a place on. */
  boolean endsWith(int[] text, int from, int count) {
    return count <= length && Arrays.equals(ids, length - count, length, text, from, from + count);
  }
}
