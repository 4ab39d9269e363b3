package dev.sinter.text;

import java.util.Arrays;

/** A text that was changed, with the place in the original that each of its chars came from. */
final class MappedText {
  private final StringBuilder text;
  private int[] starts;
  private int[] ends;

  MappedText(int expected) {
    text = new StringBuilder(expected);
    starts = new int[Math.max(8, expected)];
    ends = new int[starts.length];
  }

  /** A text as it is. */
  static MappedText of(String original) {
    MappedText mapped = new MappedText(original.length());
    for (int at = 0; at < original.length(); ) {
      int c = original.codePointAt(at);
      int end = at + Character.charCount(c);
      mapped.append(c, at, end);
      at = end;
    }
    return mapped;
  }

  void append(int codePoint, int start, int end) {
    int at = text.length();
    text.appendCodePoint(codePoint);
    if (text.length() > starts.length) {
      starts = Arrays.copyOf(starts, 2 * starts.length);
      ends = Arrays.copyOf(ends, starts.length);
    }
    for (; at < text.length(); at++) {
      starts[at] = start;
      ends[at] = end;
    }
  }

  int length() {
    return text.length();
  }

  int codePoint(int at) {
    return text.codePointAt(at);
  }

  String substring(int from, int to) {
    return text.substring(from, to);
  }

  /** Where the char at a place begins in the original. */
  int start(int at) {
    return starts[at];
  }

  /** Where the char at a place ends in the original. */
  int end(int at) {
    return ends[at];
  }

  @Override
  public String toString() {
    return text.toString();
  }
}
