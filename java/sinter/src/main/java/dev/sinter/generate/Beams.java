package dev.sinter.generate;

/**
 * How a beam search goes.
 *
 * @param count hypotheses that go on at each token; 1 is a greedy search
 * @param returned how many of the finished ones are wanted, the best first; at most count
 * @param lengthPenalty what scores are divided by
 * @param earlyStopping when the search ends
 */
public record Beams(
    int count, int returned, LengthPenalty lengthPenalty, EarlyStopping earlyStopping) {
  /** When a search ends before all beams are as long as they may be. */
  public enum EarlyStopping {
    /** With {@code count} finished hypotheses: Hugging Face's true. */
    TRUE,
    /**
     * With {@code count} finished hypotheses, and none that goes on is better by its score so far,
     * as if it ended now: Hugging Face's false, a heuristic.
     */
    FALSE,
    /**
     * With {@code count} finished hypotheses, and none that goes on can still be better: Hugging
     * Face's "never".
     */
    NEVER
  }

  /** Checks the ranges. */
  public Beams {
    if (count < 1) {
      throw new IllegalArgumentException(count + " beams; 1 or more");
    }
    if (count == 1) {
      earlyStopping = EarlyStopping.TRUE; // as a greedy search ends: at the first end token
    }
    if (returned < 1 || returned > count) {
      throw new IllegalArgumentException(
          returned + " returned of " + count + " beams; 1 to " + count);
    }
  }

  /**
   * Hugging Face's defaults: one hypothesis, by the mean of its log-probabilities.
   *
   * @param count hypotheses that go on at each token
   * @return the settings
   */
  public static Beams of(int count) {
    return new Beams(count, 1, LengthPenalty.power(1), EarlyStopping.FALSE);
  }

  /**
   * Changes how many hypotheses are wanted.
   *
   * @param value at most the number of beams
   * @return new settings
   */
  public Beams withReturned(int value) {
    return new Beams(count, value, lengthPenalty, earlyStopping);
  }

  /**
   * Changes the length penalty.
   *
   * @param value what scores are divided by
   * @return new settings
   */
  public Beams withLengthPenalty(LengthPenalty value) {
    return new Beams(count, returned, value, earlyStopping);
  }

  /**
   * Changes when the search ends.
   *
   * @param value true, false or never
   * @return new settings
   */
  public Beams withEarlyStopping(EarlyStopping value) {
    return new Beams(count, returned, lengthPenalty, value);
  }
}
