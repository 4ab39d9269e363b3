package dev.sinter.text;

/**
 * Remembers the tokens of pieces. Each has one place, which the last one takes: memory is bounded
 * whatever the text, and threads need no lock, since an entry never changes.
 */
final class PieceCache {
  private static final int SIZE = 1 << 16;
  private static final int LONGEST = 64;

  private final Entry[] entries = new Entry[SIZE];

  private record Entry(String text, Piece piece) {}

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
    Entry known = entries[place];
    if (known != null && known.text.length() == length && text.startsWith(known.text, from)) {
      return known.piece;
    }
    String piece = text.substring(from, to);
    Entry fresh = new Entry(piece, encoder.encode(piece));
    entries[place] = fresh;
    return fresh.piece;
  }
}
