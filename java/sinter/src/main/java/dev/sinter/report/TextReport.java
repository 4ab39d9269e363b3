package dev.sinter.report;

import dev.sinter.evaluate.Calibration;
import dev.sinter.evaluate.Entities;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** Runs as tables for a terminal. */
public final class TextReport {
  /** More labels than these make a confusion matrix that no terminal holds. */
  private static final int MOST_COLUMNS = 12;

  private static final int DIGITS = 4;

  private TextReport() {}

  /**
   * Makes the tables of one run, or one that puts several side by side.
   *
   * @param runs at least one
   * @return lines, each with its end; what would steer a terminal is replaced
   * @throws IllegalArgumentException where there is no run
   */
  public static String of(List<RunRecord> runs) {
    if (runs.isEmpty()) {
      throw new IllegalArgumentException("there is no run to report on");
    }
    String text = runs.size() == 1 ? run(runs.get(0)) : comparison(runs);
    return text.codePoints()
        .map(c -> c != '\n' && Character.getType(c) == Character.CONTROL ? '\ufffd' : c)
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }

  private static String run(RunRecord run) {
    List<String> parts = new ArrayList<>();
    parts.add(run.name() + ": " + run.task() + ", " + run.date() + "\n");
    List<List<String>> metrics = new ArrayList<>();
    for (RunRecord.Metric metric : run.metrics()) {
      metrics.add(List.of(metric.name(), Numbers.show(metric.value())));
    }
    for (RunRecord.Curve curve : run.curves()) {
      if (!curve.points().isEmpty()) {
        metrics.add(List.of(curve.name(), lastOf(curve)));
      }
    }
    parts.add(columns(metrics));
    run.entities()
        .ifPresent(
            entities -> {
              run.confusion().ifPresent(tags -> parts.add(Entities.table(entities, tags)));
              parts.add(entities.table(DIGITS));
            });
    run.confusion()
        .ifPresent(
            confusion -> {
              parts.add(confusion.table(DIGITS));
              if (confusion.labels().size() <= MOST_COLUMNS) {
                parts.add(confusion.matrix());
              }
            });
    run.calibration().ifPresent(calibration -> parts.add(calibration(calibration)));
    parts.removeIf(String::isEmpty);
    return String.join("\n", parts);
  }

  private static String lastOf(RunRecord.Curve curve) {
    RunRecord.Point last = curve.points().get(curve.points().size() - 1);
    return Numbers.show(last.value()) + " at step " + last.step();
  }

  private static String calibration(Calibration calibration) {
    List<List<String>> rows = new ArrayList<>();
    rows.add(List.of("probability", "mean", "right", "predictions"));
    int bins = calibration.bins().size();
    for (int i = 0; i < bins; i++) {
      Calibration.Bin bin = calibration.bins().get(i);
      if (bin.count() > 0) {
        rows.add(
            List.of(
                String.format(Locale.ROOT, "%.3f–%.3f", (double) i / bins, (i + 1.0) / bins),
                Numbers.score(bin.probability()),
                Numbers.score(bin.accuracy()),
                Long.toString(bin.count())));
      }
    }
    return columns(rows)
        + String.format(
            Locale.ROOT,
            "expected calibration error %.4f, Brier score %.4f\n",
            calibration.expectedError(),
            calibration.brier());
  }

  private static String comparison(List<RunRecord> runs) {
    Comparison comparison = Comparison.of(runs);
    List<List<String>> metrics = new ArrayList<>();
    metrics.add(row("", runs.stream().map(RunRecord::name).toList()));
    for (Comparison.Metric metric : comparison.metrics()) {
      List<String> values = new ArrayList<>();
      for (int i = 0; i < runs.size(); i++) {
        values.add((metric.isBest(i) ? "* " : "") + Numbers.show(metric.values().get(i)));
      }
      metrics.add(row(metric.name(), values));
    }
    List<List<String>> settings = new ArrayList<>();
    for (Comparison.Setting setting : comparison.settings()) {
      List<String> values = new ArrayList<>();
      for (Optional<String> value : setting.values()) {
        values.add(value.orElse("–").replace('\n', ' '));
      }
      settings.add(row(setting.name(), values));
    }
    String differ = settings.isEmpty() ? "" : "\nsettings that differ\n" + columns(settings);
    return columns(metrics) + differ;
  }

  private static List<String> row(String name, List<String> values) {
    List<String> row = new ArrayList<>(List.of(name));
    row.addAll(values);
    return row;
  }

  /** Rows of as many cells each: the first at the left of its column, the others at the right. */
  private static String columns(List<List<String>> rows) {
    StringBuilder text = new StringBuilder();
    for (List<String> row : rows) {
      for (int i = 0; i < row.size(); i++) {
        int column = i;
        int width = rows.stream().mapToInt(other -> length(other.get(column))).max().orElse(0);
        String room = " ".repeat(width - length(row.get(i)));
        text.append(i == 0 ? row.get(i) + room : "  " + room + row.get(i));
      }
      text.append('\n');
    }
    return text.toString();
  }

  private static int length(String text) {
    return text.codePointCount(0, text.length());
  }
}
