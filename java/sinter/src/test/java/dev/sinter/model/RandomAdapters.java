package dev.sinter.model;

import dev.sinter.graph.Parameters;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Predicate;

/** Adapters that change much, and what their updates make of weights. */
public final class RandomAdapters {
  private RandomAdapters() {}

  /** One that changes all linear layers. */
  public static LoadedAdapter of(FrozenModel model, String name, int rank) {
    return of(model, name, rank, weight -> true);
  }

  static LoadedAdapter of(FrozenModel model, String name, int rank, Predicate<String> which) {
    Random random = new Random(name.hashCode());
    List<LowRankUpdate> updates = new ArrayList<>();
    for (String weight : model.linearWeights().stream().filter(which).toList()) {
      long[] shape = model.parameters().get(weight).shape();
      updates.add(update(random, weight, (int) shape[0], 0, (int) shape[1], rank));
    }
    return new LoadedAdapter(name, updates);
  }

  static LowRankUpdate update(
      Random random, String weight, int in, int first, int columns, int rank) {
    return new LowRankUpdate(
        weight, first, columns, rank, random(random, rank * in), random(random, rank * columns));
  }

  private static float[] random(Random random, int count) {
    float[] all = new float[count];
    for (int i = 0; i < count; i++) {
      all[i] = 0.2f * (float) random.nextGaussian();
    }
    return all;
  }

  /** Adds the updates of GPT-2's [in, out] weights to the weights themselves. */
  static void merge(LoadedAdapter adapter, LanguageModel dense) {
    adapter.updates().forEach(update -> merge(update, dense.parameters()));
  }

  private static void merge(LowRankUpdate update, Parameters weights) {
    int in = update.in();
    FloatBuffer all = FloatBuffer.allocate((int) weights.get(update.weight()).elements());
    try {
      weights.read(Parameters.Part.WEIGHT, update.weight(), all::put);
      float[] numbers = all.array();
      int out = numbers.length / in;
      for (int i = 0; i < in; i++) {
        for (int j = 0; j < update.columns(); j++) {
          double sum = numbers[i * out + update.first() + j];
          for (int k = 0; k < update.rank(); k++) {
            sum += (double) update.a()[k * in + i] * update.b()[k * update.columns() + j];
          }
          numbers[i * out + update.first() + j] = (float) sum;
        }
      }
      all.rewind();
      weights.write(
          Parameters.Part.WEIGHT,
          update.weight(),
          target -> {
            while (target.hasRemaining()) {
              target.put(all.get());
            }
          });
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
