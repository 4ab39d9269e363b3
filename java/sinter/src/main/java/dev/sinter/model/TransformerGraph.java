package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Tensor;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/**
 * One pass of a {@link TransformerModel} over a batch of pairs. Sources and targets are padded at
 * their ends.
 */
public final class TransformerGraph implements AutoCloseable {
  private static final int IGNORED = -100;

  private final TransformerConfig config;
  private final Graph graph;
  private final Tensor sources;
  private final Tensor lengths;
  private final Tensor inputs;
  private final Tensor targets;
  private final Tensor weights;
  private final Tensor loss;
  private final Tensor logits;
  private final int accumulate;

  /**
   * @param logits null in training
   */
  TransformerGraph(
      TransformerConfig config,
      Graph graph,
      Tensor sources,
      Tensor lengths,
      Tensor inputs,
      Tensor targets,
      Tensor weights,
      Tensor loss,
      Tensor logits,
      int accumulate) {
    this.config = config;
    this.graph = graph;
    this.sources = sources;
    this.lengths = lengths;
    this.inputs = inputs;
    this.targets = targets;
    this.weights = weights;
    this.loss = loss;
    this.logits = logits;
    this.accumulate = accumulate;
    long[] shape = sources.shape();
    for (int i = 0; i < shape[0]; i++) {
      sourceLengths().put(i, (int) shape[1]);
    }
  }

  /**
   * The sources.
   *
   * @return int32 [batch, source length]
   */
  public IntBuffer sources() {
    return graph.ints(sources);
  }

  /**
   * How many tokens of each source are no padding: all until they are set.
   *
   * @return int32 [batch]
   */
  public IntBuffer sourceLengths() {
    return graph.ints(lengths);
  }

  /**
   * The targets, without the start token; the decoder reads them one place later.
   *
   * @return int32 [batch, target length]; -100 is padding
   */
  public IntBuffer targets() {
    return graph.ints(targets);
  }

  /**
   * Runs the pass.
   *
   * @param step keys dropout; different for each batch of a training
   * @param accumulating whether gradients are added to those of the pass before
   * @return the mean loss over all targets that are no padding, in nats a token
   */
  public float run(long step, boolean accumulating) {
    return run(step, accumulating, null);
  }

  /**
   * Runs the pass and, as the last of a step, the update.
   *
   * @param step keys dropout; different for each batch of a training
   * @param accumulating whether gradients are added to those of the pass before
   * @param update of the weights that train; null: none now
   * @return the mean loss over all targets that are no padding, in nats a token
   */
  public float run(long step, boolean accumulating, Parameters.Update update) {
    long[] shape = targets.shape();
    int length = (int) shape[1];
    int count = (int) shape[0] * length;
    IntBuffer right = targets();
    IntBuffer shifted = graph.ints(inputs);
    FloatBuffer shares = graph.floats(weights);
    int there = 0;
    for (int i = 0; i < count; i++) {
      int before = i % length == 0 ? config.start() : right.get(i - 1);
      shifted.put(i, before == IGNORED ? config.padding() : before);
      there += right.get(i) == IGNORED ? 0 : 1;
    }
    for (int i = 0; i < count; i++) {
      shares.put(i, right.get(i) == IGNORED ? 0 : 1f / ((float) there * accumulate));
    }
    graph.run(step, accumulating, update, loss);
    return graph.floats(loss).get(0);
  }

  /**
   * The logits.
   *
   * @return fp32 [batch, target length, vocabulary]; valid until the next run
   * @throws IllegalStateException in training, where gradients have taken their place
   */
  public FloatBuffer logits() {
    if (logits == null) {
      throw new IllegalStateException("a graph that trains gives no logits");
    }
    return graph.floats(logits);
  }

  /**
   * The graph itself: to print or draw it.
   *
   * @return the graph
   */
  public Graph graph() {
    return graph;
  }

  @Override
  public void close() {
    graph.close();
  }
}
