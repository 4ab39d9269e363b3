package dev.sinter.text;

/**
 * Remembers the tokens of pieces. Each has two places, which the last ones take: memory is bounded
 * whatever the text, and threads need no lock, since an entry never changes.
 */
final class PieceCache {
  private static final int SIZE = 1 << 16;
  private static final int LONGEST = 32;
  private static final int MOST_TOKENS = 16;

  private final Entry[] entries = new Entry[SIZE];

  private record Entry(String text, Piece piece) {
    boolean is(String whole, int from, int length) {
      return text.length() == length && whole.startsWith(text, from);
    }
  }

  /** Encodes a piece that is not known. */
  interface Encoder {
    Piece encode(String piece);
  }

  Piece get(String text, int from, int to, Encoder encoder) {
    int length = to - from;
    if (length > LONGEST) {
      return encoder.encode(text.substring(from, to));
    }
    int hash = 0;
    for (int i = from; i < to; i++) {
      hash = 31 * hash + text.charAt(i);
    }
    hash *= 0x9E3779B1;
    int place = hash >>> 16;
    Entry first = entries[place];
    if (first != null && first.is(text, from, length)) {
      return first.piece;
    }
    Entry second = entries[place ^ 1];
    if (second != null && second.is(text, from, length)) {
      return second.piece;
    }
    String piece = text.substring(from, to);
    Entry fresh = new Entry(piece, encoder.encode(piece));
    if (fresh.piece.ids().length <= MOST_TOKENS) {
      entries[place ^ 1] = first;
      entries[place] = fresh;
    }
    return fresh.piece;
  }
}
