package dev.sinter.evaluate;

/** Arguments that belong together. */
final class Check {
  private Check() {}

  /**
   * Two lists of one thing each.
   *
   * @throws IllegalArgumentException where one is longer, or both are empty
   */
  static void sameSize(String what, int size, String other, int otherSize) {
    if (size != otherSize) {
      throw new IllegalArgumentException(
          size + " " + what + ", " + otherSize + " " + other + "; each needs its counterpart");
    }
    if (size == 0) {
      throw new IllegalArgumentException("there are no " + what);
    }
  }
}
