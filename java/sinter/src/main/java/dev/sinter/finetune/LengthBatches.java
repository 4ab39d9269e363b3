package dev.sinter.finetune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/**
 * Batches of examples of like lengths. Each epoch takes each example once, in an order that depends
 * on the seed and the epoch alone: all are shuffled, stretches of many batches sorted by length,
 * then the batches shuffled.
 */
final class LengthBatches {
  private static final int SORTED = 50;

  private final List<Example> examples;
  private final int batch;
  private final long seed;
  private long epoch = -1;
  private List<List<Example>> order = List.of();

  LengthBatches(List<Example> examples, int batch, long seed) {
    this.examples = examples;
    this.batch = batch;
    this.seed = seed;
  }

  long perEpoch() {
    return ((long) examples.size() + batch - 1) / batch;
  }

  /** The batch of a pass, from 0 on, over all epochs. */
  List<Example> get(long number) {
    if (number / perEpoch() != epoch) {
      epoch = number / perEpoch();
      order = shuffled(new SplittableRandom(seed ^ (epoch + 1) * 0x9E3779B97F4A7C15L));
    }
    return order.get((int) (number % perEpoch()));
  }

  private List<List<Example>> shuffled(SplittableRandom random) {
    Integer[] all = IntStream.range(0, examples.size()).boxed().toArray(Integer[]::new);
    shuffle(all, random);
    int stretch = Math.multiplyExact(batch, SORTED);
    for (int from = 0; from < all.length; from += stretch) {
      Arrays.sort(
          all,
          from,
          Math.min(all.length, from + stretch),
          Comparator.comparingInt(i -> examples.get(i).length()));
    }
    Integer[] batches = IntStream.range(0, (int) perEpoch()).boxed().toArray(Integer[]::new);
    shuffle(batches, random);
    List<List<Example>> shuffled = new ArrayList<>();
    for (int number : batches) {
      int from = number * batch;
      shuffled.add(
          Arrays.stream(all, from, Math.min(all.length, from + batch)).map(examples::get).toList());
    }
    return shuffled;
  }

  private static void shuffle(Integer[] values, SplittableRandom random) {
    for (int i = values.length - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      Integer value = values[i];
      values[i] = values[j];
      values[j] = value;
    }
  }
}
