package dev.sinter.text;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.text.Normalizer;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;

/**
 * Classes of code points, as Hugging Face's tokenizers have them. From a table and not from the
 * JDK, whose Unicode changes with its version: the same text must have the same ids everywhere.
 */
final class Characters {
  private static final int LETTER = 1;
  private static final int NUMBER = 2;
  private static final int SPACE = 4;
  private static final int PUNCTUATION = 8;
  private static final int CONTROL = 16;
  private static final int NONSPACING = 32;
  private static final int MARK = 64;
  private static final int CUT = 128;
  private static final int KIND = LETTER | NUMBER | SPACE;
  private static final Map<String, Integer> CLASSES =
      Map.of(
          "letter", LETTER,
          "number", NUMBER,
          "punctuation", PUNCTUATION,
          "control", CONTROL,
          "nonspacing", NONSPACING,
          "mark", MARK);
  private static final int[] SPACES = {
    9, 10, 11, 12, 13, ' ', 0x85, 0xA0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005,
    0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000
  };

  private static final byte[] CLASS_OF = new byte[Character.MAX_CODE_POINT + 1];
  private static final Map<Integer, Integer> COMBINING = new HashMap<>();
  private static final Map<Integer, Integer> COMPOSED = new HashMap<>();
  private static final Map<Integer, Integer> LOWER = new HashMap<>();

  static {
    try (InputStream in = Characters.class.getResourceAsStream("characters.txt");
        BufferedReader lines =
            new BufferedReader(new InputStreamReader(in, StandardCharsets.US_ASCII))) {
      lines.lines().filter(line -> !line.startsWith("#")).forEach(Characters::read);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    for (int space : SPACES) {
      CLASS_OF[space] |= (byte) (control(space) ? SPACE : SPACE | CUT);
    }
  }

  private Characters() {}

  private static void read(String line) {
    String[] parts = line.split(" ", 4);
    int value = Integer.parseInt(parts[3]);
    IntStream range =
        IntStream.rangeClosed(Integer.parseInt(parts[1], 16), Integer.parseInt(parts[2], 16));
    switch (parts[0]) {
      case "combining" -> range.forEach(c -> COMBINING.put(c, value));
      case "composed" -> range.forEach(c -> COMPOSED.put(c, value));
      case "lower" -> range.forEach(c -> LOWER.put(c, c + value));
      default -> {
        byte kind = CLASSES.get(parts[0]).byteValue();
        range.forEach(c -> CLASS_OF[c] |= kind);
      }
    }
  }

  /** The same for letters, for numbers, for white space, and for all others. */
  static int kind(int c) {
    return CLASS_OF[c] & KIND;
  }

  /** Unicode's White_Space. */
  static boolean space(int c) {
    return (CLASS_OF[c] & SPACE) != 0;
  }

  /** White space that every normaliser leaves as such. */
  static boolean cut(int c) {
    return (CLASS_OF[c] & CUT) != 0;
  }

  /** What BERT cuts a word at: ASCII's symbols, and punctuation. */
  static boolean punctuation(int c) {
    return (CLASS_OF[c] & PUNCTUATION) != 0;
  }

  /** What BERT drops: controls, formats, private use, U+0000 and U+FFFD. */
  static boolean control(int c) {
    return (CLASS_OF[c] & CONTROL) != 0;
  }

  /** What BERT takes for an accent. */
  static boolean nonspacing(int c) {
    return (CLASS_OF[c] & NONSPACING) != 0;
  }

  /** Marks of every kind. */
  static boolean mark(int c) {
    return (CLASS_OF[c] & MARK) != 0;
  }

  /** The order of marks on the same character (Unicode's canonical combining class). */
  static int combining(int c) {
    return c < 0x300 ? 0 : COMBINING.getOrDefault(c, 0);
  }

  /**
   * Ideographs in BERT's sense. The last block but one begins at U+2B920 in Hugging Face's library,
   * at U+2B820 in Google's; models in use come from the former.
   */
  static boolean ideograph(int c) {
    return c >= 0x3400
        && (c <= 0x4DBF
            || (c >= 0x4E00 && c <= 0x9FFF)
            || (c >= 0xF900 && c <= 0xFAFF)
            || (c >= 0x20000 && c <= 0x2A6DF)
            || (c >= 0x2A700 && c <= 0x2B81F)
            || (c >= 0x2B920 && c <= 0x2CEAF)
            || (c >= 0x2F800 && c <= 0x2FA1F));
  }

  /** The canonical decomposition. */
  static String decompose(int c) {
    String one = Character.toString(c);
    return COMPOSED.containsKey(c) ? one : Normalizer.normalize(one, Normalizer.Form.NFD);
  }

  /** Lower case without context: one code point, or two for U+0130. */
  static String lower(int c) {
    return c == 0x130
        ? "i\u0307"
        : Character.toString(LOWER.getOrDefault(c, Character.toLowerCase(c)));
  }
}
