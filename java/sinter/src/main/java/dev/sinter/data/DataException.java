package dev.sinter.data;

import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Path;

/**
 * Data that is not what a task needs. The message is one line: {@code FILE: line 7, column label:
 * what is wrong}.
 */
public final class DataException extends IOException {
  private static final long serialVersionUID = 1;

  /**
   * Describes what is wrong.
   *
   * @param file the file, as its user named it
   * @param line from 1; 0: the file as a whole
   * @param column its name; null: the line as a whole
   * @param what is wrong, and where it helps, what to do
   */
  public DataException(Path file, long line, String column, String what) {
    super(message(file, line, column, what));
  }

  /**
   * Describes what is wrong.
   *
   * @param file the file, as its user named it
   * @param line from 1; 0: the file as a whole
   * @param column its name; null: the line as a whole
   * @param what is wrong, and where it helps, what to do
   * @param cause what led to it
   */
  public DataException(Path file, long line, String column, String what, Throwable cause) {
    super(message(file, line, column, what), cause);
  }

  private static String message(Path file, long line, String column, String what) {
    String place = line == 0 ? "" : "line " + line;
    if (column != null) {
      place += (place.isEmpty() ? "" : ", ") + "column " + column;
    }
    // One line of moderate length, whatever the file says.
    return new FormatException(file, place.isEmpty() ? what : place + ": " + what).getMessage();
  }
}
