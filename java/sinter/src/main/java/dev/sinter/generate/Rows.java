package dev.sinter.generate;

import dev.sinter.model.Decoder;
import dev.sinter.model.LanguageModel;
import java.util.Arrays;
import java.util.List;

/**
 * Sequences that decode together, a token of each at a time. Each row's tokens are those that it
 * would get alone, with the seed of the settings plus the row's number. The sampler on the device
 * chooses where it knows all that is asked for; else the logits come to the host.
 */
final class Rows implements AutoCloseable {
  private final Sampling sampling;
  private final List<Sequence> sequences;
  private final Decoder decoder;
  private final boolean onDevice;
  private final HostSampler onHost;
  private final float[][] logits;
  private final boolean[] retired;
  private final int[] chosen;
  private final float[] logprobs;
  private int step;

  Rows(LanguageModel model, List<Sequence> sequences, Sampling sampling) {
    this.sampling = sampling;
    this.sequences = sequences;
    int batch = sequences.size();
    int capacity = sequences.stream().mapToInt(Sequence::maxLength).max().orElseThrow();
    decoder = model.decoder(batch, capacity);
    onDevice = sampling.processors().isEmpty();
    onHost = new HostSampler(sampling);
    logits = onDevice ? null : new float[batch][model.config().vocabulary()];
    retired = new boolean[batch];
    chosen = new int[batch];
    logprobs = new float[batch];
    if (onDevice) {
      prepareSampler();
    }
  }

  private void prepareSampler() {
    decoder
        .sampler()
        .set(
            sampling.repetitionPenalty(),
            sampling.temperature(),
            sampling.topK(),
            sampling.topP(),
            sampling.minP());
    if (sequences.size() == 1) {
      decoder.sampler().seed(seed(0));
    } else {
      long[] seeds = new long[sequences.size()];
      Arrays.setAll(seeds, this::seed);
      decoder.sampler().seeds(seeds);
    }
    for (int row = 0; row < sequences.size(); row++) {
      for (int id : sequences.get(row).ids()) {
        decoder.sampler().remember(row, id);
      }
    }
  }

  private long seed(int row) {
    return sampling.seed() + row;
  }

  /**
   * Chooses a token for each row that is not retired and appends it.
   *
   * @throws ArithmeticException where a row's logits are not finite
   */
  void next() {
    if (onDevice) {
      chooseOnDevice();
    } else {
      chooseOnHost();
    }
    step++;
    for (int row = 0; row < chosen.length; row++) {
      if (retired[row]) {
        continue;
      }
      if (chosen[row] < 0) {
        throw Distribution.notFinite(sequences.get(row).length());
      }
      sequences.get(row).add(chosen[row]);
      if (onDevice) {
        decoder.sampler().remember(row, chosen[row]);
      }
    }
  }

  private void chooseOnDevice() {
    int[] ids = step == 0 ? decoder.next(prompts(), step) : decoder.next(fed(), step);
    System.arraycopy(ids, 0, chosen, 0, ids.length);
    for (int row = 0; row < ids.length; row++) {
      logprobs[row] = decoder.logprob(row);
    }
  }

  private void chooseOnHost() {
    if (step == 0) {
      decoder.lastLogits(prompts(), logits);
    } else {
      decoder.lastLogits(fed(), logits);
    }
    for (int row = 0; row < chosen.length; row++) {
      if (!retired[row]) {
        chooseOnHost(row);
      }
    }
  }

  private void chooseOnHost(int row) {
    chosen[row] = onHost.choose(logits[row], sequences.get(row), seed(row), step);
    if (chosen[row] >= 0) {
      logprobs[row] = Distribution.logprob(logits[row], chosen[row]);
    }
  }

  private int[][] prompts() {
    return sequences.stream().map(Sequence::ids).toArray(int[][]::new);
  }

  /** The last tokens; a row that has ended goes on with nothing behind it, to no end. */
  private int[] fed() {
    for (int row = 0; row < chosen.length; row++) {
      if (retired[row]) {
        decoder.truncate(row, 0);
        chosen[row] = 0;
      }
    }
    return chosen;
  }

  float logprob(int row) {
    return logprobs[row];
  }

  /** Ends a row: it gets no more tokens. */
  void retire(int row) {
    retired[row] = true;
  }

  @Override
  public void close() {
    decoder.close();
  }
}
