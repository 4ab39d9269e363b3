package dev.sinter.text;

/**
 * Cuts text as GPT-2's regular expression does, without one: contractions, letters, numbers and
 * others, each with at most one space before it, and runs of white space.
 */
final class PreTokenizer {
  private PreTokenizer() {}

  /** The end of the piece that starts at {@code at}. */
  static int end(CharSequence text, int at) {
    int length = text.length();
    char first = text.charAt(at);
    if (first == '\'') {
      int contraction = contraction(text, at);
      if (contraction > 0) {
        return at + contraction;
      }
    }
    int start = first == ' ' && at + 1 < length ? at + 1 : at;
    Kind kind = Kind.of(Character.codePointAt(text, start));
    if (kind != Kind.SPACE) {
      return endOfRun(text, start, kind);
    }
    int end = endOfRun(text, at, Kind.SPACE);
    // White space before a word leaves its last character to the word, or alone.
    return end == length || end - at == 1 ? end : end - 1;
  }

  private static int contraction(CharSequence text, int at) {
    if (at + 1 >= text.length()) {
      return 0;
    }
    char next = text.charAt(at + 1);
    if (next == 's' || next == 't' || next == 'm' || next == 'd') {
      return 2;
    }
    if (at + 2 >= text.length()) {
      return 0;
    }
    char last = text.charAt(at + 2);
    boolean two =
        (next == 'r' && last == 'e')
            || (next == 'v' && last == 'e')
            || (next == 'l' && last == 'l');
    return two ? 3 : 0;
  }

  private static int endOfRun(CharSequence text, int at, Kind kind) {
    while (at < text.length()) {
      int character = Character.codePointAt(text, at);
      if (Kind.of(character) != kind) {
        break;
      }
      at += Character.charCount(character);
    }
    return at;
  }

  private enum Kind {
    LETTER,
    NUMBER,
    SPACE,
    OTHER;

    static Kind of(int character) {
      if (character < 128) {
        if ((character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z')) {
          return LETTER;
        }
        if (character >= '0' && character <= '9') {
          return NUMBER;
        }
        return character == ' ' || (character >= 9 && character <= 13) ? SPACE : OTHER;
      }
      if (Character.isLetter(character)) {
        return LETTER;
      }
      return switch (Character.getType(character)) {
        case Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER ->
            NUMBER;
        // Every separator of Unicode is White_Space; of the controls only U+0085 is.
        case Character.SPACE_SEPARATOR, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR ->
            SPACE;
        default -> character == 0x85 ? SPACE : OTHER;
      };
    }
  }
}
