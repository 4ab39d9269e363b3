package dev.sinter.cli;

import dev.sinter.model.FrozenModel;
import dev.sinter.model.LoadedAdapter;
import dev.sinter.model.LowRankUpdate;
import dev.sinter.model.PagedDecoder;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Decoding with random adapters of all linear layers, for measuring. */
final class AdapterSteps implements AutoCloseable {
  private final PagedDecoder decoder;
  private final int[] indices;

  /**
   * @param decoder of the model, with room for the batch; it becomes this one's
   * @param count of adapters
   */
  AdapterSteps(FrozenModel model, PagedDecoder decoder, int count, int rank) {
    this.decoder = decoder;
    this.indices = new int[count];
    for (int i = 0; i < count; i++) {
      indices[i] = decoder.loadAdapter(adapter(model, rank, i));
    }
  }

  private static LoadedAdapter adapter(FrozenModel model, int rank, int number) {
    Random random = new Random(number);
    List<LowRankUpdate> updates = new ArrayList<>();
    for (String weight : model.linearWeights()) {
      long[] shape = model.parameters().get(weight).shape();
      int out = (int) shape[1];
      float[] a = values(random, Math.multiplyExact(rank, (int) shape[0]));
      updates.add(
          new LowRankUpdate(
              weight, 0, out, rank, a, values(random, Math.multiplyExact(rank, out))));
    }
    return new LoadedAdapter("random " + number, updates);
  }

  private static float[] values(Random random, int count) {
    float[] all = new float[count];
    for (int i = 0; i < count; i++) {
      all[i] = 0.02f * (float) random.nextGaussian();
    }
    return all;
  }

  /**
   * Decodes.
   *
   * @param mixed how many adapters the sequences have, in turn
   * @param fed the first token of each
   */
  double tokensPerSecond(int mixed, int[] fed, int count) {
    for (int slot = 0; slot < fed.length; slot++) {
      decoder.setAdapter(slot, indices[slot % mixed]);
    }
    return BenchCommand.tokensPerSecond(decoder, fed, count);
  }

  @Override
  public void close() {
    decoder.close();
  }
}
