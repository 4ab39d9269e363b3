package dev.sinter.align;

import java.util.Arrays;

/**
 * Generalized advantage estimation (Schulman et al. 2016, eq. 16), and the statistics that
 * advantages and rewards are scaled by.
 *
 * @param advantages one for each token of a response
 * @param returns what the value of each token's state should have been
 */
record Advantages(double[] advantages, double[] returns) {
  /** Added to a variance before its root. */
  private static final double EPSILON = 1e-8;

  /**
   * Estimates the advantages of one response. The value after its last token is 0.
   *
   * @param rewards of each token
   * @param values of the state before each token
   * @param gamma discount
   * @param lambda decay of later surprises: 0 trusts the values, 1 the rewards
   * @return advantages, and returns, which are advantages plus values
   */
  static Advantages of(double[] rewards, double[] values, double gamma, double lambda) {
    int length = rewards.length;
    double[] advantages = new double[length];
    double[] returns = new double[length];
    double later = 0;
    for (int i = length - 1; i >= 0; i--) {
      double next = i + 1 < length ? values[i + 1] : 0;
      later = rewards[i] + gamma * next - values[i] + gamma * lambda * later;
      advantages[i] = later;
      returns[i] = later + values[i];
    }
    return new Advantages(advantages, returns);
  }

  /**
   * Scales numbers to a variance of 1, all of them together.
   *
   * @param rows of any lengths; changed in their place
   * @param keepMean whether the mean stays, else it becomes 0
   */
  static void whiten(double[][] rows, boolean keepMean) {
    long count = Arrays.stream(rows).mapToLong(row -> row.length).sum();
    double mean = 0;
    for (double[] row : rows) {
      for (double value : row) {
        mean += value / count;
      }
    }
    double variance = 0;
    for (double[] row : rows) {
      for (double value : row) {
        variance += (value - mean) * (value - mean) / count;
      }
    }
    double scale = 1 / Math.sqrt(variance + EPSILON);
    for (double[] row : rows) {
      for (int i = 0; i < row.length; i++) {
        row[i] = (row[i] - mean) * scale + (keepMean ? mean : 0);
      }
    }
  }
}
