package dev.sinter.model;

import dev.sinter.graph.DType;
import dev.sinter.graph.Graph;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Tensor;
import dev.sinter.model.Head.Task;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * One pass of a {@link TaskModel} over a batch. Fill the inputs, run, read the loss and the
 * outputs. Sequences are padded at their ends; what stands there does not matter.
 */
public final class TaskGraph implements AutoCloseable {
  private static final int IGNORED = -100;

  /** The tensors that a pass reads; those that the head does not have are null. */
  static final class Inputs {
    Tensor tokens;
    Tensor segments;
    Tensor lengths;
    Tensor pooledRows;
    Tensor maskedRows;
    Tensor rowWeights;
    final List<Tensor> targets = new ArrayList<>();
    final List<Tensor> weights = new ArrayList<>();
    final Map<Tensor, int[]> constants = new IdentityHashMap<>();
  }

  private final TaskModel model;
  private final Graph graph;
  private final Inputs in;
  private final List<Tensor> losses;

  /** Their sum; null: there are none. */
  private final Tensor loss;

  private final List<Tensor> outputs;
  private final Tensor outputGradient;
  private final int accumulate;
  private final int batch;
  private final int length;
  private final boolean[] weighted = new boolean[2];

  /**
   * @param outputGradient what the caller writes who computes the loss; null: the graph does
   */
  TaskGraph(
      TaskModel model,
      Graph graph,
      Inputs in,
      List<Tensor> losses,
      Tensor loss,
      List<Tensor> outputs,
      Tensor outputGradient,
      int accumulate) {
    this.model = model;
    this.graph = graph;
    this.in = in;
    this.losses = losses;
    this.loss = loss;
    this.outputs = outputs;
    this.outputGradient = outputGradient;
    this.accumulate = accumulate;
    long[] shape = in.tokens.shape();
    this.batch = (int) shape[0];
    this.length = (int) shape[1];
    in.constants.forEach((tensor, values) -> graph.ints(tensor).put(0, values));
    for (int i = 0; i < batch; i++) {
      lengths().put(i, length);
    }
    for (Tensor targets : in.targets) {
      if (targets.dtype() == DType.I32) {
        for (int i = 0; i < count(targets); i++) {
          graph.ints(targets).put(i, IGNORED);
        }
      }
    }
    if (in.maskedRows != null) {
      for (int i = 0; i < count(in.maskedRows); i++) {
        maskedRows().put(i, -1);
      }
    }
  }

  /**
   * Returns the number of sequences.
   *
   * @return rows
   */
  public int batch() {
    return batch;
  }

  /**
   * Returns the length of the sequences.
   *
   * @return tokens of each, padding included
   */
  public int length() {
    return length;
  }

  /**
   * The tokens.
   *
   * @return int32 [batch, length]
   */
  public IntBuffer tokens() {
    return graph.ints(in.tokens);
  }

  /**
   * The segment of each token: zeros until they are set.
   *
   * @return int32 [batch, length]
   * @throws IllegalStateException for a GPT, which has none
   */
  public IntBuffer segments() {
    if (in.segments == null) {
      throw new IllegalStateException("a GPT has no segments");
    }
    return graph.ints(in.segments);
  }

  /**
   * How many tokens of each sequence are no padding: all until they are set.
   *
   * @return int32 [batch]
   */
  public IntBuffer lengths() {
    return graph.ints(in.lengths);
  }

  /**
   * Where the masked tokens stand: {@code sequence * length + place}, none twice; -1: nowhere.
   *
   * @return int32 [masked]
   * @throws IllegalStateException for another head
   */
  public IntBuffer maskedRows() {
    if (in.maskedRows == null) {
      throw new IllegalStateException(model.head().task() + " has no masked tokens");
    }
    return graph.ints(in.maskedRows);
  }

  /** Whether it reads chosen tokens. */
  boolean isMasked() {
    return in.maskedRows != null;
  }

  /** Whether its targets are numbers, not classes. */
  boolean hasNumbers() {
    return in.targets.get(0).dtype() == DType.F32;
  }

  /**
   * The right classes: words [masked], labels [batch] or [batch, length], starts and ends [batch,
   * 2], choices [batch / choices]. -100: none, which all are until they are set.
   *
   * @return int32
   */
  public IntBuffer targets() {
    return graph.ints(in.targets.get(0));
  }

  /**
   * Whether the second segment follows the first: 0 where it does, 1 where it does not. Or, where
   * the next tokens are learned too, what they are: -100: none.
   *
   * @return int32 [batch], or [batch, length]
   */
  public IntBuffer nextTargets() {
    return graph.ints(in.targets.get(1));
  }

  /**
   * The right numbers, or probabilities of labels.
   *
   * @return fp32 [batch, labels]
   */
  public FloatBuffer numbers() {
    return graph.floats(in.targets.get(0));
  }

