package dev.sinter.report;

import java.util.ArrayList;
import java.util.List;

/** Numbers laid out on a line, and the round ones among them to write beside it. */
record Axis(double least, double most, double from, double to, List<Double> ticks) {
  private static final double TINY = 1e-200;

  /**
   * An axis that holds some numbers.
   *
   * @param from where on the page the least lies
   * @param to where the greatest lies
   * @param count about how many ticks
   */
  static Axis of(double least, double most, double from, double to, int count) {
    double low = least;
    double high = most;
    double size = Math.max(Math.abs(low), Math.abs(high));
    if (high - low <= 1e-12 * size || size < TINY) {
      double room = size < TINY ? 1 : size / 2;
      low -= room;
      high += room;
    }
    double step = step(high / count - low / count);
    List<Double> ticks = new ArrayList<>();
    // Counted in whole steps, so that zero is zero.
    double first = Math.ceil(low / step);
    for (int i = 0; i <= 2 * count && (first + i) * step <= high; i++) {
      ticks.add((first + i) * step + 0.0); // never -0
    }
    return new Axis(low, high, from, to, List.copyOf(ticks));
  }

  /** The nearest 1, 2 or 5 with zeros. */
  private static double step(double width) {
    double power = Math.pow(10, Math.floor(Math.log10(width)));
    double digit = width / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
  }

  /** Where a number lies on the page. */
  double place(double value) {
    return from + (value - least) / (most - least) * (to - from);
  }
}
