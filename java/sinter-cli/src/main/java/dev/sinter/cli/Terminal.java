package dev.sinter.cli;

/** What the user's terminal can show. */
final class Terminal {
  private Terminal() {}

  /** Whether a person watches: the launcher says so, as Java 22 and later cannot. */
  static boolean isInteractive() {
    return "1".equals(System.getenv("SINTER_TERMINAL"));
  }
}
