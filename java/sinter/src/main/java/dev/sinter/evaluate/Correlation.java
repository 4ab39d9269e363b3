package dev.sinter.evaluate;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/** How two rows of numbers go together: the metrics of STS-B (GLUE: Wang et al. 2018). */
public final class Correlation {
  private Correlation() {}

  /**
   * Pearson's correlation: covariance over the product of both deviations.
   *
   * @param x numbers
   * @param y as many
   * @return from -1 to 1; NaN where all numbers of one are equal
   * @throws IllegalArgumentException where there are not as many of both, or none
   */
  public static double pearson(double[] x, double[] y) {
    Check.sameSize("numbers", x.length, "others", y.length);
    double xMean = Arrays.stream(x).sum() / x.length;
    double yMean = Arrays.stream(y).sum() / y.length;
    double xy = 0;
    double xx = 0;
    double yy = 0;
    for (int i = 0; i < x.length; i++) {
      double dx = x[i] - xMean;
      double dy = y[i] - yMean;
      xy += dx * dy;
      xx += dx * dx;
      yy += dy * dy;
    }
    return Math.max(-1, Math.min(1, xy / Math.sqrt(xx) / Math.sqrt(yy)));
  }

  /**
   * Spearman's correlation: Pearson's of the ranks; equal numbers share the mean of their ranks.
   *
   * @param x numbers
   * @param y as many
   * @return from -1 to 1; NaN where all numbers of one are equal
   * @throws IllegalArgumentException where there are not as many of both, or none
   */
  public static double spearman(double[] x, double[] y) {
    return pearson(ranks(x), ranks(y));
  }

  private static double[] ranks(double[] values) {
    Integer[] order =
        IntStream.range(0, values.length)
            .boxed()
            .sorted(Comparator.comparingDouble(i -> values[i]))
            .toArray(Integer[]::new);
    double[] ranks = new double[values.length];
    for (int from = 0; from < order.length; ) {
      int to = from + 1;
      // By value: 0.0 and -0.0 are one number.
      while (to < order.length && values[order[to]] == values[order[from]]) {
        to++;
      }
      for (int i = from; i < to; i++) {
        ranks[order[i]] = (from + 1 + to) / 2.0;
      }
      from = to;
    }
    return ranks;
  }
}
