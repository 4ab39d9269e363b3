package dev.sinter.text;

import java.util.Arrays;

/**
 * GPT-2's way of writing bytes as visible characters (Radford et al. 2019, section 2.2 and the
 * released encoder).
 */
final class ByteAlphabet {
  private static final char[] CHARACTERS = new char[256];
  private static final int[] BYTES = new int[256 + 68];

  static {
    Arrays.fill(BYTES, -1);
    int next = 256;
    for (int value = 0; value < 256; value++) {
      boolean visible =
          (value >= 33 && value <= 126) || (value >= 161 && value <= 172) || value >= 174;
      CHARACTERS[value] = (char) (visible ? value : next++);
      BYTES[CHARACTERS[value]] = value;
    }
  }

  private ByteAlphabet() {}

  static char character(int value) {
    return CHARACTERS[value];
  }

  /** The byte that a character stands for, or -1. */
  static int value(char character) {
    return character < BYTES.length ? BYTES[character] : -1;
  }

  static String write(byte[] bytes) {
    StringBuilder text = new StringBuilder(bytes.length);
    for (byte value : bytes) {
      text.append(CHARACTERS[value & 0xff]);
    }
    return text.toString();
  }

  /** The bytes that a token stands for, or null where a character is none of the alphabet. */
  static byte[] read(String token) {
    byte[] bytes = new byte[token.length()];
    for (int i = 0; i < bytes.length; i++) {
      int value = value(token.charAt(i));
      if (value < 0) {
        return null;
      }
      bytes[i] = (byte) value;
    }
    return bytes;
  }
}
