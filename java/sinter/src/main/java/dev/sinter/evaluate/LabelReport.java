package dev.sinter.evaluate;

import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.ToLongFunction;

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

  private static final int COLUMN = 9;
  private static final int WIDEST_MEAN = "weighted avg".length();

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
    SortedMap<String, Scores> labels = new TreeMap<>(Words.BY_CHARACTER);
    counts.forEach((label, count) -> labels.put(label, Scores.of(count)));
    SortedMap<String, Counts> ordered = new TreeMap<>(Words.BY_CHARACTER);
    ordered.putAll(counts);
    Counts all = counts.values().stream().reduce(new Counts(0, 0, 0), Counts::plus);
    return new LabelReport(
        Collections.unmodifiableSortedMap(ordered),
        Collections.unmodifiableSortedMap(labels),
        Scores.of(all),
        mean(labels.values(), scores -> 1, all.gold),
        mean(labels.values(), Scores::support, all.gold));
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

  /** Divided once, at the end, as NumPy does: so that what is printed rounds alike. */
  private static Scores mean(
      Iterable<Scores> labels, ToLongFunction<Scores> weightOf, long support) {
    double precision = 0;
    double recall = 0;
    double f1 = 0;
    long weights = 0;
    for (Scores scores : labels) {
      long weight = weightOf.applyAsLong(scores);
      precision += weight * scores.precision;
      recall += weight * scores.recall;
      f1 += weight * scores.f1;
      weights += weight;
    }
    return weights == 0
        ? new Scores(0, 0, 0, support)
        : new Scores(precision / weights, recall / weights, f1 / weights, support);
  }

  /**
   * The table that scikit-learn's {@code classification_report} prints, and seqeval's: a row for
   * each label and each mean.
   *
   * @param digits of each score, behind the point
   * @return lines, each with its end
   */
  public String table(int digits) {
    return table(digits, false);
  }

  /**
   * The same.
   *
   * @param isAccuracy whether all labels are there: precision, recall and F1 of all together are
   *     then the accuracy, and scikit-learn calls it so
   */
  String table(int digits, boolean isAccuracy) {
    int width = Math.max(WIDEST_MEAN, Math.max(Table.longest(labels.keySet()), digits));
    Table table = new Table().right("", width).add(" ");
    for (String column : List.of("precision", "recall", "f1-score", "support")) {
      table.add(" ").right(column, COLUMN);
    }
    table.line().line();
    labels.forEach((label, scores) -> row(table, label, width, scores, digits));
    table.line();
    if (isAccuracy) {
      table.right("accuracy", width).right("", 2 * (COLUMN + 1) + 2);
      table.right(Table.fixed(micro.f1, digits), COLUMN).add(" ");
      table.right(Long.toString(micro.support), COLUMN).line();
    } else {
      row(table, "micro avg", width, micro, digits);
    }
    row(table, "macro avg", width, macro, digits);
    row(table, "weighted avg", width, weighted, digits);
    return table.toString();
  }

  private static void row(Table table, String name, int width, Scores scores, int digits) {
    table.right(name, width).add(" ");
    for (double score : new double[] {scores.precision, scores.recall, scores.f1}) {
      table.add(" ").right(Table.fixed(score, digits), COLUMN);
    }
    table.add(" ").right(Long.toString(scores.support), COLUMN).line();
  }
}
