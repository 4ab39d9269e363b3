package dev.sinter.report;

import dev.sinter.io.CsvLog;
import dev.sinter.io.FormatException;
import dev.sinter.report.RunRecord.Better;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.temporal.ChronoUnit;
import java.util.Comparator;
import java.util.List;

/** The metrics.csv of a run that left no more than that, or goes on: its curves. */
final class MetricsLog {
  static final String FILE = "metrics.csv";

  private static final long MOST = 128 << 20;
  private static final String VALIDATION = "validation_loss";
  private static final List<String> KINDS = List.of("train", "validation");

  private MetricsLog() {}

  static RunRecord read(Path folder) throws IOException {
    Path file = folder.resolve(FILE);
    if (Files.size(file) > MOST) {
      throw new FormatException(
          file, "has " + Files.size(file) + " bytes; metrics have at most " + MOST);
    }
    Path name = folder.toAbsolutePath().normalize().getFileName();
    RunRecord.Builder run =
        RunRecord.of(
            name == null ? "run" : name.toString(),
            "train",
            Files.getLastModifiedTime(file).toInstant().truncatedTo(ChronoUnit.SECONDS));
    CsvLog.Table table = CsvLog.read(file);
    try {
      run.curves(table);
    } catch (IllegalArgumentException e) {
      throw new FormatException(file, "two columns are one curve: " + e.getMessage(), e);
    }
    if (table.columns().contains(VALIDATION)) {
      table.column(VALIDATION).values().stream()
          .min(Comparator.naturalOrder())
          .ifPresent(best -> run.metric("best validation loss", best, Better.LOWER));
    }
    return run.build();
  }

  /** A column as a curve is called: train_loss is train/loss. */
  static String curve(String column) {
    for (String kind : KINDS) {
      if (column.startsWith(kind + "_")) {
        return kind + "/" + column.substring(kind.length() + 1).replace('_', ' ');
      }
    }
    return column.replace('_', ' ');
  }
}
