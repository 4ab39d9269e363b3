package dev.sinter.train;

import dev.sinter.data.PretrainingExamples;
import dev.sinter.data.PretrainingExamples.Example;
import dev.sinter.graph.Recompute;
import dev.sinter.model.Head.Task;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import java.nio.FloatBuffer;
import java.util.function.Consumer;

/**
 * Pre-trains a BERT on masked tokens, and on next sentences where its head has them (Devlin et al.
 * 2019, section 3.1).
 */
public final class BertTrainer {
  private final TaskModel model;
  private final PretrainingExamples examples;
  private final int batch;
  private final int length;
  private final int masked;
  private final long seed;

  /**
   * Prepares a training.
   *
   * @param model with a head of masked tokens
   * @param examples to learn from
   * @param batch examples of a pass
   * @param length the most tokens of an example
   * @param mostMasked the most masked tokens of an example
   * @param seed of dropout
   */
  public BertTrainer(
      TaskModel model,
      PretrainingExamples examples,
      int batch,
      int length,
      int mostMasked,
      long seed) {
    this.model = model;
    this.examples = examples;
    this.batch = batch;
    this.length = length;
    this.masked = Math.multiplyExact(batch, mostMasked);
    this.seed = seed;
  }

  /**
   * Trains.
   *
   * @param optimizer its settings
   * @param steps how many, of one pass each
   * @param onStep called after each step
   */
  public void run(AdamW optimizer, long steps, Consumer<Step> onStep) {
    try (TaskGraph graph = model.trainingGraph(batch, length, masked, 1, Recompute.NONE, seed)) {
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, 1);
      while (loop.goesOn()) {
        onStep.accept(
            loop.step(
                (number, accumulating, update) -> {
                  fill(graph, examples, number * batch);
                  return graph.run(number, accumulating, update);
                },
                (long) batch * length));
      }
    }
  }

  /**
   * How well masked tokens are known.
   *
   * @param loss of a masked token, and of a next sentence where the head has them, in nats
   * @param accuracy share of masked tokens whose likeliest word is the right one
   * @param nextAccuracy share of next sentences told right; NaN: the head has none
   */
  public record Result(double loss, double accuracy, double nextAccuracy) {}

  /**
   * Measures the model.
   *
   * @param held examples that it has not learned from
   * @param batches how many batches of them
   * @return means over all
   */
  public Result evaluate(PretrainingExamples held, int batches) {
    boolean next = model.head().task() == Task.PRETRAINING;
    double loss = 0;
    long words = 0;
    long right = 0;
    long nextRight = 0;
    try (TaskGraph graph = model.graph(batch, length, masked)) {
      int vocabulary = model.bertConfig().vocabulary();
      float[] row = new float[vocabulary];
      for (int i = 0; i < batches; i++) {
        int there = fill(graph, held, (long) i * batch);
        loss += graph.run(0, false) / batches;
        for (int j = 0; j < there; j++) {
          graph.outputs().get(j * vocabulary, row);
          right += likeliest(row) == graph.targets().get(j) ? 1 : 0;
        }
        words += there;
        for (int j = 0; j < batch && next; j++) {
          FloatBuffer logits = graph.nextOutputs();
          int told = logits.get(2 * j) >= logits.get(2 * j + 1) ? 0 : 1;
          nextRight += told == graph.nextTargets().get(j) ? 1 : 0;
        }
      }
    }
    return new Result(
        loss,
        (double) right / words,
        next ? (double) nextRight / ((long) batches * batch) : Double.NaN);
  }

  private static int likeliest(float[] row) {
    int best = 0;
    for (int i = 1; i < row.length; i++) {
      best = row[i] > row[best] ? i : best;
    }
    return best;
  }

  /** Fills a batch; returns its number of masked tokens. */
  private int fill(TaskGraph graph, PretrainingExamples from, long first) {
    int next = 0;
    for (int i = 0; i < batch; i++) {
      Example example = from.get(first + i);
      int count = example.tokens().length;
      graph.lengths().put(i, count);
      for (int j = 0; j < length; j++) {
        int at = i * length + j;
        graph.tokens().put(at, j < count ? example.tokens()[j] : model.bertConfig().padding());
        graph.segments().put(at, j < count ? example.segments()[j] : 0);
      }
      for (int j = 0; j < example.places().length; j++, next++) {
        graph.maskedRows().put(next, i * length + example.places()[j]);
        graph.targets().put(next, example.words()[j]);
      }
      if (model.head().task() == Task.PRETRAINING) {
        graph.nextTargets().put(i, example.follows() ? 0 : 1);
      }
    }
    for (int j = next; j < masked; j++) {
      graph.maskedRows().put(j, -1);
      graph.targets().put(j, -100);
    }
    return next;
  }
}
