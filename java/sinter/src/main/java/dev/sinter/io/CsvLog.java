package dev.sinter.io;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/** A table that grows by a row at a time; the first column is a step. */
public final class CsvLog implements AutoCloseable {
  private final BufferedWriter out;

  private CsvLog(BufferedWriter out) {
    this.out = out;
  }

  /**
   * Opens a table. One that is there is continued: rows after {@code step} belong to a future that a resumed run takes
   * anew, and are dropped.
   *
   * @param path of the file
   * @param header its columns
   * @param step the last whose rows stay; 0 starts the table anew
   * @return the table; the caller closes it
   * @throws IOException where it cannot be written
   */
  public static CsvLog open(Path path, String header, long step) throws IOException {
    List<String> kept = new ArrayList<>();
    kept.add(header);
    if (step > 0 && Files.exists(path)) {
      List<String> lines = Files.readAllLines(path, StandardCharsets.UTF_8);
      if (lines.isEmpty() || !lines.get(0).equals(header)) {
        throw new FormatException(path, "its columns are not " + header + "; move it away");
      }
      for (String line : lines.subList(1, lines.size())) {
        if (isAtMost(line, step)) {
          kept.add(line);
        }
      }
    }
    AtomicFiles.write(path, (String.join("\n", kept) + "\n").getBytes(StandardCharsets.UTF_8));
    return new CsvLog(
        Files.newBufferedWriter(path, StandardCharsets.UTF_8, StandardOpenOption.APPEND));
  }

  private static boolean isAtMost(String line, long step) {
    int comma = line.indexOf(',');
    try {
      return comma > 0 && Long.parseLong(line.substring(0, comma)) <= step;
    } catch (NumberFormatException e) {
      return false; // a row that a killed run did not finish
    }
  }

  /**
   * Appends a row.
   *
   * @param row values separated by commas
   * @throws IOException where it cannot be written
   */
  public void append(String row) throws IOException {
    out.write(row);
    out.write('\n');
    out.flush();
  }

  @Override
  public void close() throws IOException {
    out.close();
  }
}
