package dev.sinter.evaluate;

import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Which label was taken for which: what accuracy, F1 of each label and MCC are computed from. */
public final class Confusion {
  /** Sums of these over any matrix that fits into memory stay below 2^63. */
  private static final long MOST = 1L << 40;

  private final List<String> labels;
  private final long[][] counts;

  private Confusion(List<String> labels, long[][] counts) {
    this.labels = labels;
    this.counts = counts;
  }

  /**
   * Counts predictions.
   *
   * @param gold the right labels
   * @param predicted one for each
   * @return the counts, over all labels of both
   * @throws IllegalArgumentException where there are not as many of both, or none
   */
  public static Confusion of(List<String> gold, List<String> predicted) {
    Check.sameSize("labels", gold.size(), "predicted ones", predicted.size());
    Set<String> all = new HashSet<>(gold);
    all.addAll(predicted);
    List<String> labels = all.stream().sorted(Words.BY_CHARACTER).toList();
    Map<String, Integer> places = new HashMap<>();
    labels.forEach(label -> places.put(label, places.size()));
    long[][] counts = new long[labels.size()][labels.size()];
    for (int i = 0; i < gold.size(); i++) {
      counts[places.get(gold.get(i))][places.get(predicted.get(i))]++;
    }
    return new Confusion(labels, counts);
  }

  /**
   * Takes counts that were made before.
   *
   * @param labels the labels, each once
   * @param counts for each right label a row: how often each label was predicted for it
   * @return the counts
   * @throws IllegalArgumentException where a label stands twice, there are no predictions, or
   *     {@code counts} is not a square of as many rows as labels
   */
  public static Confusion of(List<String> labels, long[][] counts) {
    if (new HashSet<>(labels).size() < labels.size()) {
      throw new IllegalArgumentException("a label stands twice among " + labels);
    }
    if (counts.length != labels.size()) {
      throw new IllegalArgumentException(counts.length + " rows for " + labels.size() + " labels");
    }
    long[][] copy = new long[counts.length][];
    long all = 0;
    for (int i = 0; i < counts.length; i++) {
      copy[i] = counts[i].clone();
      if (copy[i].length != labels.size()) {
        throw new IllegalArgumentException(
            copy[i].length + " counts of label \"" + labels.get(i) + "\" for " + labels.size());
      }
      for (long count : copy[i]) {
        if (count < 0 || count > MOST) {
          throw new IllegalArgumentException("a count of " + count + "; 0 to " + MOST);
        }
        all += count;
      }
    }
    if (all == 0) {
      throw new IllegalArgumentException("there are no predictions");
    }
    return new Confusion(List.copyOf(labels), copy);
  }

  /**
   * Returns the labels.
   *
   * @return all that occur, sorted; or those that were given
   */
  public List<String> labels() {
    return labels;
  }

  /**
   * Returns a count.
   *
   * @param gold index of the right label
   * @param predicted index of the predicted label
   * @return how often the one was taken for the other
   */
  public long count(int gold, int predicted) {
    return counts[gold][predicted];
  }

  /**
   * How many predictions there are.
   *
   * @return the sum of all counts
   */
  public long total() {
    long all = 0;
    for (int i = 0; i < counts.length; i++) {
      all += gold(i);
    }
    return all;
  }

  /**
   * The share of predictions that are right.
   *
   * @return from 0 to 1
   */
  public double accuracy() {
    return (double) correct() / total();
  }

  long correct() {
    long correct = 0;
    for (int i = 0; i < counts.length; i++) {
      correct += counts[i][i];
    }
    return correct;
  }

  /**
   * Precision, recall and F1 of each label.
   *
   * @param except labels to leave out, as O, of which a tagger has too many: with O, micro scores
   *     are the accuracy; without, their recall is the accuracy over what is not O
   * @return the scores
   */
  public LabelReport report(String... except) {
    List<String> excluded = List.of(except);
    Map<String, LabelReport.Counts> of = new HashMap<>();
    for (int i = 0; i < counts.length; i++) {
      if (!excluded.contains(labels.get(i))) {
        of.put(labels.get(i), new LabelReport.Counts(counts[i][i], predicted(i), gold(i)));
      }
    }
    return LabelReport.of(of);
  }

  /**
   * The table that scikit-learn's {@code classification_report} prints of all labels.
   *
   * @param digits of each score, behind the point
   * @return lines, each with its end
   */
  public String table(int digits) {
    return report().table(digits, true);
  }

  /**
   * The counts as a table: a row for each right label, a column for each predicted one.
   *
   * @return lines, each with its end
   */
  public String matrix() {
    String corner = "is \\ taken for";
    int longest = Table.longest(labels);
    int first = Math.max(corner.length(), longest);
    int width = longest;
    for (long[] row : counts) {
      for (long count : row) {
        width = Math.max(width, Long.toString(count).length());
      }
    }
    Table table = new Table().left(corner, first);
    for (String label : labels) {
      table.add("  ").right(label, width);
    }
    table.line();
    for (int i = 0; i < counts.length; i++) {
      table.left(labels.get(i), first);
      for (long count : counts[i]) {
        table.add("  ").right(Long.toString(count), width);
      }
      table.line();
    }
    return table.toString();
  }

  /**
   * Matthews' correlation of the right and the predicted labels (Matthews 1975; for more than two
   * labels Gorodkin 2004, eq. 8).
   *
   * @return from -1 to 1; 0 where all labels, or all predictions, are one
   */
  public double matthews() {
    double correct = 0;
    double all = 0;
    double products = 0;
    double goldSquares = 0;
    double predictedSquares = 0;
    for (int i = 0; i < counts.length; i++) {
      double gold = gold(i);
      double predicted = predicted(i);
      correct += counts[i][i];
      all += gold;
      products += gold * predicted;
      goldSquares += gold * gold;
      predictedSquares += predicted * predicted;
    }
    double spread = (all * all - goldSquares) * (all * all - predictedSquares);
    return spread == 0 ? 0 : (correct * all - products) / Math.sqrt(spread);
  }

  private long gold(int label) {
    long sum = 0;
    for (long count : counts[label]) {
      sum += count;
    }
    return sum;
  }

  private long predicted(int label) {
    long sum = 0;
    for (long[] row : counts) {
      sum += row[label];
    }
    return sum;
  }
}
