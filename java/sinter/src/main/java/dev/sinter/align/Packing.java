package dev.sinter.align;

import java.util.ArrayList;
import java.util.List;

/**
 * Several examples in one row, so that little of it is padding. Each is put into the first row that
 * has room for it, in the order in which they come.
 */
final class Packing {
  /** Rows that are still looked at: the time must not grow with their square. */
  private static final int OPEN = 64;

  private Packing() {}

  /**
   * Packs examples.
   *
   * @param examples none longer than a row
   * @param length positions of a row
   * @return the examples of each row
   */
  static List<List<Example>> rows(List<Example> examples, int length) {
    List<List<Example>> rows = new ArrayList<>();
    List<Integer> rooms = new ArrayList<>();
    for (Example example : examples) {
      int row = Math.max(0, rows.size() - OPEN);
      while (row < rows.size() && rooms.get(row) < example.positions()) {
        row++;
      }
      if (row == rows.size()) {
        rows.add(new ArrayList<>());
        rooms.add(length);
      }
      rows.get(row).add(example);
      rooms.set(row, rooms.get(row) - example.positions());
    }
    return rows;
  }
}
