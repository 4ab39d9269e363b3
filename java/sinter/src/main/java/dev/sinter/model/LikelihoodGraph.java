package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.Tensor;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/**
 * A training pass in two halves: {@link #forward} gives what each token's negative log-likelihood
 * is, the caller makes a loss of them and writes its gradient, {@link #backward} takes it from
 * there.
 */
public final class LikelihoodGraph implements AutoCloseable {
  private final Graph graph;
  private final Tensor tokens;
  private final Tensor targets;
  private final Tensor losses;
  private final Tensor gradient;

  LikelihoodGraph(Graph graph, Tensor tokens, Tensor targets, Tensor losses, Tensor gradient) {
    this.graph = graph;
    this.tokens = tokens;
    this.targets = targets;
    this.losses = losses;
    this.gradient = gradient;
  }

  /**
   * The tokens.
   *
   * @return int32 [batch, length], to be filled before {@link #forward}
   */
  public IntBuffer tokens() {
    return graph.ints(tokens);
  }

  /**
   * The token that follows each.
   *
   * @return int32 [batch, length], to be filled before {@link #forward}; -100: none
   */
  public IntBuffer targets() {
    return graph.ints(targets);
  }

  /**
   * The negative log-likelihood of each target.
   *
   * @return fp32 [batch, length], in nats; 0 where there is no target; valid until the next run
   */
  public FloatBuffer losses() {
    return graph.floats(losses);
  }

  /**
   * The gradient of the caller's loss with respect to {@link #losses}.
   *
   * @return fp32 [batch, length], to be filled before {@link #backward}
   */
  public FloatBuffer gradient() {
    return graph.floats(gradient);
  }

  /**
   * Runs the first half.
   *
   * @param step keys dropout; different for each batch of a training
   */
  public void forward(long step) {
    graph.forward(step);
  }

  /**
   * Runs the second half, once for each first.
   *
   * @param accumulating whether gradients are added to those of the pass before
   */
  public void backward(boolean accumulating) {
    graph.backward(accumulating);
  }

  @Override
  public void close() {
    graph.close();
  }
}
