package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_random_key;
import dev.sinter.natives.sn_sampling;
import java.nio.IntBuffer;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Settings and history of sampling, on the device: graphs that end in a choice of tokens read them
 * at each run.
 */
public final class Sampler implements AutoCloseable {
  private final Memory memory;
  private final Stream stream;
  private final Mirror history;
  private final Mirror lengths;
  private final Mirror logprobs;
  private final IntBuffer historyOnHost;
  private final IntBuffer lengthsOnHost;
  private final sn_sampling sampling = new sn_sampling();
  private long[] seeds = {0};
  private int version;

  /**
   * Allocates an empty history.
   *
   * @param parameters of the model whose logits these are
   * @param batch number of sequences
   * @param capacity the most tokens a sequence can have
   */
  public Sampler(Parameters parameters, int batch, int capacity) {
    Device device = parameters.device();
    long historyBytes = MemoryPlan.align(4L * batch * capacity);
    long rowBytes = MemoryPlan.align(4L * batch);
    memory = new Memory(device, historyBytes + 2 * rowBytes);
    stream = parameters.stream();
    history =
        new Mirror(device, Tensor.resident("history", DType.I32, memory.at(0), batch, capacity));
    lengths =
        new Mirror(
            device, Tensor.resident("history lengths", DType.I32, memory.at(historyBytes), batch));
    logprobs =
        new Mirror(
            device,
            Tensor.resident("logprobs", DType.F32, memory.at(historyBytes + rowBytes), batch));
    historyOnHost = history.host().ints();
    lengthsOnHost = lengths.host().ints();
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
    sampling
        .repetition_penalty(repetitionPenalty)
        .temperature(temperature)
        .top_k(topK)
        .top_p(topP)
        .min_p(minP);
    version++;
  }

  /**
   * Sets the seed: a run's step and the row number the draws of one seed.
   *
   * @param seed any
   */
  public void seed(long seed) {
    this.seeds = new long[] {seed};
    version++;
  }

  /**
   * Gives each sequence a seed of its own: it then draws as it would alone, as the only row.
   *
   * @param seeds [batch]
   */
  public void seeds(long[] seeds) {
    if (seeds.length != lengthsOnHost.capacity()) {
      throw new IllegalArgumentException(
          seeds.length + " seeds of " + lengthsOnHost.capacity() + " sequences");
    }
    this.seeds = seeds.clone();
    version++;
  }

  /**
   * Adds a token to a sequence's history.
   *
   * @param sequence which
   * @param token its id
   */
  public void remember(int sequence, int token) {
    stream.settle();
    int at = lengthsOnHost.get(sequence);
    if (at == history.tensor().columns()) {
      throw new IllegalStateException("the history of sequence " + sequence + " is full");
    }
    historyOnHost.put(Math.toIntExact(sequence * history.tensor().columns() + at), token);
    lengthsOnHost.put(sequence, at + 1);
  }

  /**
   * Forgets a sequence's history.
   *
   * @param sequence which
   */
  public void forget(int sequence) {
    stream.settle();
    lengthsOnHost.put(sequence, 0);
  }

  /** What a run writes to the device before a choice: the history, where it counts. */
  List<Mirror> uploads() {
    return sampling.repetition_penalty() == 1 ? List.of() : List.of(history, lengths);
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
          present(logits, sampler.history.tensor(), sampler.lengths.tensor()),
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
      int batch = Math.toIntExact(logits.rows());
      Call together = bind(at, 0, batch);
      Call[] alone = new Call[batch];
      for (int row = 0; row < batch; row++) {
        alone[row] = bind(at, row, 1);
      }
      return (stream, run) -> {
        if (sampler.seeds.length == 1) {
          return together.run(stream, run);
        }
        int status = sinter.SN_OK;
        for (int row = 0; row < batch && status == sinter.SN_OK; row++) {
          status = alone[row].run(stream, run);
        }
        return status;
      };
    }

    /** The choice of some rows with the seed of the first. */
    private Call bind(Place at, int first, int rows) {
      int dtype = logits.dtype().code();
      long vocabulary = logits.columns();
      long stride = sampler.history.tensor().columns();
      Pointer pl = logits.address(first * vocabulary);
      Pointer ph = sampler.history.tensor().address(first * stride);
      Pointer pn = sampler.lengths.tensor().address(first);
      Pointer po = out.address(first);
      Pointer pp = sampler.logprobs.tensor().address(first);
      sn_sampling sampling = sampler.sampling;
      sn_random_key key = new sn_random_key().step(0).tensor(0).clock(at.clock());
      return (stream, run) ->
          sinter.sn_sample(
              stream,
              sampling,
              dtype,
              rows,
              vocabulary,
              vocabulary,
              pl,
              ph,
              pn,
              stride,
              key.seed(sampler.seeds[first]),
              po,
              pp,
              at.workspace());
    }
  }
}
