package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_sampling;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
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
  private final int histories;
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
   * How a row's token is chosen; the processors act in the order of the parameters.
   *
   * @param repetitionPenalty more than 0; 1: none
   * @param temperature 0: greedy
   * @param topK 0: none
   * @param topP more than 0, at most 1; 1: none
   * @param minP 0 (none) to 1
   */
  public record Settings(
      float repetitionPenalty, float temperature, int topK, float topP, float minP) {
    /** The likeliest token. */
    public static final Settings GREEDY = new Settings(1, 0, 0, 1, 0);

    /** Checks the ranges. */
    public Settings {
      boolean right =
          repetitionPenalty > 0
              && Float.isFinite(repetitionPenalty)
              && temperature >= 0
              && Float.isFinite(temperature)
              && topK >= 0
              && topP > 0
              && topP <= 1
              && minP >= 0
              && minP <= 1;
      if (!right) {
        throw new IllegalArgumentException(
            String.format(
                Locale.ROOT,
                "repetition penalty %s (more than 0), temperature %s (0 or more), top-k %d (0 or"
                    + " more), top-p %s (more than 0, at most 1), min-p %s (0 to 1)",
                repetitionPenalty,
                temperature,
                topK,
                topP,
                minP));
      }
    }
  }

  /**
   * Allocates an empty history for each sequence, whose number is that of its row.
   *
   * @param parameters of the model whose logits these are
   * @param batch number of sequences
   * @param capacity the most tokens a sequence can have
   */
  public Sampler(Weights parameters, int batch, int capacity) {
    this(parameters, batch, batch, capacity);
  }

  /**
   * Allocates empty histories.
   *
   * @param parameters of the model whose logits these are
   * @param batch the most rows of logits
   * @param histories number of sequences
   * @param capacity the most tokens a sequence can have
   */
  public Sampler(Weights parameters, int batch, int histories, int capacity) {
    this.batch = batch;
    this.histories = histories;
    this.capacity = capacity;
    Device device = parameters.device();
    long settingsBytes = MemoryPlan.align((long) BYTES * batch);
    long historyBytes = MemoryPlan.align(Math.multiplyExact(4L * histories, (long) capacity));
    memory = new Memory(device, settingsBytes + historyBytes + MemoryPlan.align(4L * batch));
    stream = parameters.stream();
    settings =
        new Mirror(device, Tensor.resident("sampling", DType.I32, memory.at(0), batch, BYTES / 4));
    history =
        new Mirror(
            device,
            Tensor.resident("history", DType.I32, memory.at(settingsBytes), histories, capacity));
    logprobs =
        new Mirror(
            device,
            Tensor.resident("logprobs", DType.F32, memory.at(settingsBytes + historyBytes), batch));
    settingsOnHost = settings.host().bytes();
    historyOnHost = history.host().ints();
    for (int row = 0; row < batch; row++) {
      put(row, Settings.GREEDY);
      settingsOnHost.putInt(row * BYTES + HISTORY, row);
    }
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
    Settings all = new Settings(repetitionPenalty, temperature, topK, topP, minP);
    stream.settle();
    for (int row = 0; row < batch; row++) {
      put(row, all);
    }
  }

  private void put(int row, Settings how) {
    int at = row * BYTES;
    settingsOnHost.putFloat(at + PENALTY, how.repetitionPenalty);
    settingsOnHost.putFloat(at + TEMPERATURE, how.temperature);
    settingsOnHost.putInt(at + TOP_K, how.topK);
    settingsOnHost.putFloat(at + TOP_P, how.topP);
    settingsOnHost.putFloat(at + MIN_P, how.minP);
    if (how.repetitionPenalty != 1 && !remembers) {
      remembers = true; // from now on: a change is a new recording on a GPU
      version++;
    }
  }

  /**
   * Sets all that one row's next choice depends on.
   *
   * @param row of the logits
   * @param how the token is chosen
   * @param seed equal seeds and steps draw alike
   * @param step the number of the choice
   * @param sequence whose history counts
   * @param length how many tokens of it
   */
  public void set(int row, Settings how, long seed, long step, int sequence, int length) {
    Objects.checkIndex(row, batch);
    Objects.checkIndex(sequence, histories);
    Objects.checkIndex(length, capacity + 1);
    stream.settle();
    put(row, how);
    int at = row * BYTES;
    settingsOnHost.putLong(at + SEED, seed);
    settingsOnHost.putLong(at + STEP, step);
    settingsOnHost.putInt(at + HISTORY, sequence);
    settingsOnHost.putInt(at + HISTORY_LENGTH, length);
  }

  /**
   * Writes a token of a sequence's history.
   *
   * @param sequence whose
   * @param position from 0
   * @param token its id
   */
  public void put(int sequence, int position, int token) {
    Objects.checkIndex(sequence, histories);
    Objects.checkIndex(position, capacity);
    stream.settle();
    historyOnHost.put(sequence * capacity + position, token);
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
   * Gives the log-probability of a row's token that was chosen last, under the unprocessed logits.
   *
   * @param row of the logits
   * @return natural logarithm
   */
  public float logprob(int row) {
    stream.settle();
    return logprobs.host().floats().get(row);
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
      long histories = sampler.histories;
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
