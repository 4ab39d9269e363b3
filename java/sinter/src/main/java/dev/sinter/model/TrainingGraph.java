package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Tensor;
import java.nio.IntBuffer;

/**
 * One forward and backward pass over a batch, which leaves its gradients in the model's parameters.
 */
public final class TrainingGraph implements AutoCloseable {
  private final Graph graph;
  private final Tensor tokens;
  private final Tensor targets;
  private final Tensor loss;

  TrainingGraph(Graph graph, Tensor tokens, Tensor targets, Tensor loss) {
    this.graph = graph;
    this.tokens = tokens;
    this.targets = targets;
    this.loss = loss;
  }

  /**
   * The host side of the tokens.
   *
   * @return int32 [batch, length], to be filled before {@link #run}
   */
  public IntBuffer tokens() {
    return graph.ints(tokens);
  }

  /**
   * The host side of the targets.
   *
   * @return int32 [batch, length], to be filled before {@link #run}; -100 is ignored
   */
  public IntBuffer targets() {
    return graph.ints(targets);
  }

  /**
   * Runs the pass.
   *
   * @param step keys dropout; different for each batch of a training
   * @param accumulating whether gradients are added to those of the pass before
   * @return the mean loss of the batch, in nats a token
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
   * @return the mean loss of the batch, in nats a token
   */
  public float run(long step, boolean accumulating, Parameters.Update update) {
    graph.run(step, accumulating, update, loss);
    return graph.floats(loss).get(0);
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
