package dev.sinter.text;

import java.util.Arrays;

/** Collects tokens, with their places in the text where these are wanted. */
final class TokenBuffer {
  private final boolean placed;
  private int[] ids;
  private int[] starts;
  private int[] ends;
  private int size;

  TokenBuffer(int expected, boolean placed) {
    this.placed = placed;
    ids = new int[Math.max(8, expected)];
    starts = new int[placed ? ids.length : 0];
    ends = new int[placed ? ids.length : 0];
  }

  void add(int id, int start, int end) {
    grow(1);
    ids[size] = id;
    if (placed) {
      starts[size] = start;
      ends[size] = end;
    }
    size++;
  }

  void add(Piece piece, int base) {
    int count = piece.ids().length;
    grow(count);
    for (int i = 0; i < count; i++) {
      ids[size + i] = piece.ids()[i];
    }
    if (placed) {
      for (int i = 0; i < count; i++) {
        starts[size + i] = base + piece.starts()[i];
        ends[size + i] = base + piece.ends()[i];
      }
    }
    size += count;
  }

  private void grow(int count) {
    if (size + count > ids.length) {
      int length = Math.max(2 * ids.length, size + count);
      ids = Arrays.copyOf(ids, length);
      if (placed) {
        starts = Arrays.copyOf(starts, length);
        ends = Arrays.copyOf(ends, length);
      }
    }
  }

  int size() {
    return size;
  }

  int[] ids() {
    return Arrays.copyOf(ids, size);
  }

  /** The tokens; only of a buffer that keeps places. */
  Piece piece() {
    return new Piece(ids(), Arrays.copyOf(starts, size), Arrays.copyOf(ends, size));
  }
}
