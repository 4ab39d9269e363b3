package dev.sinter.cli;

import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.TrainingGraph;
import java.util.Random;

/** Steps of training on random tokens, to be measured. */
final class TrainingSteps implements AutoCloseable {
  private final LanguageModel model;
  private final Random random;
  private final long before;
  private final int tokens;
  private final TrainingGraph graph;
  private long step;

  /**
   * @param shape sequences and their length, BxT
   */
  TrainingSteps(LanguageModel model, String shape, Random random) {
    if (!shape.matches("\\d{1,6}x\\d{1,6}")) {
      throw new IllegalArgumentException("--train " + shape + "; BxT, for example 4x256");
    }
    int sequences = Integer.parseInt(shape.substring(0, shape.indexOf('x')));
    int length = Integer.parseInt(shape.substring(shape.indexOf('x') + 1));
    this.model = model;
    this.random = random;
    this.before = model.parameters().bytes();
    this.tokens = Math.multiplyExact(sequences, length);
    this.graph = model.trainingGraph(sequences, length, 1, Recompute.NONE, 1);
  }

  /** Takes one step: forward, backward, update. */
  double tokensPerSecond() {
    int[] ids = random.ints(tokens, 0, model.config().vocabulary()).toArray();
    graph.tokens().put(ids);
    graph.targets().put(ids);
    long started = System.nanoTime();
    var settings = new Parameters.AdamW(1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, 1);
    graph.run(step, false, new Parameters.Update(settings, ++step));
    model.parameters().lastNorm(); // waits for the update
    return tokens * 1e9 / (System.nanoTime() - started);
  }

  /** Arithmetic of a token, as the graph counts it. */
  double flopsPerToken() {
    return graph.graph().flops() / tokens;
  }

  /** What training has allocated beside the weights: gradients, moments, master copies. */
  long trainingBytes() {
    return model.parameters().bytes() - before;
  }

  /** The model's own weights, what trains them, and the activations. */
  long bytes() {
    return model.parameters().bytes() + graph.graph().arenaBytes();
  }

  @Override
  public void close() {
    graph.close();
  }
}
