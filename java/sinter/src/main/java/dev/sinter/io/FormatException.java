package dev.sinter.io;

import java.io.IOException;
import java.nio.file.Path;

/**
 * A file that is not what it should be. The message is one line: which file, and what is wrong with
 * it.
 */
public final class FormatException extends IOException {
  private static final long serialVersionUID = 1;
  private static final int QUOTED_LENGTH = 80;
  private static final int LENGTH = 400;

  /**
   * Describes what is wrong.
   *
   * @param file the file, as its user named it
   * @param problem what is wrong, and where it helps, what to do
   */
  public FormatException(Path file, String problem) {
    super(file + ": " + line(problem, LENGTH));
  }

  /**
   * Describes what is wrong.
   *
   * @param file the file, as its user named it
   * @param problem what is wrong, and where it helps, what to do
   * @param cause what led to it
   */
  public FormatException(Path file, String problem, Throwable cause) {
    super(file + ": " + line(problem, LENGTH), cause);
  }

  /**
   * Quotes text of unknown origin so that a message with it stays one line of moderate length.
   *
   * @param text what a file says
   * @return the text in double quotes, control characters escaped, cut after 80 characters
   */
  public static String quote(String text) {
    return "\"" + line(text, QUOTED_LENGTH) + "\"";
  }

  private static String line(String text, int most) {
    var line = new StringBuilder();
    int next = 0;
    while (next < text.length() && line.length() < most) {
      char c = text.charAt(next++);
      switch (Character.getType(c)) {
        case Character.CONTROL,
            Character.FORMAT, // turns the direction of what follows, among others
            Character.SURROGATE,
            Character.LINE_SEPARATOR,
            Character.PARAGRAPH_SEPARATOR ->
            line.append(String.format("\\u%04x", (int) c));
        default -> line.append(c);
      }
    }
    return line.append(next < text.length() ? "…" : "").toString();
  }
}
