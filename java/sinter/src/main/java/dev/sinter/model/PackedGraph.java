package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Tensor;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/**
 * A {@link TrainingGraph} of rows that hold several sequences each, packed one after the other,
 * which do not see each other (Krell et al. 2021): a sequence has the loss and the gradients that
 * it has alone. What of a row is left over is a sequence too, without targets.
 */
public final class PackedGraph implements AutoCloseable {
  private final Graph graph;
  private final Tensor tokens;
  private final Tensor positions;
  private final Tensor starts;
  private final Tensor targets;
  private final Tensor weights;
  private final Tensor loss;
  private final int length;
  private final int context;

  PackedGraph(
      Graph graph,
      Tensor tokens,
      Tensor positions,
      Tensor starts,
      Tensor targets,
      Tensor weights,
      Tensor loss,
      int context) {
    this.graph = graph;
    this.tokens = tokens;
    this.positions = positions;
    this.starts = starts;
    this.targets = targets;
    this.weights = weights;
    this.loss = loss;
    this.length = (int) tokens.shape()[1];
    this.context = context;
  }

  /**
   * The tokens.
   *
   * @return int32 [batch, length], to be filled before {@link #run}
   */
  public IntBuffer tokens() {
    return graph.ints(tokens);
  }

  /**
   * The position of each token in its own sequence.
   *
   * @return int32 [batch, length], to be filled before {@link #run}; below the model's context
   */
  public IntBuffer positions() {
    return graph.ints(positions);
  }

  /**
   * The place in the row at which each token's sequence starts.
   *
   * @return int32 [batch, length], to be filled before {@link #run}
   */
  public IntBuffer starts() {
    return graph.ints(starts);
  }

  /**
   * The token that follows each.
   *
   * @return int32 [batch, length], to be filled before {@link #run}; -100: none
   */
  public IntBuffer targets() {
    return graph.ints(targets);
  }

  /**
   * What the loss of each target is multiplied by: 1 / n makes that of n targets their mean.
   *
   * @return fp32 [batch, length], to be filled before {@link #run}
   */
  public FloatBuffer weights() {
    return graph.floats(weights);
  }

  /**
   * Runs the pass.
   *
   * @param step keys dropout; different for each batch of a training
   * @param accumulating whether gradients are added to those of the pass before
   * @return the weighted sum of the targets' losses, in nats
   * @throws IllegalArgumentException where a position is out of range, or starts are not those of
   *     sequences one after the other
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
   * @return the weighted sum of the targets' losses, in nats
   * @throws IllegalArgumentException where a position is out of range, or starts are not those of
   *     sequences one after the other
   */
  public float run(long step, boolean accumulating, Parameters.Update update) {
    checkPacking();
    graph.run(step, accumulating, update, loss);
    return graph.floats(loss).get(0);
  }

  private void checkPacking() {
    IntBuffer starts = starts();
    IntBuffer positions = positions();
    for (int i = 0; i < starts.capacity(); i++) {
      int place = i % length;
      int start = starts.get(i);
      boolean begins = start == place;
      boolean goesOn = place > 0 && start == starts.get(i - 1);
      if (!begins && !goesOn) {
        throw new IllegalArgumentException(
            at(i) + ": start " + start + "; its own place, or the start before it");
      }
      if (positions.get(i) < 0 || positions.get(i) >= context) {
        throw new IllegalArgumentException(
            at(i) + ": position " + positions.get(i) + "; 0 to " + (context - 1));
      }
    }
  }

  private String at(int i) {
    return "row " + i / length + ", token " + i % length;
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
