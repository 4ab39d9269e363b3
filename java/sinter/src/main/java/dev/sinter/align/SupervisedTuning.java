package dev.sinter.align;

import dev.sinter.graph.Recompute;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.PackedGraph;
import dev.sinter.train.AdamW;
import dev.sinter.train.Step;
import dev.sinter.train.TrainingLoop;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * Supervised tuning, the first of GPT-3.5's steps (Ouyang et al. 2022, section 3.5): a model learns
 * the answers of conversations, and their ends. What was said before them is read, not learned.
 * Short conversations share a row and do not see each other. The loss of a step is the mean over
 * its learned tokens.
 */
public final class SupervisedTuning {
  private static final int IGNORED = -100;

  private final LanguageModel model;
  private final Chat chat;
  private final List<List<Example>> rows;
  private final int conversations;
  private final int tooLong;
  private final int batch;
  private final int length;
  private final long seed;

  /**
   * Prepares a tuning.
   *
   * @param model to tune, whole or under an adapter
   * @param chat its tokenizer and template
   * @param conversations to learn from; those that are too long for the model's context are left
   *     out
   * @param batch rows of a step
   * @param length tokens of a row; a longer one holds more conversations
   * @param seed of the order and of dropout
   * @throws IllegalArgumentException where no conversation fits
   */
  public SupervisedTuning(
      LanguageModel model,
      Chat chat,
      List<Conversation> conversations,
      int batch,
      int length,
      long seed) {
    if (batch < 1 || length < 1) {
      throw new IllegalArgumentException("batch " + batch + ", length " + length + "; 1 or more");
    }
    List<Example> examples = fitting(model, chat, conversations, length);
    if (examples.isEmpty()) {
      throw new IllegalArgumentException(
          "no conversation has at most " + length + " tokens; take a greater length");
    }
    List<Example> shuffled =
        Epochs.shuffled(examples.size(), seed).stream().map(examples::get).toList();
    this.model = model;
    this.chat = chat;
    this.rows = Packing.rows(shuffled, length);
    this.conversations = examples.size();
    this.tooLong = conversations.size() - examples.size();
    this.batch = batch;
    this.length = length;
    this.seed = seed;
  }

  private static List<Example> fitting(
      LanguageModel model, Chat chat, List<Conversation> conversations, int length) {
    int most = Math.min(length, model.config().context());
    List<Example> examples = new ArrayList<>();
    for (Conversation conversation : conversations) {
      Example example = chat.example(conversation);
      if (example.positions() <= most && example.learned() > 0) {
        examples.add(example);
      }
    }
    return examples;
  }

  /**
   * Tells how many conversations are learned from.
   *
   * @return those that fit
   */
  public int conversations() {
    return conversations;
  }

  /**
   * Tells how many conversations were left out.
   *
   * @return those that are too long
   */
  public int tooLong() {
    return tooLong;
  }

  /**
   * Tells how many rows the conversations fill.
   *
   * @return rows of an epoch
   */
  public int rows() {
    return rows.size();
  }

  /**
   * Tells how many steps see all conversations so many times.
   *
   * @param epochs more than 0
   * @return steps, rounded up
   */
  public long steps(double epochs) {
    return Epochs.steps(epochs, rows.size(), batch);
  }

  /**
   * Tunes the model.
   *
   * @param optimizer its settings
   * @param steps how many, of one batch each
   * @param onStep called after each step
   * @throws dev.sinter.train.DivergedException where loss or gradients are no longer finite
   */
  public void run(AdamW optimizer, long steps, Consumer<Step> onStep) {
    Epochs order = new Epochs(rows.size(), seed);
    try (PackedGraph graph = model.packedGraph(batch, length, 1, Recompute.NONE, seed)) {
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, 1);
      while (loop.goesOn()) {
        onStep.accept(
            loop.step(
                (number, accumulating, update) -> {
                  List<List<Example>> some = new ArrayList<>();
                  for (int i = 0; i < batch; i++) {
                    some.add(rows.get(order.get(number * batch + i)));
                  }
                  fill(graph, some, length);
                  return graph.run(number, accumulating, update);
                },
                (long) batch * length));
      }
    }
  }

  /** Fills rows; what is left of each are sequences of one token, of which nothing is learned. */
  static void fill(PackedGraph graph, List<List<Example>> rows, int length) {
    long learned = rows.stream().flatMap(List::stream).mapToLong(Example::learned).sum();
    for (int row = 0; row < rows.size(); row++) {
      int start = row * length;
      int at = start;
      for (Example example : rows.get(row)) {
        int first = at - start;
        for (int i = 0; i < example.positions(); i++, at++) {
          boolean learns = example.answers()[i + 1];
          graph.tokens().put(at, example.tokens()[i]);
          graph.positions().put(at, i);
          graph.starts().put(at, first);
          graph.targets().put(at, learns ? example.tokens()[i + 1] : IGNORED);
          graph.weights().put(at, learns ? 1f / learned : 0);
        }
      }
      for (; at < start + length; at++) {
        graph.tokens().put(at, 0);
        graph.positions().put(at, 0);
        graph.starts().put(at, at - start);
        graph.targets().put(at, IGNORED);
        graph.weights().put(at, 0);
      }
    }
  }

  /**
   * Measures the model.
   *
   * @param held conversations that it has not learned from; those that are too long are left out
   * @return the mean loss of a token of their answers, in nats
   * @throws IllegalArgumentException where none fits
   */
  public double evaluate(List<Conversation> held) {
    List<Example> examples = fitting(model, chat, held, Integer.MAX_VALUE);
    if (examples.isEmpty()) {
      throw new IllegalArgumentException(
          "no conversation to validate with fits the context of " + model.config().context());
    }
    int longest = examples.stream().mapToInt(Example::positions).max().orElseThrow();
    double sum = 0;
    long learned = 0;
    try (Likelihoods likelihoods = Likelihoods.of(model, batch, longest, 1)) {
      for (int from = 0; from < examples.size(); from += batch) {
        List<Example> some = examples.subList(from, Math.min(from + batch, examples.size()));
        likelihoods.forward(some, 0);
        for (int row = 0; row < some.size(); row++) {
          for (double logProbability : likelihoods.logProbabilities(row)) {
            sum -= logProbability;
            learned++;
          }
        }
      }
    }
    return sum / learned;
  }
}
