package dev.sinter.graph;

/**
 * A failure of the engine: native code, device or memory. Its message is one line that says what to
 * do.
 */
public class SinterException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the exception.
   *
   * @param message one line
   */
  public SinterException(String message) {
    super(message);
  }

  /**
   * Creates the exception.
   *
   * @param message one line
   * @param cause what led to it
   */
  public SinterException(String message, Throwable cause) {
    super(message, cause);
  }
}
