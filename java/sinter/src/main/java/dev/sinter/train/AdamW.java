package dev.sinter.train;

import dev.sinter.graph.Parameters;

/**
 * AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay on matrices and tables, and
 * clipping by the gradients' global norm.
 *
 * @param schedule of the learning rate
 * @param beta1 decay of the running mean of gradients
 * @param beta2 decay of the running mean of squared gradients
 * @param epsilon added to the root of the latter
 * @param weightDecay times the learning rate, taken off the weights
 * @param clip the most that the gradients' norm may be; 0: no limit
 */
public record AdamW(
    Schedule schedule,
    double beta1,
    double beta2,
    double epsilon,
    double weightDecay,
    double clip) {
  /** Checks the ranges. */
  public AdamW {
    check(beta1 >= 0 && beta1 < 1, "beta1 " + beta1 + "; 0 or more and less than 1");
    check(beta2 >= 0 && beta2 < 1, "beta2 " + beta2 + "; 0 or more and less than 1");
    check(epsilon > 0, "epsilon " + epsilon + "; more than 0");
    check(weightDecay >= 0, "weight decay " + weightDecay + "; 0 or more");
    check(clip >= 0, "clip " + clip + "; 0 (none) or more");
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /**
   * The settings of GPT-3 (Brown et al. 2020, appendix B): betas 0.9 and 0.95, epsilon 1e-8, decay
   * 0.1, clip 1.
   *
   * @param schedule of the learning rate
   * @return the optimizer
   */
  public static AdamW of(Schedule schedule) {
    return new AdamW(schedule, 0.9, 0.95, 1e-8, 0.1, 1);
  }

  /** What a step's update is told. */
  Parameters.AdamW settings(double rate) {
    return new Parameters.AdamW(
        (float) rate,
        (float) beta1,
        (float) beta2,
        (float) epsilon,
        (float) weightDecay,
        (float) clip);
  }

  /**
   * Changes the betas.
   *
   * @param first decay of the running mean of gradients
   * @param second decay of the running mean of squared gradients
   * @return new settings
   */
  public AdamW withBetas(double first, double second) {
    return new AdamW(schedule, first, second, epsilon, weightDecay, clip);
  }

  /**
   * Changes the weight decay.
   *
   * @param value times the learning rate, taken off the weights
   * @return new settings
   */
  public AdamW withWeightDecay(double value) {
    return new AdamW(schedule, beta1, beta2, epsilon, value, clip);
  }

  /**
   * Changes the clipping.
   *
   * @param value the most that the gradients' norm may be; 0: no limit
   * @return new settings
   */
  public AdamW withClip(double value) {
    return new AdamW(schedule, beta1, beta2, epsilon, weightDecay, value);
  }
}