  /**
   * What each target's loss is multiplied by, as {@link #targets} are laid out. Without a call of
   * this the loss is the mean over all targets that are there.
   *
   * @return fp32
   */
  public FloatBuffer weights() {
    weighted[0] = true;
    return graph.floats(in.weights.get(0));
  }

  /**
   * What each target's of {@link #nextTargets} loss is multiplied by. Without a call of this it is
   * the mean.
   *
   * @return fp32, as many
   */
  public FloatBuffer nextWeights() {
    weighted[1] = true;
    return graph.floats(in.weights.get(1));
  }

  /**
   * Runs the pass.
   *
   * @param step keys dropout; different for each batch of a training
   * @param accumulating whether gradients are added to those of the pass before
   * @return the loss: of several, their sum; 0 where the head has none
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
   * @return the loss: of several, their sum; 0 where the head has none
   */
  public float run(long step, boolean accumulating, Parameters.Update update) {
    checkLengths();
    fillRows();
    for (int i = 0; i < in.targets.size(); i++) {
      if (!weighted[i]) {
        fillWeights(in.targets.get(i), in.weights.get(i));
      }
    }
    graph.run(step, accumulating, update, loss);
    float sum = 0;
    for (int i = 0; i < losses.size(); i++) {
      float part = graph.floats(losses.get(i)).get(0);
      sum += weighted[i] ? part : part * accumulate;
    }
    return sum;
  }

  /**
   * Runs the first half of a pass whose loss the caller computes: then {@link #outputs} are there.
   *
   * @param step keys dropout; different for each batch of a training
   */
  public void forward(long step) {
    checkLengths();
    fillRows();
    graph.forward(step);
  }

  /**
   * The gradient of the caller's loss with respect to {@link #outputs}.
   *
   * @return fp32, as many as outputs, to be filled before {@link #backward}
   * @throws IllegalStateException where the graph computes the loss itself
   */
  public FloatBuffer outputGradients() {
    if (outputGradient == null) {
      throw new IllegalStateException("this graph computes its loss itself");
    }
    return graph.floats(outputGradient);
  }

  /**
   * Runs the second half, once for each first.
   *
   * @param accumulating whether gradients are added to those of the pass before
   */
  public void backward(boolean accumulating) {
    graph.backward(accumulating);
  }

  private void checkLengths() {
    IntBuffer lengths = lengths();
    for (int i = 0; i < batch; i++) {
      int tokens = lengths.get(i);
      if (tokens < 1 || tokens > length) {
        throw new IllegalArgumentException(
            "sequence " + i + " has " + tokens + " tokens; 1 to " + length);
      }
    }
  }

  private void fillRows() {
    IntBuffer lengths = lengths();
    for (int i = 0; i < batch && in.pooledRows != null; i++) {
      int place = model.poolsFirst() ? 0 : lengths.get(i) - 1;
      graph.ints(in.pooledRows).put(i, i * length + place);
    }
    for (int i = 0; i < batch && in.rowWeights != null; i++) {
      for (int j = 0; j < length; j++) {
        float share = j < lengths.get(i) ? 1f / lengths.get(i) : 0;
        graph.floats(in.rowWeights).put(i * length + j, share);
      }
    }
  }

  /** Weights that make the loss a mean; of spans, the mean over starts and over ends, halved. */
  private void fillWeights(Tensor targets, Tensor weights) {
    FloatBuffer to = graph.floats(weights);
    int count = count(targets);
    int sides = model.head().task() == Task.SPAN ? 2 : 1;
    for (int side = 0; side < sides; side++) {
      int there = 0;
      for (int i = side; i < count; i += sides) {
        there += isThere(targets, i) ? 1 : 0;
      }
      float share = there == 0 ? 0 : 1f / ((float) there * sides * accumulate);
      for (int i = side; i < count; i += sides) {
        to.put(i, isThere(targets, i) ? share : 0);
      }
    }
  }

  private boolean isThere(Tensor targets, int i) {
    return targets.dtype() != DType.I32 || graph.ints(targets).get(i) != IGNORED;
  }

  private static int count(Tensor tensor) {
    return Math.toIntExact(tensor.elements());
  }

  /**
   * What the head gives: words' logits [masked, vocabulary], classes' [batch, labels] or [batch,
   * length, labels], starts' and ends' [batch, 2, length], choices' [batch / choices, choices],
   * vectors [batch, width].
   *
   * @return fp32; valid until the next run
   * @throws IllegalStateException in training, where gradients have taken the outputs' place
   */
  public FloatBuffer outputs() {
    return output(0);
  }

  /**
   * Logits of whether the second segment follows the first.
   *
   * @return fp32 [batch, 2]; valid until the next run
   */
  public FloatBuffer nextOutputs() {
    return output(1);
  }

  private FloatBuffer output(int number) {
    if (outputs.size() <= number) {
      throw new IllegalStateException(
          model.head().task() + " gives no such output, or this graph trains");
    }
    return graph.floats(outputs.get(number));
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
