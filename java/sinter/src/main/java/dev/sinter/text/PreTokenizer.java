package dev.sinter.text;

/**
 * Cuts text as GPT-2's regular expression does, without one: contractions, letters, numbers and
 * others, each with at most one space before it, and runs of white space.
 */
final class PreTokenizer {
  private static final int SPACE = Characters.kind(' ');

  private PreTokenizer() {}

  /** The end of the piece that starts at {@code at}, in a text that ends at {@code length}. */
  static int end(String text, int at, int length) {
    char first = text.charAt(at);
    if (first == '\'') {
      int contraction = contraction(text, at, length);
      if (contraction > 0) {
        return at + contraction;
      }
    }
    int start = first == ' ' && at + 1 < length ? at + 1 : at;
    int kind = Characters.kind(codePoint(text, start, length));
    if (kind != SPACE) {
      return endOfRun(text, start, length, kind);
    }
    int end = endOfRun(text, at, length, SPACE);
    // White space before a word leaves its last character to the word, or alone.
    return end == length || end - at == 1 ? end : end - 1;
  }

  private static int contraction(String text, int at, int length) {
    if (at + 1 >= length) {
      return 0;
    }
    char next = text.charAt(at + 1);
    if (next == 's' || next == 't' || next == 'm' || next == 'd') {
      return 2;
    }
    if (at + 2 >= length) {
      return 0;
    }
    char last = text.charAt(at + 2);
    boolean two =
        (next == 'r' && last == 'e')
            || (next == 'v' && last == 'e')
            || (next == 'l' && last == 'l');
    return two ? 3 : 0;
  }

  private static int endOfRun(String text, int at, int length, int kind) {
    while (at < length) {
      int character = codePoint(text, at, length);
      if (Characters.kind(character) != kind) {
        break;
      }
      at += Character.charCount(character);
    }
    return at;
  }

  /** Half a pair at the end of the text stays half a pair, whatever comes after the end. */
  private static int codePoint(String text, int at, int length) {
    char c = text.charAt(at);
    return Character.isHighSurrogate(c) && at + 1 < length ? text.codePointAt(at) : c;
  }
}
