package dev.sinter.cli;

import dev.sinter.io.AtomicFiles;
import dev.sinter.search.Outcome;
import dev.sinter.search.Standings;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVPrinter;

/** The trials of a search, the best first, for a person and for a program. */
final class TrialTable {
  private final Standings standings;
  private final List<String> header = new ArrayList<>();

  TrialTable(Standings standings, String metric) {
    this.standings = standings;
    header.addAll(List.of("trial", metric, "epochs", "status"));
    standings.ranking().stream()
        .findFirst()
        .ifPresent(outcome -> header.addAll(outcome.trial().options().keySet()));
  }

  private static List<String> row(Outcome outcome, String metric) {
    List<String> row = new ArrayList<>();
    row.add(Integer.toString(outcome.trial().number()));
    row.add(Double.isNaN(outcome.metric()) ? "" : metric);
    row.add(Integer.toString(outcome.resource()));
    row.add(outcome.status().toString().toLowerCase(Locale.ROOT));
    row.addAll(outcome.trial().options().values());
    return row;
  }

  /** Columns of one width each, as far to the right as they go. */
  String text() {
    List<List<String>> rows = new ArrayList<>(List.of(header));
    for (Outcome outcome : standings.ranking()) {
      rows.add(row(outcome, String.format(Locale.ROOT, "%.4f", outcome.metric())));
    }
    StringBuilder text = new StringBuilder();
    int[] widths = new int[header.size()];
    for (List<String> row : rows) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length());
      }
    }
    for (List<String> row : rows) {
      for (int i = 0; i < widths.length; i++) {
        text.append(i == 0 ? "" : "  ").append(" ".repeat(widths[i] - row.get(i).length()));
        text.append(row.get(i));
      }
      text.append(System.lineSeparator());
    }
    return text.toString();
  }

  /** The same with metrics in full precision. */
  void writeCsv(Path file) throws IOException {
    StringBuilder csv = new StringBuilder();
    try (CSVPrinter printer =
        new CSVPrinter(csv, CSVFormat.DEFAULT.builder().setRecordSeparator('\n').get())) {
      printer.printRecord(header);
      for (Outcome outcome : standings.ranking()) {
        printer.printRecord(row(outcome, Double.toString(outcome.metric())));
      }
    }
    AtomicFiles.write(file, csv.toString().getBytes(StandardCharsets.UTF_8));
  }
}
