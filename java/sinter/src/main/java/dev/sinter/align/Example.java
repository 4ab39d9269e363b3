package dev.sinter.align;

import java.util.Arrays;

/**
 * A conversation as a model reads it.
 *
 * @param tokens of all messages
 * @param answers for each token whether it is to be learned: those of the model's answers, and the
 *     one that ends each
 */
record Example(int[] tokens, boolean[] answers) {
  /** How many tokens are to be learned. */
  int learned() {
    int count = 0;
    for (int i = 1; i < tokens.length; i++) {
      count += answers[i] ? 1 : 0;
    }
    return count;
  }

  /** Positions that it takes: each reads a token and is asked for the next. */
  int positions() {
    return tokens.length - 1;
  }

  /** The tokens up to the end of the last answer; none where there is no answer. */
  int[] throughLastAnswer() {
    int end = tokens.length;
    while (end > 0 && !answers[end - 1]) {
      end--;
    }
    return Arrays.copyOf(tokens, end);
  }
}
