package dev.sinter.data;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVParser;
import org.apache.commons.csv.CSVRecord;

/**
 * Rows with named columns, from CSV (RFC 4180), TSV or JSON Lines. Each row knows its file and
 * line, and what it lacks is said with them.
 */
public final class Table {
  private static final ObjectMapper JSON =
      JsonMapper.builder(
              // No table of names: a hostile file's would fill it.
              JsonFactory.builder()
                  .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
                  .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                  .build())
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private static final ObjectReader ELEMENT =
      JSON.reader().without(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  private static final int LISTED = 12;

  private final Path file;
  private final List<String> columns;
  private final List<Row> rows;

  private Table(Path file, Set<String> columns, List<Row> rows) {
    this.file = file;
    this.columns = List.copyOf(columns);
    this.rows = List.copyOf(rows);
  }

  /**
   * Reads a file by its name's ending: {@code .csv}; {@code .tsv}; {@code .jsonl}, {@code .ndjson}
   * or {@code .json}, the last of which may hold one array of objects instead.
   *
   * @param file in UTF-8
   * @return its rows, at least one
   * @throws IOException where the file is missing, empty, or not what its name says
   */
  public static Table read(Path file) throws IOException {
    String name = file.toString().toLowerCase(Locale.ROOT);
    if (name.endsWith(".csv")) {
      return csv(file);
    }
    if (name.endsWith(".tsv")) {
      return tsv(file);
    }
    if (name.endsWith(".jsonl") || name.endsWith(".ndjson") || name.endsWith(".json")) {
      return json(file);
    }
    throw new DataException(
        file, 0, null, "its name ends in none of .csv, .tsv, .jsonl, .ndjson and .json");
  }

  /**
   * Reads CSV: a line of column names, then a row a line, fields quoted where they hold commas,
   * quotes or line ends (RFC 4180).
   *
   * @param file in UTF-8
   * @return its rows, at least one
   * @throws IOException where the file is missing, empty or no CSV
   */
  public static Table csv(Path file) throws IOException {
    return separated(file, CSVFormat.RFC4180);
  }

  /**
   * Reads TSV: a line of column names, then a row a line. A quote is a character like any other.
   *
   * @param file in UTF-8
   * @return its rows, at least one
   * @throws IOException where the file is missing, empty or no TSV
   */
  public static Table tsv(Path file) throws IOException {
    return separated(file, CSVFormat.RFC4180.builder().setDelimiter('\t').setQuote(null).get());
  }

  private static Table separated(Path file, CSVFormat format) throws IOException {
    List<String> names = null;
    List<Row> rows = new ArrayList<>();
    try (CSVParser parser = CSVParser.parse(text(file), format)) {
      Iterator<CSVRecord> records = parser.iterator();
      while (true) {
        long line = parser.getCurrentLineNumber() + 1;
        CSVRecord cells;
        try {
          if (!records.hasNext()) {
            break;
          }
          cells = records.next();
        } catch (UncheckedIOException e) {
          throw new DataException(
              file,
              line,
              null,
              "a quote in this row is never closed, or text follows a closing one; a quote within a"
                  + " quoted field is doubled",
              e);
        }
        if (cells.size() == 1 && cells.get(0).isBlank()) {
          continue;
        }
        if (names == null) {
          names = header(file, line, cells);
          continue;
        }
        if (cells.size() != names.size()) {
          throw new DataException(
              file, line, null, cells.size() + " fields; the header has " + names.size());
        }
        ObjectNode values = JSON.createObjectNode();
        for (int i = 0; i < names.size(); i++) {
          values.put(names.get(i), cells.get(i));
        }
        rows.add(new Row(file, line, "", values));
      }
    }
    return table(file, names == null ? Set.of() : new LinkedHashSet<>(names), rows);
  }

  private static List<String> header(Path file, long line, CSVRecord cells) throws IOException {
    List<String> names = new ArrayList<>();
    for (String cell : cells) {
      String name = cell.strip();
      if (names.contains(name)) {
        throw new DataException(
            file, line, null, "two columns are called " + FormatException.quote(name));
      }
      names.add(name);
    }
    return names;
  }

  /**
   * Reads JSON Lines: an object a line; or one array of objects.
   *
   * @param file in UTF-8
   * @return its rows, at least one
   * @throws IOException where the file is missing, empty or no JSON
   */
  public static Table json(Path file) throws IOException {
    return json(file, text(file));
  }

  /**
   * Reads JSON Lines: an object a line; or one array of objects.
   *
   * @param file what messages call it
   * @param text of such a file
   * @return its rows, at least one
   * @throws IOException where it is no JSON
   */
  public static Table json(Path file, String text) throws IOException {
    Set<String> names = new LinkedHashSet<>();
    List<Row> rows = new ArrayList<>();
    if (text.stripLeading().startsWith("[")) {
      array(file, text, rows);
    } else {
      long line = 0;
      for (Iterator<String> lines = text.lines().iterator(); lines.hasNext(); ) {
        String next = lines.next();
        line++;
        if (!next.isBlank()) {
          rows.add(row(file, line, parse(file, line, next)));
        }
      }
    }
    rows.forEach(row -> row.values.fieldNames().forEachRemaining(names::add));
    return table(file, names, rows);
  }

  private static JsonNode parse(Path file, long line, String text) throws IOException {
    try {
      return JSON.readTree(text);
    } catch (JsonProcessingException e) {
      throw noJson(file, line, e);
    }
  }

  private static DataException noJson(Path file, long line, JsonProcessingException e) {
    String message = e.getOriginalMessage().lines().findFirst().orElse("malformed");
    return new DataException(file, line, null, "no JSON: " + message, e);
  }

  private static void array(Path file, String text, List<Row> rows) throws IOException {
    try (JsonParser parser = JSON.createParser(text)) {
      parser.nextToken();
      while (parser.nextToken() != JsonToken.END_ARRAY) {
        long line = parser.currentTokenLocation().getLineNr();
        rows.add(row(file, line, ELEMENT.readTree(parser)));
      }
      if (parser.nextToken() != null) {
        throw new DataException(
            file,
            parser.currentTokenLocation().getLineNr(),
            null,
            "something follows the array of rows");
      }
    } catch (JsonProcessingException e) {
      throw noJson(file, e.getLocation() == null ? 0 : e.getLocation().getLineNr(), e);
    }
  }

  private static Row row(Path file, long line, JsonNode node) throws IOException {
    if (!(node instanceof ObjectNode values)) {
      throw new DataException(file, line, null, "is no JSON object, {\"column\": value, …}");
    }
    return new Row(file, line, "", values);
  }

  private static String text(Path file) throws IOException {
    String text = TextFiles.read(List.of(file));
    return text.startsWith("\uFEFF") ? text.substring(1) : text;
  }

  private static Table table(Path file, Set<String> columns, List<Row> rows) throws IOException {
    if (rows.isEmpty()) {
      throw new DataException(file, 0, null, "has no rows");
    }
    return new Table(file, columns, rows);
  }

  /**
   * Returns the file.
   *
   * @return as its user named it
   */
  public Path file() {
    return file;
  }

  /**
   * Returns the columns' names.
   *
   * @return in the file's order; of JSON Lines, of all rows together
   */
  public List<String> columns() {
    return columns;
  }

  /**
   * Returns the rows.
   *
   * @return in the file's order
   */
  public List<Row> rows() {
    return rows;
  }

  /**
   * Tells whether there is a column.
   *
   * @param column its name
   * @return whether any row has it
   */
  public boolean has(String column) {
    return columns.contains(column);
  }

  /**
   * Finds the first of several names that is a column's.
   *
   * @param names that a column may have
   * @return the one that it has
   * @throws DataException where there is none of them
   */
  public String column(String... names) throws DataException {
    for (String name : names) {
      if (columns.contains(name)) {
        return name;
      }
    }
    throw new DataException(
        file,
        rows.get(0).line,
        null,
        "there is no column " + String.join(" or ", names) + "; there are " + listed(columns));
  }

  private static String listed(List<String> names) {
    StringBuilder list = new StringBuilder();
    int count = 0;
    for (String name : names) {
      if (count++ == LISTED) {
        return list.append(", …").toString();
      }
      list.append(list.isEmpty() ? "" : ", ").append(FormatException.quote(name));
    }
    return list.isEmpty() ? "none" : list.toString();
  }

  /** A row, or an object within one. */
  public static final class Row {
    private final Path file;
    private final long line;
    private final String prefix;
    private final ObjectNode values;

    private Row(Path file, long line, String prefix, ObjectNode values) {
      this.file = file;
      this.line = line;
      this.prefix = prefix;
      this.values = values;
    }

    /**
     * Returns the file.
     *
     * @return as its user named it
     */
    public Path file() {
      return file;
    }

    /**
     * Returns the line on which the row begins.
     *
     * @return from 1
     */
    public long line() {
      return line;
    }

    /**
     * Returns the columns' names.
     *
     * @return in the row's order
     */
    public List<String> columns() {
      List<String> names = new ArrayList<>();
      values.fieldNames().forEachRemaining(names::add);
      return names;
    }

    /**
     * Tells whether a column has a value.
     *
     * @param column its name
     * @return false where it is missing, empty or null
     */
    public boolean has(String column) {
      JsonNode value = values.get(column);
      return value != null && !value.isNull() && !(value.isTextual() && value.asText().isEmpty());
    }

    /**
     * Tells whether a column holds an array.
     *
     * @param column its name
     * @return false where it is missing or one value
     */
    public boolean isArray(String column) {
      return values.path(column).isArray();
    }

    /**
     * Returns a text, or a number or truth value as text.
     *
     * @param column its name
     * @return not empty
     * @throws DataException where the column is missing, empty, or holds an array or an object
     */
    public String text(String column) throws DataException {
      return text(column, value(column));
    }

    /**
     * Returns a text that may be missing.
     *
     * @param column its name
     * @return empty where the column is missing, empty or null
     * @throws DataException where it holds an array or an object
     */
    public String textOrEmpty(String column) throws DataException {
      return has(column) ? text(column) : "";
    }

    private String text(String column, JsonNode value) throws DataException {
      if (!value.isValueNode() || value.isNull()) {
        throw wrong(column, "is no text");
      }
      return value.asText();
    }

    /**
     * Returns a number.
     *
     * @param column its name
     * @return finite
     * @throws DataException where the column is missing, empty or no number
     */
    public double number(String column) throws DataException {
      return number(column, value(column));
    }

    private double number(String column, JsonNode value) throws DataException {
      String text = text(column, value);
      try {
        double number = Double.parseDouble(text);
        if (Double.isFinite(number)) {
          return number;
        }
      } catch (NumberFormatException e) {
        throw wrong(column, FormatException.quote(text) + " is no number", e);
      }
      throw wrong(column, FormatException.quote(text) + " is no finite number");
    }

    /**
     * Returns a whole number.
     *
     * @param column its name
     * @return as an int
     * @throws DataException where the column is missing, empty, no whole number or too large
     */
    public int integer(String column) throws DataException {
      return integer(column, value(column));
    }

    private int integer(String column, JsonNode value) throws DataException {
      double number = number(column, value);
      if (number != (int) number) {
        throw wrong(column, FormatException.quote(value.asText()) + " is no whole number");
      }
      return (int) number;
    }

    /**
     * Returns the texts of an array.
     *
     * @param column its name
     * @return in order; may be empty, and so may each
     * @throws DataException where the column is missing, no array, or an element is no text
     */
    public List<String> texts(String column) throws DataException {
      List<String> texts = new ArrayList<>();
      for (JsonNode element : array(column)) {
        texts.add(text(column, element));
      }
      return texts;
    }

    /**
     * Returns the whole numbers of an array.
     *
     * @param column its name
     * @return in order; may be empty
     * @throws DataException where the column is missing, no array, or an element no whole number
     */
    public int[] integers(String column) throws DataException {
      JsonNode array = array(column);
      int[] numbers = new int[array.size()];
      for (int i = 0; i < numbers.length; i++) {
        numbers[i] = integer(column, array.get(i));
      }
      return numbers;
    }

    private JsonNode array(String column) throws DataException {
      JsonNode value = value(column);
      if (!value.isArray()) {
        throw wrong(column, "is no array, [\"…\", …]");
      }
      return value;
    }

    /**
     * Returns an object within the row: its columns are named {@code column.name} in messages.
     *
     * @param column its name
     * @return its fields as a row
     * @throws DataException where the column is missing or no object
     */
    public Row object(String column) throws DataException {
      return object(column, value(column));
    }

    private Row object(String column, JsonNode value) throws DataException {
      if (!(value instanceof ObjectNode object)) {
        throw wrong(column, "is no object, {\"name\": value, …}");
      }
      return new Row(file, line, prefix + column + ".", object);
    }

    /**
     * Returns the objects of an array.
     *
     * @param column its name
     * @return in order; may be empty
     * @throws DataException where the column is missing, no array, or an element is no object
     */
    public List<Row> objects(String column) throws DataException {
      List<Row> objects = new ArrayList<>();
      for (JsonNode element : array(column)) {
        objects.add(object(column, element));
      }
      return objects;
    }

    /**
     * Says what is wrong with a value of this row.
     *
     * @param column its name
     * @param what is wrong, and where it helps, what to do
     * @return to be thrown
     */
    public DataException wrong(String column, String what) {
      return new DataException(file, line, prefix + column, what);
    }

    private DataException wrong(String column, String what, Throwable cause) {
      return new DataException(file, line, prefix + column, what, cause);
    }

    private JsonNode value(String column) throws DataException {
      JsonNode value = values.get(column);
      if (value == null) {
        throw wrong(column, "there is no such column; there are " + listed(columns()));
      }
      if (!has(column)) {
        throw wrong(column, "is empty");
      }
      return value;
    }
  }
}
