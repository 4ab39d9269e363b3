package dev.sinter.align;

import dev.sinter.align.Chat.Ranked;
import dev.sinter.model.LanguageModel;
import dev.sinter.train.AdamW;
import dev.sinter.train.Step;
import dev.sinter.train.TrainingLoop;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * Direct preference optimisation (Rafailov et al. 2023): a model learns preferences without a
 * reward model and without sampling. The reference is the model as it is when this is made.
 */
public final class Dpo {
  private final LanguageModel model;
  private final int batch;
  private final int length;
  private final double beta;
  private final double smoothing;
  private final long seed;
  private final List<Pair> pairs;
  private final List<Pair> held;
  private final int tooLong;

  /** A better and a worse response, and their log-probabilities under the reference. */
  private record Pair(
      Example chosen, Example rejected, double chosenReference, double rejectedReference) {}

  /**
   * Prepares a training, and computes the reference's log-probabilities.
   *
   * @param model to train, whole or under an adapter
   * @param chat its tokenizer and template
   * @param rankings to learn from, of which every pair that is not tied counts; those of which a
   *     response is too long are left out
   * @param held rankings to measure the training with; may be empty
   * @param batch pairs of a step
   * @param length the most tokens of a prompt and a response
   * @param beta how much it costs to leave the reference; 0.1 is usual
   * @param smoothing probability that a label is the wrong way round; 0: none is
   * @param seed of the order and of dropout
   * @throws IllegalArgumentException where no ranking fits
   */
  public Dpo(
      LanguageModel model,
      Chat chat,
      List<Ranking> rankings,
      List<Ranking> held,
      int batch,
      int length,
      double beta,
      double smoothing,
      long seed) {
    if (batch < 1 || !(beta > 0) || !(smoothing >= 0 && smoothing < 0.5)) {
      throw new IllegalArgumentException(
          "batch "
              + batch
              + ", beta "
              + beta
              + ", smoothing "
              + smoothing
              + "; 1 or more, more than 0, 0 or more and less than 0.5");
    }
    this.model = model;
    this.batch = batch;
    this.length = Math.min(length, model.config().context() + 1);
    this.beta = beta;
    this.smoothing = smoothing;
    this.seed = seed;
    Ranked ranked = chat.ranked(rankings, this.length);
    ranked.requireSome(this.length);
    this.tooLong = ranked.tooLong();
    this.pairs = pairs(ranked);
    this.held = pairs(chat.ranked(held, this.length));
  }

  private List<Pair> pairs(Ranked ranked) {
    List<Pair> all = new ArrayList<>();
    try (Likelihoods reference = Likelihoods.of(model, Math.max(1, ranked.most()), length - 1, 1)) {
      for (int i = 0; i < ranked.size(); i++) {
        List<Example> responses = ranked.responses().get(i);
        int[] ranks = ranked.ranks().get(i);
        reference.forward(responses, 0);
        for (int better = 0; better < ranks.length; better++) {
          for (int worse = 0; worse < ranks.length; worse++) {
            if (ranks[better] < ranks[worse]) {
              all.add(
                  new Pair(
                      responses.get(better),
                      responses.get(worse),
                      sum(reference, better),
                      sum(reference, worse)));
            }
          }
        }
      }
    }
    return all;
  }

  private static double sum(Likelihoods likelihoods, int row) {
    return Arrays.stream(likelihoods.logProbabilities(row)).sum();
  }

  /**
   * Tells how many pairs there are.
   *
   * @return those of the rankings that fit
   */
  public int pairs() {
    return pairs.size();
  }

  /**
   * Tells how many rankings were left out.
   *
   * @return those with a response that is too long
   */
  public int tooLong() {
    return tooLong;
  }

  /**
   * Tells how many steps see all pairs so many times.
   *
   * @param epochs more than 0
   * @return steps, rounded up
   */
  public long steps(double epochs) {
    return Epochs.steps(epochs, pairs.size(), batch);
  }

  /**
   * Trains the model.
   *
   * @param optimizer its settings
   * @param steps how many, of one batch each
   * @param onStep called after each step
   * @throws dev.sinter.train.DivergedException where loss or gradients are no longer finite
   */
  public void run(AdamW optimizer, long steps, Consumer<Step> onStep) {
    Epochs order = new Epochs(pairs.size(), seed);
    try (Likelihoods policy = Likelihoods.training(model, 2 * batch, length - 1, 1, seed)) {
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, 1);
      while (loop.goesOn()) {
        onStep.accept(
            loop.step(
                (number, accumulating, update) -> {
                  List<Pair> some = new ArrayList<>();
                  for (int i = 0; i < batch; i++) {
                    some.add(pairs.get(order.get(number * batch + i)));
                  }
                  double loss = 0;
                  List<DpoLoss> losses = losses(policy, some, number);
                  for (int i = 0; i < batch; i++) {
                    loss += losses.get(i).loss() / batch;
                    double gradient = losses.get(i).gradient() / batch;
                    setGradient(policy, 2 * i, some.get(i).chosen, gradient);
                    setGradient(policy, 2 * i + 1, some.get(i).rejected, -gradient);
                  }
                  policy.backward(accumulating);
                  return loss;
                },
                2L * batch * (length - 1)));
      }
    }
  }

  private static void setGradient(Likelihoods policy, int row, Example example, double gradient) {
    double[] each = new double[example.learned()];
    Arrays.fill(each, gradient);
    policy.setGradient(row, each);
  }

  /** Runs the first half over pairs, two rows each. */
  private List<DpoLoss> losses(Likelihoods policy, List<Pair> some, long number) {
    List<Example> rows = new ArrayList<>();
    for (Pair pair : some) {
      rows.add(pair.chosen);
      rows.add(pair.rejected);
    }
    policy.forward(rows, number);
    List<DpoLoss> losses = new ArrayList<>();
    for (int i = 0; i < some.size(); i++) {
      Pair pair = some.get(i);
      losses.add(
          DpoLoss.of(
              sum(policy, 2 * i),
              sum(policy, 2 * i + 1),
              pair.chosenReference,
              pair.rejectedReference,
              beta,
              smoothing));
    }
    return losses;
  }

  /**
   * How well preferences are known. A response's reward is beta times what it has won over the
   * reference, in nats.
   *
   * @param loss mean of the pairs
   * @param accuracy share of the pairs whose better response has the greater reward
   * @param chosen mean reward of better responses
   * @param rejected mean reward of worse ones
   */
  public record Result(double loss, double accuracy, double chosen, double rejected) {
    /**
     * By how much the better response is ahead.
     *
     * @return the mean
     */
    public double margin() {
      return chosen - rejected;
    }
  }

  /**
   * Measures the model as it is now, on the rankings that were held out.
   *
   * @return means over their pairs
   * @throws IllegalStateException where none were
   */
  public Result evaluate() {
    if (held.isEmpty()) {
      throw new IllegalStateException("no rankings were held out");
    }
    double loss = 0;
    double right = 0;
    double chosen = 0;
    double rejected = 0;
    try (Likelihoods policy = Likelihoods.of(model, 2 * batch, length - 1, 1)) {
      for (int from = 0; from < held.size(); from += batch) {
        List<Pair> some = held.subList(from, Math.min(from + batch, held.size()));
        for (DpoLoss one : losses(policy, some, 0)) {
          loss += one.loss() / held.size();
          right += (one.margin() > 0 ? 1.0 : 0) / held.size();
          chosen += one.chosenReward() / held.size();
          rejected += one.rejectedReward() / held.size();
        }
      }
    }
    return new Result(loss, right, chosen, rejected);
  }
}
