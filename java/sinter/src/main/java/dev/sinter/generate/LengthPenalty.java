package dev.sinter.generate;

/**
 * What the score of a finished beam is divided by, as every token makes it smaller.
 *
 * @param form of the formula
 * @param alpha its exponent; 0: no penalty, more: longer beams win
 */
public record LengthPenalty(Form form, double alpha) {
  /** Whose formula. */
  public enum Form {
    /** Hugging Face's: length^alpha. */
    POWER,
    /** Of Wu et al. 2016, which Vaswani et al. 2017 used with 0.6: ((5 + length) / 6)^alpha. */
    PAPER
  }

  /**
   * Hugging Face's penalty.
   *
   * @param alpha 1 is Hugging Face's default: the mean of the log-probabilities
   * @return length^alpha
   */
  public static LengthPenalty power(double alpha) {
    return new LengthPenalty(Form.POWER, alpha);
  }

  /**
   * The papers' penalty.
   *
   * @param alpha 0.6 in Vaswani et al. 2017
   * @return ((5 + length) / 6)^alpha
   */
  public static LengthPenalty paper(double alpha) {
    return new LengthPenalty(Form.PAPER, alpha);
  }

  /**
   * Divides a score.
   *
   * @param score sum of log-probabilities
   * @param length generated tokens, the end token included
   */
  float apply(float score, int length) {
    double base = form == Form.POWER ? length : (5.0 + length) / 6;
    return (float) (score / Math.pow(base, alpha));
  }
}
