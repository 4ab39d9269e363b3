package dev.sinter.align;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/** Numbers from 0 up to a count, each once an epoch, in an order drawn anew for each. */
final class Epochs {
  private final int count;
  private final long seed;
  private long epoch = -1;
  private List<Integer> order = List.of();

  Epochs(int count, long seed) {
    this.count = count;
    this.seed = seed;
  }

  /** The number that comes at a place, counted from 0 over all epochs. */
  int get(long place) {
    if (place / count != epoch) {
      epoch = place / count;
      order = shuffled(count, seed + 0x9E3779B97F4A7C15L * (epoch + 1));
    }
    return order.get((int) (place % count));
  }

  /** The numbers up to a count in a random order. */
  static List<Integer> shuffled(int count, long seed) {
    List<Integer> order = new ArrayList<>(IntStream.range(0, count).boxed().toList());
    Collections.shuffle(order, new Random(seed));
    return order;
  }

  /** Passes of so many that see all of them so many times, rounded up. */
  static long steps(double epochs, int count, int batch) {
    if (!(epochs > 0)) {
      throw new IllegalArgumentException("epochs " + epochs + "; more than 0");
    }
    return Math.max(1, (long) Math.ceil(epochs * count / batch));
  }
}
