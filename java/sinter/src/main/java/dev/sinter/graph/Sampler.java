package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_sampling;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Settings and history of sampling, on the device: graphs that end in a choice of tokens read them
 * at each run.
 */
public final class Sampler implements AutoCloseable {
  /** Of sn_sampling, in its order. */
  private static final int BYTES = 48;

  private static final int SEED = 0;
  private static final int STEP = 8;
  private static final int PENALTY = 16;
  private static final int TEMPERATURE = 20;
  private static final int TOP_K = 24;
  private static final int TOP_P = 28;
  private static final int MIN_P = 32;
  private static final int HISTORY = 36;
  private static final int HISTORY_LENGTH = 40;

  private final int batch;
  private final int capacity;
  private final Memory memory;
  private final Stream stream;
  private final Mirror settings;
  private final Mirror history;
  private final Mirror logprobs;
  private final ByteBuffer settingsOnHost;
  private final IntBuffer historyOnHost;
  private boolean remembers;
  private int version;

  /**
   * Allocates an empty history.
   *
   * @param parameters of the model whose logits these are
   * @param batch number of sequences
   * @param capacity the most tokens a sequence can have
   */
  public Sampler(Parameters parameters, int batch, int capacity) {
    this.batch = batch;
    this.capacity = capacity;
    Device device = parameters.device();
    long settingsBytes = MemoryPlan.align((long) BYTES * batch);
    long historyBytes = MemoryPlan.align(4L * batch * capacity);
    memory = new Memory(device, settingsBytes + historyBytes + MemoryPlan.align(4L * batch));
    stream = parameters.stream();
    settings =
        new Mirror(device, Tensor.resident("sampling", DType.I32, memory.at(0), batch, BYTES / 4));
    history =
        new Mirror(
            device,
            Tensor.resident("history", DType.I32, memory.at(settingsBytes), batch, capacity));
    logprobs =
        new Mirror(
            device,
            Tensor.resident("logprobs", DType.F32, memory.at(settingsBytes + historyBytes), batch));
    settingsOnHost = settings.host().bytes();
    historyOnHost = history.host().ints();
    for (int row = 0; row < batch; row++) {
      settingsOnHost.putInt(row * BYTES + HISTORY, row);
    }
    set(1, 0, 0, 1, 0);
  }

  /**
   * Sets how tokens are chosen; the processors act in the order of the parameters.
   *
   * @param repetitionPenalty 1: none
   * @param temperature 0: greedy
   * @param topK 0: none
   * @param topP 1: none
   * @param minP 0: none
   */
  public void set(float repetitionPenalty, float temperature, int topK, float topP, float minP) {
    stream.settle();
    for (int row = 0; row < batch; row++) {
      int at = row * BYTES;
      settingsOnHost.putFloat(at + PENALTY, repetitionPenalty);
      settingsOnHost.putFloat(at + TEMPERATURE, temperature);
      settingsOnHost.putInt(at + TOP_K, topK);
      settingsOnHost.putFloat(at + TOP_P, topP);
      settingsOnHost.putFloat(at + MIN_P, minP);
    }
    if (remembers != (repetitionPenalty != 1)) {
      remembers = !remembers;
      version++;
    }
  }

  /**
   * Sets the seed of the first sequence; each other has the one after that of the sequence before
   * it.
   *
   * @param seed any
   */
  public void seed(long seed) {
    stream.settle();
    for (int row = 0; row < batch; row++) {
      settingsOnHost.putLong(row * BYTES + SEED, seed + row);
    }
  }

  /**
   * Gives each sequence a seed of its own: it then draws as it would alone.
   *
   * @param seeds [batch]
   */
  public void seeds(long[] seeds) {
    if (seeds.length != batch) {
      throw new IllegalArgumentException(seeds.length + " seeds of " + batch + " sequences");
    }
    stream.settle();
    for (int row = 0; row < batch; row++) {
      settingsOnHost.putLong(row * BYTES + SEED, seeds[row]);
    }
  }

  /**
   * Sets the number of the next choice: equal seeds and numbers draw alike.
   *
   * @param step any
   */
  public void step(long step) {
    stream.settle();
    for (int row = 0; row < batch; row++) {
      settingsOnHost.putLong(row * BYTES + STEP, step);
    }
  }

  /**
   * Adds a token to a sequence's history.
   *
   * @param sequence which
   * @param token its id
   */
  public void remember(int sequence, int token) {
    stream.settle();
    int length = settingsOnHost.getInt(sequence * BYTES + HISTORY_LENGTH);
    if (length == capacity) {
      throw new IllegalStateException("the history of sequence " + sequence + " is full");
    }
    historyOnHost.put(Math.addExact(Math.multiplyExact(sequence, capacity), length), token);
    settingsOnHost.putInt(sequence * BYTES + HISTORY_LENGTH, length + 1);
  }

  /**
   * Forgets a sequence's history.
   *
   * @param sequence which
   */
  public void forget(int sequence) {
    stream.settle();
    settingsOnHost.putInt(sequence * BYTES + HISTORY_LENGTH, 0);
  }

  /** What a run writes to the device before a choice: the history too, where it counts. */
  List<Mirror> uploads() {
    return remembers ? List.of(settings, history) : List.of(settings);
  }

  /** What a run reads back after it. */
  Mirror download() {
    return logprobs;
  }

  /**
   * Gives the log-probability of each token that was chosen last, under the unprocessed logits.
   *
   * @param into [batch]
   */
  public void logprobs(float[] into) {
    stream.settle();
    logprobs.host().floats().get(into);
  }

  @Override
  public void close() {
    memory.close();
  }

  /** Chooses a token from each row. */
  static final class Sample extends Operation {
    private final Tensor logits;
    private final Sampler sampler;
    private final Tensor out;

    Sample(Tensor logits, Sampler sampler, Tensor out) {
      super(
          "sample",
          List.of(logits, sampler.settings.tensor(), sampler.history.tensor()),
          List.of(out, sampler.logprobs.tensor()));
      this.logits = logits;
      this.sampler = sampler;
      this.out = out;
    }

    @Override
    long workspace(Device device) {
      long[] bytes = new long[1];
      Natives.check(
          sinter.sn_sample_workspace(
              device.handle().device, logits.rows(), logits.columns(), bytes));
      return bytes[0];
    }

    @Override
    int version() {
      return sampler.version;
    }

    @Override
    Call bind(Place at) {
      int dtype = logits.dtype().code();
      long rows = logits.rows();
      long vocabulary = logits.columns();
      long histories = sampler.batch;
      long stride = sampler.capacity;
      Pointer pl = logits.address();
      sn_sampling ps = new sn_sampling(sampler.settings.tensor().address());
      Pointer ph = sampler.history.tensor().address();
      Pointer po = out.address();
      Pointer pp = sampler.logprobs.tensor().address();
      return (stream, run) ->
          sinter.sn_sample(
              stream,
              dtype,
              rows,
              vocabulary,
              vocabulary,
              pl,
              ps,
              histories,
              stride,
              ph,
              po,
              pp,
              at.workspace());
    }
  }
}
