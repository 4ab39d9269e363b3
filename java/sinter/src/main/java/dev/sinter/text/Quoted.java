package dev.sinter.text;

/** Text of unknown origin in a message: one line, not long. */
final class Quoted {
  private static final int LONGEST = 60;

  private Quoted() {}

  /** A message that may quote a file, on one line. */
  static String message(String text) {
    return plain(text, 3 * LONGEST);
  }

  /** The text with controls escaped, cut where it is long. */
  static String plain(String text) {
    return plain(text, LONGEST);
  }

  private static String plain(String text, int longest) {
    StringBuilder quoted = new StringBuilder();
    int end = Math.min(text.length(), longest);
    for (int i = 0; i < end; i++) {
      char c = text.charAt(i);
      boolean visible =
          !Character.isISOControl(c) && !Character.isSurrogate(c) && c != 0x2028 && c != 0x2029;
      quoted.append(visible ? String.valueOf(c) : String.format("\\u%04x", (int) c));
    }
    return quoted.append(text.length() > longest ? "…" : "").toString();
  }
}
