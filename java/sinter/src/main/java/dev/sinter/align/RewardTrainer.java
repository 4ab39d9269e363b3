package dev.sinter.align;

import dev.sinter.align.Chat.Ranked;
import dev.sinter.graph.Recompute;
import dev.sinter.model.TaskGraph;
import dev.sinter.train.AdamW;
import dev.sinter.train.Step;
import dev.sinter.train.TrainingLoop;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * Trains a reward model on rankings, the second of GPT-3.5's steps (Ouyang et al. 2022, eq. 1). All
 * responses to a prompt are in one batch, each computed once, and all their pairs in one mean; so a
 * prompt counts the same however many responses it has.
 */
public final class RewardTrainer {
  private final RewardModel reward;
  private final Ranked ranked;
  private final int prompts;
  private final int rows;
  private final int length;
  private final long seed;

  /**
   * Prepares a training.
   *
   * @param reward the model to train
   * @param rankings to learn from; those of which a response is too long are left out
   * @param prompts whose responses make a step
   * @param length the most tokens of a prompt and a response
   * @param seed of the order and of dropout
   * @throws IllegalArgumentException where no ranking fits
   */
  public RewardTrainer(
      RewardModel reward, List<Ranking> rankings, int prompts, int length, long seed) {
    if (prompts < 1) {
      throw new IllegalArgumentException(prompts + " prompts a step; 1 or more");
    }
    this.reward = reward;
    this.length = Math.min(length, reward.model().context());
    this.ranked = reward.chat().ranked(rankings, this.length);
    ranked.requireSome(this.length);
    this.prompts = prompts;
    this.rows = Math.multiplyExact(prompts, ranked.most());
    this.seed = seed;
  }

  /**
   * Tells how many rankings were left out.
   *
   * @return those with a response that is too long
   */
  public int tooLong() {
    return ranked.tooLong();
  }

  /**
   * Tells how many steps see all rankings so many times. One epoch is usual: reward models overfit
   * soon.
   *
   * @param epochs more than 0
   * @return steps, rounded up
   */
  public long steps(double epochs) {
    return Epochs.steps(epochs, ranked.size(), prompts);
  }

  /**
   * Trains the model, and shifts it so that all responses together score 0 on average.
   *
   * @param optimizer its settings
   * @param steps how many, of one batch each
   * @param onStep called after each step
   * @throws dev.sinter.train.DivergedException where loss or gradients are no longer finite
   */
  public void run(AdamW optimizer, long steps, Consumer<Step> onStep) {
    Epochs order = new Epochs(ranked.size(), seed);
    try (TaskGraph graph = reward.model().outputGraph(rows, length, Recompute.NONE, seed)) {
      TrainingLoop loop = new TrainingLoop(reward.model(), optimizer, steps, 1);
      while (loop.goesOn()) {
        onStep.accept(
            loop.step(
                (number, accumulating, update) -> {
                  int[] some = new int[prompts];
                  Arrays.setAll(some, i -> order.get(number * prompts + i));
                  return pass(graph, some, number, accumulating);
                },
                (long) rows * length));
      }
    }
    List<int[]> all = new ArrayList<>();
    ranked.responses().forEach(some -> some.forEach(one -> all.add(one.tokens())));
    reward.center(all);
  }

  private double pass(TaskGraph graph, int[] some, long number, boolean accumulating) {
    List<Example> examples = new ArrayList<>();
    for (int prompt : some) {
      examples.addAll(ranked.responses().get(prompt));
    }
    for (int row = 0; row < rows; row++) {
      int[] tokens = row < examples.size() ? examples.get(row).tokens() : new int[1];
      graph.lengths().put(row, tokens.length);
      for (int i = 0; i < length; i++) {
        graph.tokens().put(row * length + i, i < tokens.length ? tokens[i] : 0);
      }
    }
    graph.forward(number);
    double loss = 0;
    int row = 0;
    for (int prompt : some) {
      int[] ranks = ranked.ranks().get(prompt);
      double[] rewards = new double[ranks.length];
      for (int i = 0; i < ranks.length; i++) {
        rewards[i] = graph.outputs().get(row + i);
      }
      PairLoss pairs = PairLoss.of(rewards, ranks);
      loss += pairs.loss() / some.length;
      for (double gradient : pairs.gradient()) {
        graph.outputGradients().put(row++, (float) (gradient / some.length));
      }
    }
    for (; row < rows; row++) {
      graph.outputGradients().put(row, 0);
    }
    graph.backward(accumulating);
    return loss;
  }

  /**
   * How well rankings are known.
   *
   * @param loss mean over the rankings of their pairs' mean loss
   * @param accuracy share of the pairs, ties left out, whose better response has the greater reward
   * @param pairs how many there are
   */
  public record Result(double loss, double accuracy, long pairs) {}

  /**
   * Measures a reward model.
   *
   * @param reward the model
   * @param held rankings that it has not learned from; those too long for its context are left out
   * @return over all
   * @throws IllegalArgumentException where no ranking fits
   */
  public static Result evaluate(RewardModel reward, List<Ranking> held) {
    int length = reward.model().context();
    Ranked ranked = reward.chat().ranked(held, length);
    ranked.requireSome(length);
    List<int[]> all = new ArrayList<>();
    ranked.responses().forEach(some -> some.forEach(one -> all.add(one.tokens())));
    double[] scores = reward.score(all);
    double loss = 0;
    long pairs = 0;
    long right = 0;
    int next = 0;
    for (int[] ranks : ranked.ranks()) {
      PairLoss one = PairLoss.of(Arrays.copyOfRange(scores, next, next + ranks.length), ranks);
      next += ranks.length;
      loss += one.loss() / ranked.size();
      pairs += one.pairs();
      right += one.right();
    }
    return new Result(loss, (double) right / pairs, pairs);
  }
}
