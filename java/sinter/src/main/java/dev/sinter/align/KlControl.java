package dev.sinter.align;

/**
 * What a token costs that the policy makes likelier than the reference does: a fixed coefficient,
 * or one that follows a target (Ziegler et al. 2019, section 2.2).
 *
 * @param beta coefficient of the KL divergence at the start
 * @param target divergence of a response, summed over its tokens, to be held; 0: beta stays
 * @param horizon episodes in which beta may change by its own size
 */
public record KlControl(double beta, double target, double horizon) {
  /** The most that one iteration's error counts. */
  private static final double MOST_ERROR = 0.2;

  /** Checks the ranges. */
  public KlControl {
    if (!(beta >= 0 && beta < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException("KL coefficient " + beta + "; 0 or more");
    }
    if (!(target >= 0 && horizon > 0)) {
      throw new IllegalArgumentException(
          "KL target " + target + ", horizon " + horizon + "; 0 (fixed) or more, more than 0");
    }
  }

  /**
   * A coefficient that stays; 0.02 is InstructGPT's.
   *
   * @param beta coefficient
   * @return the control
   */
  public static KlControl fixed(double beta) {
    return new KlControl(beta, 0, 10_000);
  }

  /**
   * A coefficient that follows a target, over 10 000 episodes.
   *
   * @param beta coefficient at the start; 0.15 to 0.2 is usual
   * @param target divergence of a response, summed over its tokens; 6 is usual
   * @return the control
   */
  public static KlControl adaptive(double beta, double target) {
    return new KlControl(beta, target, 10_000);
  }

  /**
   * The control after some episodes.
   *
   * @param kl mean of their divergences
   * @param episodes how many
   * @return one with the next coefficient
   */
  KlControl after(double kl, int episodes) {
    if (target == 0) {
      return this;
    }
    double error = Math.min(Math.max(kl / target - 1, -MOST_ERROR), MOST_ERROR);
    return new KlControl(beta * (1 + error * episodes / horizon), target, horizon);
  }
}
