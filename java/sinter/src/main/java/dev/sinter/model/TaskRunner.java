package dev.sinter.model;

import dev.sinter.model.Head.Task;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/**
 * Runs a {@link TaskModel} over any number of sequences. Those of like lengths share a pass, padded
 * to the longest; graphs are kept, a few of them, for the next call. Safe to use from many threads,
 * which take turns.
 */
public final class TaskRunner implements AutoCloseable {
  private static final int MOST_ROWS = 32;
  private static final int MOST_TOKENS = 4096;
  private static final int STEP = 16;
  private static final int KEPT = 8;

  private final TaskModel model;
  private final Map<Shape, TaskGraph> graphs =
      new LinkedHashMap<>(2 * KEPT, 0.75f, true); // the least recently used comes first
  private boolean closed;

  private record Shape(Head head, int batch, int length, int masked) {}

  /**
   * A sequence.
   *
   * @param tokens at least one, at most the context
   * @param segments of each, 0 or 1; a GPT does not look at them
   * @param places of the tokens that a masked head shall tell, ascending; other heads: none
   */
  public record Input(int[] tokens, int[] segments, int[] places) {}

  /**
   * Prepares to run.
   *
   * @param model whose weights; it stays the caller's
   */
  public TaskRunner(TaskModel model) {
    this.model = model;
  }

  /**
   * Runs sequences through the model under a head.
   *
   * @param head the model's own, or one that {@link TaskModel#withHead} allows; a choice is a
   *     number for each sequence: {@code Head.choice(1)}
   * @param inputs any number
   * @return of each what the head gives: words' logits [places, vocabulary], classes' [labels] or
   *     [length, labels], starts' and then ends' [2, length], a vector [width]; without padding
   * @throws IllegalArgumentException where a sequence is empty or too long, or an id is none
   * @throws ArithmeticException where what the model gives is not finite
   */
  public synchronized List<float[]> run(Head head, List<Input> inputs) {
    if (closed) {
      throw new IllegalStateException("the model is closed");
    }
    inputs.forEach(this::check);
    float[][] outputs = new float[inputs.size()][];
    List<Integer> order =
        IntStream.range(0, outputs.length)
            .boxed()
            .sorted(Comparator.comparingInt(i -> inputs.get(i).tokens.length))
            .toList();
    for (int from = 0; from < order.size(); ) {
      int to = from + 1;
      while (to < order.size() && fits(inputs.get(order.get(to)), to + 1 - from)) {
        to++;
      }
      run(head, inputs, order.subList(from, to), outputs);
      from = to;
    }
    return List.of(outputs);
  }

  private static boolean fits(Input longest, int rows) {
    return rows <= MOST_ROWS && rows * longest.tokens.length <= MOST_TOKENS;
  }

  private void check(Input input) {
    int length = input.tokens.length;
    if (length < 1 || length > model.context()) {
      throw new IllegalArgumentException(
          "a text of " + length + " tokens; this model's context is 1 to " + model.context());
    }
    if (input.segments.length != length) {
      throw new IllegalArgumentException(input.segments.length + " segments; " + length);
    }
    BertConfig bert = model.bertConfig();
    for (int i = 0; i < length; i++) {
      if (input.tokens[i] < 0 || input.tokens[i] >= model.vocabulary()) {
        throw new IllegalArgumentException(
            "token " + input.tokens[i] + "; the vocabulary has 0 to " + (model.vocabulary() - 1));
      }
      if (bert != null && (input.segments[i] < 0 || input.segments[i] >= bert.segments())) {
        throw new IllegalArgumentException(
            "segment " + input.segments[i] + "; the model has 0 to " + (bert.segments() - 1));
      }
    }
    for (int place : input.places) {
      if (place < 0 || place >= length) {
        throw new IllegalArgumentException("place " + place + "; 0 to " + (length - 1));
      }
    }
  }

  /** Rows and words to the next power of two, lengths to the next step: few graphs are traced. */
  private TaskGraph graph(Head head, int rows, int length, int masked) {
    Shape shape =
        new Shape(
            head,
            powerOfTwo(rows),
            Math.min(model.context(), (length + STEP - 1) / STEP * STEP),
            head.isMasked() ? powerOfTwo(Math.max(1, masked)) : 0);
    TaskGraph graph = graphs.get(shape);
    if (graph == null) {
      if (graphs.size() == KEPT) {
        graphs.remove(graphs.keySet().iterator().next()).close();
      }
      TaskModel under = head.equals(model.head()) ? model : model.withHead(head);
      graph = under.graph(shape.batch, shape.length, shape.masked);
      graphs.put(shape, graph);
    }
    return graph;
  }

  private static int powerOfTwo(int atLeast) {
    return atLeast == 1 ? 1 : Integer.highestOneBit(atLeast - 1) << 1;
  }

  private void run(Head head, List<Input> inputs, List<Integer> rows, float[][] outputs) {
    int longest = inputs.get(rows.get(rows.size() - 1)).tokens.length;
    int places = rows.stream().mapToInt(row -> inputs.get(row).places.length).sum();
    TaskGraph graph = graph(head, rows.size(), longest, places);
    int length = graph.length();
    int masked = 0;
    for (int row = 0; row < graph.batch(); row++) {
      // What is left of the batch repeats a row: it costs nothing to say, and no one looks at it.
      Input input = inputs.get(rows.get(Math.min(row, rows.size() - 1)));
      graph.lengths().put(row, input.tokens.length);
      graph.tokens().put(row * length, input.tokens);
      if (model.bertConfig() != null) {
        graph.segments().put(row * length, input.segments);
      }
      for (int j = input.tokens.length; j < length; j++) {
        graph.tokens().put(row * length + j, 0);
        if (model.bertConfig() != null) {
          graph.segments().put(row * length + j, 0);
        }
      }
      for (int i = 0; i < input.places.length && row < rows.size() && head.isMasked(); i++) {
        graph.maskedRows().put(masked++, row * length + input.places[i]);
      }
    }
    while (head.isMasked() && masked < graph.maskedRows().capacity()) {
      graph.maskedRows().put(masked++, -1);
    }
    graph.run(0, false);
    read(head, graph, inputs, rows, outputs);
  }

  private void read(
      Head head, TaskGraph graph, List<Input> inputs, List<Integer> rows, float[][] outputs) {
    FloatBuffer all = graph.outputs();
    int length = graph.length();
    int words = 0;
    for (int row = 0; row < rows.size(); row++) {
      Input input = inputs.get(rows.get(row));
      int tokens = input.tokens.length;
      float[] output;
      if (head.isMasked()) {
        output = new float[input.places.length * model.vocabulary()];
        all.get(words * model.vocabulary(), output);
        words += input.places.length;
      } else if (head.task() == Task.SPAN) {
        output = new float[2 * tokens];
        all.get(2 * row * length, output, 0, tokens);
        all.get((2 * row + 1) * length, output, tokens, tokens);
      } else if (head.task() == Task.TOKENS) {
        output = new float[tokens * head.labels()];
        all.get(row * length * head.labels(), output);
      } else {
        output = new float[all.capacity() / graph.batch()];
        all.get(row * output.length, output);
      }
      for (float x : output) {
        if (!Float.isFinite(x)) {
          throw new ArithmeticException(
              "the model gives " + x + "; its weights are damaged or training diverged");
        }
      }
      outputs[rows.get(row)] = output;
    }
  }

  /** Gives the graphs back. Closing twice is harmless. */
  @Override
  public synchronized void close() {
    closed = true;
    new ArrayList<>(graphs.values()).forEach(TaskGraph::close);
    graphs.clear();
  }
}
