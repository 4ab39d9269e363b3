package dev.sinter.train;

import dev.sinter.graph.Recompute;
import dev.sinter.model.TransformerGraph;
import dev.sinter.model.TransformerModel;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Consumer;

/** Trains an encoder-decoder on pairs of texts (Vaswani et al. 2017, section 5). */
public final class TranslationTrainer {
  private final TransformerModel model;
  private final List<Pair> pairs;
  private final int batch;
  private final int sourceLength;
  private final int targetLength;
  private final long seed;
  private int[] order = new int[0];
  private long epoch = -1;

  /**
   * A text and what it becomes.
   *
   * @param source tokens
   * @param target tokens, the end token included, the start token not
   */
  @SuppressWarnings("ArrayRecordComponent") // a value that is handed over, never compared
  public record Pair(int[] source, int[] target) {}

  /**
   * Prepares a training.
   *
   * @param model to train
   * @param pairs to learn from
   * @param batch pairs of a pass
   * @param seed of the order and of dropout
   * @throws IllegalArgumentException where there are no pairs, or one is empty or too long
   */
  public TranslationTrainer(TransformerModel model, List<Pair> pairs, int batch, long seed) {
    if (pairs.isEmpty()
        || pairs.stream().anyMatch(pair -> pair.source.length == 0 || pair.target.length == 0)) {
      throw new IllegalArgumentException("there are no pairs, or one has an empty side");
    }
    this.model = model;
    this.pairs = List.copyOf(pairs);
    this.batch = batch;
    this.sourceLength = pairs.stream().mapToInt(pair -> pair.source.length).max().getAsInt();
    this.targetLength = pairs.stream().mapToInt(pair -> pair.target.length).max().getAsInt();
    this.seed = seed;
  }

  /**
   * The paper's learning rate (section 5.3): {@code factor width^-0.5 min(t^-0.5, t warmup^-1.5)}.
   *
   * @param width of the model
   * @param warmup steps of rising
   * @param factor 1 in the paper
   * @return the schedule
   */
  public static Schedule schedule(int width, long warmup, double factor) {
    return (step, steps) ->
        factor
            / Math.sqrt(width)
            * Math.min(1 / Math.sqrt(step + 1.0), (step + 1) * Math.pow((double) warmup, -1.5));
  }

  /**
   * Trains.
   *
   * @param optimizer its settings; the paper's betas are 0.9 and 0.98
   * @param smoothing the share of each target that all tokens have alike; 0.1 in the paper
   * @param steps how many, of one pass each
   * @param onStep called after each step
   */
  public void run(AdamW optimizer, float smoothing, long steps, Consumer<Step> onStep) {
    try (TransformerGraph graph =
        model.trainingGraph(
            batch, sourceLength, targetLength, smoothing, 1, Recompute.NONE, seed)) {
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, 1);
      while (loop.goesOn()) {
        onStep.accept(
            loop.step(
                (number, accumulating, update) -> {
                  for (int i = 0; i < batch; i++) {
                    fill(graph, i, pair(number * batch + i), sourceLength, targetLength);
                  }
                  return graph.run(number, accumulating, update);
                },
                (long) batch * (sourceLength + targetLength)));
      }
    }
  }

  /**
   * Measures the model.
   *
   * @param held pairs that it has not learned from
   * @return the mean over batches of their loss, without smoothing, in nats a target's token
   */
  public double evaluate(List<Pair> held) {
    int sources = held.stream().mapToInt(pair -> pair.source.length).max().orElseThrow();
    int targets = held.stream().mapToInt(pair -> pair.target.length).max().orElseThrow();
    int rows = Math.min(batch, held.size());
    int batches = held.size() / rows;
    double loss = 0;
    try (TransformerGraph graph = model.graph(rows, sources, targets)) {
      for (int i = 0; i < batches; i++) {
        for (int row = 0; row < rows; row++) {
          fill(graph, row, held.get(i * rows + row), sources, targets);
        }
        loss += graph.run(0, false) / batches;
      }
    }
    return loss;
  }

  /** Each epoch takes each pair once, in an order of its own. */
  private Pair pair(long number) {
    if (number / pairs.size() != epoch) {
      epoch = number / pairs.size();
      SplittableRandom random = new SplittableRandom(seed ^ (epoch + 1) * 0x9E3779B97F4A7C15L);
      order = new int[pairs.size()];
      for (int i = 0; i < order.length; i++) {
        int j = random.nextInt(i + 1);
        order[i] = order[j];
        order[j] = i;
      }
    }
    return pairs.get(order[(int) (number % pairs.size())]);
  }

  private void fill(TransformerGraph graph, int row, Pair pair, int sources, int targets) {
    int padding = model.config().padding();
    for (int j = 0; j < sources; j++) {
      graph.sources().put(row * sources + j, j < pair.source.length ? pair.source[j] : padding);
    }
    graph.sourceLengths().put(row, pair.source.length);
    for (int j = 0; j < targets; j++) {
      graph.targets().put(row * targets + j, j < pair.target.length ? pair.target[j] : -100);
    }
  }
}
