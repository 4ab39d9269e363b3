package dev.sinter.graph;

import static dev.sinter.graph.Elementwise.present;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_random_key;
import dev.sinter.natives.sn_sampling;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/**
 * Settings and history of sampling, on the device: graphs that end in a choice of tokens read them
 * at each run.
 */
public final class Sampler implements AutoCloseable {
  private final Memory memory;
  private final Stream stream;
  private final Tensor history;
  private final Tensor lengths;
  private final Tensor logprobs;
  private final HostBuffer value = new HostBuffer(4);
  private final HostBuffer logprobsOnHost;
  private final int[] lengthsOnHost;
  private final sn_sampling sampling = new sn_sampling();
  private final sn_random_key key = new sn_random_key();

  /**
   * Allocates an empty history.
   *
   * @param device where
   * @param batch number of sequences
   * @param capacity the most tokens a sequence can have
   */
  public Sampler(Device device, int batch, int capacity) {
    long historyBytes = MemoryPlan.align(4L * batch * capacity);
    long rowBytes = MemoryPlan.align(4L * batch);
    memory = new Memory(device, historyBytes + 2 * rowBytes);
    stream = new Stream(device);
    history = Tensor.resident("history", DType.I32, memory.at(0), batch, capacity);
    lengths = Tensor.resident("history lengths", DType.I32, memory.at(historyBytes), batch);
    logprobs = Tensor.resident("logprobs", DType.F32, memory.at(historyBytes + rowBytes), batch);
    logprobsOnHost = new HostBuffer(4L * batch);
    lengthsOnHost = new int[batch];
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
  }

  /**
   * Sets the seed: a run's step and the row number the draws of one seed.
   *
   * @param seed any
   */
  public void seed(long seed) {
    key.seed(seed).tensor(0);
  }

  /**
   * Adds a token to a sequence's history.
   *
   * @param sequence which
   * @param token its id
   */
  public void remember(int sequence, int token) {
    int at = lengthsOnHost[sequence];
    writeInt(history.address(sequence * history.columns() + at), token);
    setLength(sequence, at + 1);
  }

  /**
   * Forgets a sequence's history.
   *
   * @param sequence which
   */
  public void forget(int sequence) {
    setLength(sequence, 0);
  }

  private void setLength(int sequence, int length) {
    lengthsOnHost[sequence] = length;
    writeInt(lengths.address(sequence), length);
  }

  private void writeInt(Pointer at, int number) {
    value.ints().put(0, number);
    stream.write(at, value, 4);
  }

  /**
   * Reads the log-probability of each token that was chosen last, under the unprocessed logits.
   *
   * @param into [batch]
   */
  public void logprobs(float[] into) {
    stream.read(logprobs.address(), logprobsOnHost, logprobsOnHost.size());
    logprobsOnHost.floats().get(into);
  }

  @Override
  public void close() {
    stream.close();
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
          present(logits, sampler.history, sampler.lengths),
          List.of(out, sampler.logprobs));
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
    Call bind(Pointer workspace) {
      int dtype = logits.dtype().code();
      long rows = logits.rows();
      long vocabulary = logits.columns();
      Pointer pl = logits.address();
      Pointer ph = sampler.history.address();
      Pointer pn = sampler.lengths.address();
      long stride = sampler.history.columns();
      Pointer po = out.address();
      Pointer pp = sampler.logprobs.address();
      sn_sampling sampling = sampler.sampling;
      sn_random_key key = sampler.key;
      return (stream, run) -> {
        key.step(run.step);
        return sinter.sn_sample(
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
            key,
            po,
            pp,
            workspace);
      };
    }
  }
}
