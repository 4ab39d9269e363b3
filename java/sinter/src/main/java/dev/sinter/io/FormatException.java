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

  /**
   * Describes what is wrong.
   *
   * @param file the file, as its user named it
   * @param problem what is wrong, and where it helps, what to do
   */
  public FormatException(Path file, String problem) {
    super(file + ": " + problem);
  }

  /**
   * Describes what is wrong.
   *
   * @param file the file, as its user named it
   * @param problem what is wrong, and where it helps, what to do
   * @param cause what led to it
   */
  public FormatException(Path file, String problem, Throwable cause) {
    super(file + ": " + problem, cause);
  }

  /**
   * Quotes text of unknown origin so that a message with it stays one line of moderate length.
   *
   * @param text what a file says
   * @return the text in double quotes, control characters escaped, cut after 80 characters
   */
  static String quote(String text) {
    var quoted = new StringBuilder("\"");
    for (int i = 0; i < Math.min(text.length(), QUOTED_LENGTH); i++) {
      char c = text.charAt(i);
      if (Character.isISOControl(c) || Character.isSurrogate(c) || c == '\u2028' || c == '\u2029') {
        quoted.append(String.format("\\u%04x", (int) c));
      } else {
        quoted.append(c);
      }
    }
    return quoted.append(text.length() > QUOTED_LENGTH ? "…\"" : "\"").toString();
  }
}
