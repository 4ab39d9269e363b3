package dev.sinter.evaluate;

import java.util.ArrayList;
import java.util.List;

/**
 * Whether a model knows what it knows: of the predictions that it gives a probability of 0.8, four
 * in five should be right (Guo et al. 2017, section 2).
 *
 * @param bins predictions by their probability, in bins of equal width from 0 to 1; each holds its
 *     upper edge, the first also 0
 * @param brier the mean square of probability minus outcome, which is 1 or 0 (Brier 1950)
 */
public record Calibration(List<Bin> bins, double brier) {
  /** The bins that Guo et al. use. */
  public static final int BINS = 15;

  /** More than these are no summary. */
  private static final int MOST = 1000;

  /**
   * Checks the bins.
   *
   * @throws IllegalArgumentException where there are none or more than 1,000, or the score is not
   *     from 0 to 1
   */
  public Calibration {
    checkBins(bins.size());
    if (!isShare(brier)) {
      throw new IllegalArgumentException("a Brier score of " + brier + "; 0 to 1");
    }
    bins = List.copyOf(bins);
  }

  /**
   * Predictions of similar probability.
   *
   * @param count how many
   * @param correct how many of them are right
   * @param probability the mean of their probabilities; 0 where there are none
   */
  public record Bin(long count, long correct, double probability) {
    /**
     * Checks the numbers.
     *
     * @throws IllegalArgumentException where more are right than there are, or the probability is
     *     none
     */
    public Bin {
      if (correct < 0 || correct > count || !isShare(probability)) {
        throw new IllegalArgumentException(
            correct + " of " + count + " right at a probability of " + probability);
      }
    }

    /**
     * The share that is right.
     *
     * @return from 0 to 1; 0 where there are none
     */
    public double accuracy() {
      return count == 0 ? 0 : (double) correct / count;
    }
  }

  /**
   * Sorts predictions into bins.
   *
   * @param probabilities what the model gave each of its predictions, from 0 to 1
   * @param correct whether each came true
   * @param bins how many
   * @return the bins and the score
   * @throws IllegalArgumentException where there are not as many of both, or none, a probability is
   *     none, or there are not 1 to 1,000 bins
   */
  public static Calibration of(double[] probabilities, boolean[] correct, int bins) {
    Check.sameSize("probabilities", probabilities.length, "outcomes", correct.length);
    checkBins(bins);
    long[] count = new long[bins];
    long[] right = new long[bins];
    double[] sums = new double[bins];
    double squares = 0;
    for (int i = 0; i < probabilities.length; i++) {
      double probability = probabilities[i];
      if (!isShare(probability)) {
        throw new IllegalArgumentException(
            "probability " + probability + " of prediction " + (i + 1) + "; 0 to 1");
      }
      int outcome = correct[i] ? 1 : 0;
      int bin = bin(probability, bins);
      count[bin]++;
      right[bin] += outcome;
      sums[bin] += probability;
      squares += (probability - outcome) * (probability - outcome);
    }
    List<Bin> all = new ArrayList<>();
    for (int i = 0; i < bins; i++) {
      // A mean of ones may round to more than one.
      double mean = count[i] == 0 ? 0 : Math.min(1, sums[i] / count[i]);
      all.add(new Bin(count[i], right[i], mean));
    }
    return new Calibration(all, squares / probabilities.length);
  }

  /** The edges are NumPy's: multiples of the rounded width. */
  private static int bin(double probability, int bins) {
    double width = 1.0 / bins;
    int bin = (int) (probability * bins);
    while (bin > 0 && (bin >= bins || bin * width >= probability)) {
      bin--;
    }
    while (bin + 1 < bins && (bin + 1) * width < probability) {
      bin++;
    }
    return bin;
  }

  private static boolean isShare(double value) {
    return value >= 0 && value <= 1;
  }

  private static void checkBins(int bins) {
    if (bins < 1 || bins > MOST) {
      throw new IllegalArgumentException(bins + " bins; 1 to " + MOST);
    }
  }

  /**
   * How many predictions there are.
   *
   * @return the sum over the bins
   */
  public long count() {
    return bins.stream().mapToLong(Bin::count).sum();
  }

  /**
   * The expected calibration error (Naeini et al. 2015; Guo et al. 2017, eq. 3): how far, on
   * average over the predictions, a bin's accuracy is from its probability.
   *
   * @return from 0, which is best, to 1; 0 where there are no predictions
   */
  public double expectedError() {
    double sum = 0;
    for (Bin bin : bins) {
      sum += Math.abs(bin.correct - bin.count * bin.probability);
    }
    long count = count();
    return count == 0 ? 0 : sum / count;
  }
}
