package dev.sinter.evaluate;

import java.math.BigDecimal;
import java.math.RoundingMode;

/** Columns of text, as programs in C and Python align them. */
final class Table {
  private final StringBuilder text = new StringBuilder();

  /** Puts a cell at the right of its column; one that is too wide takes its room. */
  Table right(String cell, int width) {
    text.append(" ".repeat(Math.max(0, width - length(cell)))).append(cell);
    return this;
  }

  Table left(String cell, int width) {
    text.append(cell).append(" ".repeat(Math.max(0, width - length(cell))));
    return this;
  }

  Table add(String cell) {
    text.append(cell);
    return this;
  }

  Table line() {
    text.append('\n');
    return this;
  }

  @Override
  public String toString() {
    return text.toString();
  }

  /** Characters as Python counts them. */
  static int length(String text) {
    return text.codePointCount(0, text.length());
  }

  static int longest(Iterable<String> texts) {
    int longest = 0;
    for (String text : texts) {
      longest = Math.max(longest, length(text));
    }
    return longest;
  }

  /**
   * A finite number as C prints it with {@code %.2f}: what lies exactly in the middle goes to the
   * even digit. Java's own format goes up, and takes for the middle what only looks like it.
   */
  static String fixed(double value, int digits) {
    return new BigDecimal(value).setScale(digits, RoundingMode.HALF_EVEN).toPlainString();
  }
}
