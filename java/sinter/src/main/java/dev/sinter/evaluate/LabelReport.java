package dev.sinter.evaluate;

import java.util.Collections;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Precision, recall and F1 of each label, and their means (van Rijsbergen 1979, chapter 7). What
 * would be divided by zero is 0.
 *
 * @param counts what the scores are made of, by label
 * @param labels the scores of each label, by name
 * @param micro of all labels' counts together
 * @param macro the plain mean over the labels
 * @param weighted the mean over the labels, by support
 */
public record LabelReport(
    SortedMap<String, Counts> counts,
    SortedMap<String, Scores> labels,
    Scores micro,
    Scores macro,
    Scores weighted) {

  /** Sums of these over all labels stay far below 2^63. */
  private static final long MOST = 1L << 40;

  /**
   * How often something was there, was predicted, and both.
   *
   * @param correct predictions that are right
   * @param predicted all predictions
   * @param gold what there was to find
   */
  public record Counts(long correct, long predicted, long gold) {
    Counts plus(Counts other) {
      return new Counts(correct + other.correct, predicted + other.predicted, gold + other.gold);
    }
  }

  /**
   * Scores from 0 to 1.
   *
   * @param precision correct / predicted
   * @param recall correct / gold
   * @param f1 the harmonic mean of both
   * @param support gold: what there was to find
   */
  public record Scores(double precision, double recall, double f1, long support) {
    static Scores of(Counts counts) {
      return new Scores(
          ratio(counts.correct, counts.predicted),
          ratio(counts.correct, counts.gold),
          ratio(2 * counts.correct, counts.predicted + counts.gold),
          counts.gold);
    }

    private static double ratio(long part, long whole) {
      return whole == 0 ? 0 : (double) part / whole;
    }
  }

  /**
   * Makes the report of some counts.
   *
   * @param counts of each label
   * @return the scores; all 0 where there are no labels
   * @throws IllegalArgumentException where a count is negative or beyond 2^40, or more are right
   *     than were predicted or there
   */
  public static LabelReport of(Map<String, Counts> counts) {
    counts.forEach(LabelReport::check);
    SortedMap<String, Scores> labels = new TreeMap<>();
    counts.forEach((label, count) -> labels.put(label, Scores.of(count)));
    Counts all = counts.values().stream().reduce(new Counts(0, 0, 0), Counts::plus);
    double[] macro = new double[3];
    double[] weighted = new double[3];
    for (Scores scores : labels.values()) {
      add(macro, scores, 1.0 / labels.size());
      if (all.gold > 0) {
        add(weighted, scores, (double) scores.support / all.gold);
      }
    }
    return new LabelReport(
        Collections.unmodifiableSortedMap(new TreeMap<>(counts)),
        Collections.unmodifiableSortedMap(labels),
        Scores.of(all),
        new Scores(macro[0], macro[1], macro[2], all.gold),
        new Scores(weighted[0], weighted[1], weighted[2], all.gold));
  }

  private static void check(String label, Counts of) {
    if (of.correct < 0
        || of.correct > Math.min(of.predicted, of.gold)
        || Math.max(of.predicted, of.gold) > MOST) {
      throw new IllegalArgumentException(
          String.format(
              "label \"%s\": %d right of %d predicted and %d there",
              label, of.correct, of.predicted, of.gold));
    }
  }

  private static void add(double[] means, Scores scores, double weight) {
    means[0] += weight * scores.precision;
    means[1] += weight * scores.recall;
    means[2] += weight * scores.f1;
  }
}
