package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.Tensor;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/** One forward pass over a batch that gives the loss of every token, or every logit. */
public final class EvaluationGraph implements AutoCloseable {
  private final Graph graph;
  private final Tensor tokens;
  private final Tensor targets;
  private final Tensor output;

  /**
   * @param targets null where the output is logits
   */
  EvaluationGraph(Graph graph, Tensor tokens, Tensor targets, Tensor output) {
    this.graph = graph;
    this.tokens = tokens;
    this.targets = targets;
    this.output = output;
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
   * @return int32 [batch, length], to be filled before {@link #run}; -100 is ignored and gives a
   *     loss of 0
   */
  public IntBuffer targets() {
    return graph.ints(targets);
  }

  /**
   * Runs the pass.
   *
   * @return losses [batch, length] in nats, or logits [batch, length, vocabulary]; valid until the
   *     next run
   */
  public FloatBuffer run() {
    graph.run(0, false);
    return graph.floats(output);
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
