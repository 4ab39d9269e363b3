package dev.sinter.io;

import java.io.IOException;
import java.nio.file.Path;

/** A file is not what it should be. The message is one line: where, what, what to do. */
public final class FormatException extends IOException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the exception.
   *
   * @param file where
   * @param what is wrong and what to do
   */
  public FormatException(Path file, String what) {
    super(file + ": " + what);
  }

  /**
   * Creates the exception.
   *
   * @param file where
   * @param what is wrong and what to do
   * @param cause what led to it
   */
  public FormatException(Path file, String what, Throwable cause) {
    super(file + ": " + what, cause);
  }
}
