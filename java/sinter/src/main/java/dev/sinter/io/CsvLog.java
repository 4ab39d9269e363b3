package dev.sinter.io;

import static dev.sinter.io.FormatException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The metrics of a run as a table of numbers that every tool reads: one row a step, appended as the
 * run goes.
 *
 * <p>The first column is {@code step}; a cell is empty where a step has no such value. Numbers are
 * written with a point and so that they read back to the same value.
 */
public final class CsvLog implements AutoCloseable {
  private static final String STEP = "step";

  private final AppendOnlyFile file;
  private final int columns;

  private CsvLog(AppendOnlyFile file, int columns) {
    this.file = file;
    this.columns = columns;
  }

  /**
   * What a log holds.
   *
   * @param columns the columns' names, without {@code step}
   * @param rows the values by step, in the columns' order, NaN for an empty cell
   */
  public record Table(List<String> columns, List<Row> rows) {
    /**
     * Picks out one column.
     *
     * @param name its name
     * @return its values by step, without the empty ones
     * @throws IllegalArgumentException where there is no such column
     */
    public Map<Long, Double> column(String name) {
      int column = columns.indexOf(name);
      if (column < 0) {
        throw new IllegalArgumentException("no column " + quote(name) + " among " + columns);
      }
      Map<Long, Double> values = new TreeMap<>();
      for (Row row : rows) {
        if (!row.values().get(column).isNaN()) {
          values.put(row.step(), row.values().get(column));
        }
      }
      return values;
    }
  }

  /**
   * One row.
   *
   * @param step the step
   * @param values the values in the columns' order, NaN for an empty cell
   */
  public record Row(long step, List<Double> values) {}

  /**
   * Opens a log. One that is there is continued: rows after {@code step} belong to a future that a
   * resumed run takes anew, and are dropped, as is a last row that was cut off.
   *
   * @param file the file, created with its folders
   * @param header the columns' names, separated by commas; the first is {@code step}
   * @param step the last whose rows stay; 0 starts the log anew
   * @return the log; the caller closes it
   * @throws FormatException where the file has other columns, or is no such log
   * @throws IOException where it cannot be read or written
   */
  public static CsvLog open(Path file, String header, long step) throws IOException {
    List<String> columns = columns(header);
    var kept = new StringBuilder(header).append('\n');
    if (step > 0 && Files.exists(file)) {
      List<String> lines = wholeLines(file);
      if (!lines.isEmpty() && !lines.get(0).equals(header)) {
        throw new FormatException(
            file,
            String.format(
                "its columns are %s, this run's are %s; move it away to start a new one",
                quote(lines.get(0)), quote(header)));
      }
      for (String line : lines.subList(Math.min(1, lines.size()), lines.size())) {
        if (parse(file, line, columns.size()).step() <= step) {
          kept.append(line).append('\n');
        }
      }
    }
    AtomicFiles.write(file, kept.toString().getBytes(StandardCharsets.UTF_8));
    return new CsvLog(new AppendOnlyFile(file, StandardOpenOption.CREATE), columns.size());
  }

  /**
   * Reads a log, which may still be growing.
   *
   * @param file the file
   * @return its columns and whole rows
   * @throws FormatException where it is no such log
   * @throws IOException where it cannot be read
   */
  public static Table read(Path file) throws IOException {
    List<String> lines = wholeLines(file);
    if (lines.isEmpty() || !(lines.get(0) + ",").startsWith(STEP + ",")) {
      throw new FormatException(file, "does not begin with a header whose first column is step");
    }
    List<String> columns = columns(lines.get(0));
    List<Row> rows = new ArrayList<>();
    for (String line : lines.subList(1, lines.size())) {
      rows.add(parse(file, line, columns.size()));
    }
    return new Table(columns, List.copyOf(rows));
  }

  /**
   * Appends a row.
   *
   * @param step the step
   * @param values one for each column, NaN for none
   * @throws IOException where it cannot be written; the rows before it stay
   * @throws IllegalArgumentException where there are more or fewer values than columns
   * @throws IllegalStateException after {@link #close}
   */
  public void append(long step, double... values) throws IOException {
    if (values.length != columns) {
      throw new IllegalArgumentException(values.length + " values for " + columns + " columns");
    }
    var row = new StringBuilder().append(step);
    for (double value : values) {
      row.append(',').append(format(value));
    }
    row.append('\n');
    file.append(ByteBuffer.wrap(row.toString().getBytes(StandardCharsets.UTF_8)));
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  /** The columns without the step. */
  private static List<String> columns(String header) {
    List<String> names = List.of(header.split(",", -1));
    if (!names.get(0).equals(STEP)) {
      throw new IllegalArgumentException("the first column of " + quote(header) + " is not step");
    }
    return names.subList(1, names.size());
  }

  /** Latin-1 holds every byte: what is no text at all fails as a row, with the name of the file. */
  private static List<String> wholeLines(Path file) throws IOException {
    String text = Files.readString(file, StandardCharsets.ISO_8859_1);
    return text.substring(0, text.lastIndexOf('\n') + 1).lines().toList();
  }

  private static Row parse(Path file, String line, int columns) throws FormatException {
    String[] cells = line.split(",", -1);
    if (cells.length != columns + 1) {
      throw new FormatException(file, "not a row of " + (columns + 1) + " cells: " + quote(line));
    }
    try {
      List<Double> values = new ArrayList<>();
      for (String cell : List.of(cells).subList(1, cells.length)) {
        values.add(cell.isEmpty() ? Double.NaN : Double.parseDouble(cell));
      }
      return new Row(Long.parseLong(cells[0]), List.copyOf(values));
    } catch (NumberFormatException e) {
      throw new FormatException(file, "not a row of numbers: " + quote(line));
    }
  }

  private static String format(double value) {
    if (Double.isNaN(value)) {
      return "";
    }
    if (value == Math.rint(value) && Math.abs(value) < 1e15) {
      return Long.toString((long) value);
    }
    return (float) value == value ? Float.toString((float) value) : Double.toString(value);
  }
}
