package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.io.FormatException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/** Which labels there are, and that data have no others. */
final class Labels {
  private static final int LISTED = 20;

  private Labels() {}

  /**
   * Chooses a head's labels.
   *
   * @param named by the user, in order; empty: none
   * @param base those of the model that is tuned; empty: its head is of another kind
   * @param warnings hears of a label of the base that is never used
   * @throws DataException where a label is none of those named, or one that is named has no example
   */
  static List<String> choose(
      List<Sample> train, List<String> named, List<String> base, Consumer<String> warnings)
      throws DataException {
    Map<String, Sample> found = new HashMap<>();
    for (Sample sample : train) {
      sample.gold().forEach(label -> found.putIfAbsent(label, sample));
    }
    if (!named.isEmpty()) {
      Set<String> unused = new LinkedHashSet<>(named);
      for (Sample sample : train) {
        for (String label : sample.gold()) {
          unused.remove(named.get(index(named, label, sample, "that were named")));
        }
      }
      if (!unused.isEmpty()) {
        throw new DataException(
            train.get(0).file(),
            0,
            train.get(0).column(),
            "no row has the label "
                + listed(unused)
                + "; add examples, or leave it out of the labels");
      }
      return named;
    }
    if (found.keySet().stream().allMatch(label -> find(base, label) >= 0)) {
      Set<String> unused = new LinkedHashSet<>(base);
      found.keySet().forEach(label -> unused.remove(base.get(find(base, label))));
      if (!unused.isEmpty()) {
        warnings.accept(
            "the model's label "
                + listed(unused)
                + " has no example in "
                + train.get(0).file()
                + "; it will be forgotten");
      }
      return base;
    }
    return sorted(found.keySet());
  }

  /** Numbers by their value, O before other tags. */
  private static List<String> sorted(Set<String> labels) {
    boolean numbers = labels.stream().allMatch(label -> label.matches("\\d{1,9}"));
    Comparator<String> order =
        numbers
            ? Comparator.comparingInt(Integer::parseInt)
            : Comparator.comparing((String label) -> !label.equals("O"))
                .thenComparing(Comparator.naturalOrder());
    return labels.stream().sorted(order).toList();
  }

  /**
   * A label's number: by its name, or where labels have names, by its number; -1: there is none.
   */
  private static int find(List<String> labels, String label) {
    int at = labels.indexOf(label);
    if (at < 0 && label.matches("\\d{1,9}") && Integer.parseInt(label) < labels.size()) {
      return Integer.parseInt(label);
    }
    return at;
  }

  private static int index(List<String> labels, String label, Sample sample, String whose)
      throws DataException {
    int at = find(labels, label);
    if (at < 0) {
      throw sample.wrong(
          FormatException.quote(label) + " is none of the labels " + whose + ": " + listed(labels));
    }
    return at;
  }

  /**
   * Calls labels by their names.
   *
   * @throws DataException where one is unknown
   */
  static List<Sample> named(List<Sample> samples, List<String> labels) throws DataException {
    List<Sample> all = new ArrayList<>();
    for (Sample sample : samples) {
      List<String> gold = new ArrayList<>();
      for (String label : sample.gold()) {
        gold.add(labels.get(index(labels, label, sample, "of the training data")));
      }
      all.add(sample.withGold(gold));
    }
    return all;
  }

  /** Of each label, how often it is there. */
  static long[] counts(List<Sample> samples, List<String> labels) {
    Map<String, Long> counts =
        samples.stream()
            .flatMap(sample -> sample.gold().stream())
            .collect(Collectors.groupingBy(label -> label, Collectors.counting()));
    return labels.stream().mapToLong(label -> counts.getOrDefault(label, 0L)).toArray();
  }

  /** All labels of all samples, sorted. */
  static Set<String> of(List<Sample> samples) {
    Set<String> all = new TreeSet<>();
    samples.forEach(sample -> all.addAll(sample.gold()));
    return all;
  }

  private static String listed(Iterable<String> labels) {
    StringBuilder list = new StringBuilder();
    int count = 0;
    for (String label : labels) {
      if (count++ == LISTED) {
        return list.append(", …").toString();
      }
      list.append(list.isEmpty() ? "" : ", ").append(FormatException.quote(label));
    }
    return list.toString();
  }
}
