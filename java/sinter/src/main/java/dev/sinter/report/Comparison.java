package dev.sinter.report;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;

/**
 * Runs side by side.
 *
 * @param metrics the headline numbers of all runs
 * @param settings those settings that are not the same in all runs
 */
record Comparison(List<Metric> metrics, List<Setting> settings) {
  /**
   * One number of each run.
   *
   * @param name what it is
   * @param better which of two values wins
   * @param values by run; NaN where a run has none
   */
  record Metric(String name, RunRecord.Better better, List<Double> values) {
    /** The best of all runs' values; NaN where no run has one. */
    double best() {
      double best = Double.NaN;
      for (double value : values) {
        boolean isBetter =
            Double.isNaN(best) || (better == RunRecord.Better.HIGHER ? value > best : value < best);
        best = isBetter ? value : best;
      }
      return best;
    }

    /** Whether a run has the best value, and another a worse one. */
    boolean isBest(int run) {
      double best = best();
      return values.get(run) == best
          && values.stream().anyMatch(value -> !value.isNaN() && value != best);
    }
  }

  /**
   * One setting of each run.
   *
   * @param name what it is
   * @param values by run; nothing where a run has none
   */
  record Setting(String name, List<Optional<String>> values) {}

  static Comparison of(List<RunRecord> runs) {
    List<Metric> metrics = new ArrayList<>();
    for (String name :
        names(runs, run -> run.metrics().stream().map(RunRecord.Metric::name).toList())) {
      List<Double> values =
          runs.stream()
              .map(run -> metric(run, name))
              .map(found -> found.map(RunRecord.Metric::value).orElse(Double.NaN))
              .toList();
      RunRecord.Better better =
          runs.stream()
              .flatMap(run -> metric(run, name).stream())
              .findFirst()
              .orElseThrow()
              .better();
      metrics.add(new Metric(name, better, values));
    }
    List<Setting> settings = new ArrayList<>();
    for (String name : names(runs, run -> run.settings().keySet())) {
      List<Optional<String>> values =
          runs.stream().map(run -> Optional.ofNullable(run.settings().get(name))).toList();
      if (values.stream().distinct().count() > 1) {
        settings.add(new Setting(name, values));
      }
    }
    return new Comparison(List.copyOf(metrics), List.copyOf(settings));
  }

  private static Optional<RunRecord.Metric> metric(RunRecord run, String name) {
    return run.metrics().stream().filter(metric -> metric.name().equals(name)).findFirst();
  }

  /** All names, in the order in which they are met. */
  private static Set<String> names(
      List<RunRecord> runs, Function<RunRecord, Iterable<String>> namesOf) {
    Set<String> names = new LinkedHashSet<>();
    runs.forEach(run -> namesOf.apply(run).forEach(names::add));
    return names;
  }
}
