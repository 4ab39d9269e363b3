package dev.sinter.align;

import dev.sinter.align.Responses.Response;
import dev.sinter.data.Batches;
import dev.sinter.data.Tokens;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.graph.Recompute;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LikelihoodGraph;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.TrainingLoop;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * Proximal policy optimisation against a reward model, the third of GPT-3.5's steps (Ziegler et al.
 * 2019; Stiennon et al. 2020; Ouyang et al. 2022, eq. 2). Each iteration answers prompts with the
 * policy as it is, scores the answers, takes a penalty off each token for leaving the model that
 * training began with, estimates advantages with a value model that begins as the reward model, and
 * takes clipped steps. With {@link #pretraining} the policy learns text beside that (PPO-ptx), so
 * that it does not forget.
 *
 * <p>Dropout is off: the first minibatch of an iteration then finds just the log-probabilities that
 * the rollout had, and its ratios are exactly 1. A run is a pure function of models, data, settings
 * and seed.
 */
public final class Ppo implements AutoCloseable {
  /** The loss of values counts so much, as in the papers. */
  private static final double VALUE_WEIGHT = 0.1;

  /** Of all rows of a graph: few lengths, few graphs. */
  private static final int STEP = 8;

  private final LanguageModel start;
  private final RewardModel reward;
  private final List<int[]> prompts;
  private final int context;
  private final int tooLong;
  private final int response;
  private final LanguageModel policy;
  private final TaskModel value;
  private int batch = 64;
  private int minibatch = 16;
  private int epochs = 1;
  private double temperature = 1;
  private KlControl kl = KlControl.fixed(0.02);
  private double gamma = 1;
  private double lambda = 0.95;
  private double clip = 0.2;
  private double valueClip = 0.2;
  private boolean whitenRewards;
  private double missingEnd = -1;
  private long iterations = 100;
  private long seed;
  private AdamW policyOptimizer = adamW(1e-5);
  private AdamW valueOptimizer = adamW(9e-6);
  private Tokens text;
  private int textRows;
  private double textWeight;
  private Tokens heldText;
  private Consumer<Iteration> onIteration = iteration -> {};
  private volatile boolean stopping;

  /**
   * What came of an iteration. Means are over its answers, or over their tokens.
   *
   * @param number from 1
   * @param score mean of the answers' rewards, those without an end included
   * @param reward the same less the penalty of leaving the reference
   * @param kl divergence from the reference, summed over an answer's tokens
   * @param beta coefficient of that penalty
   * @param entropy estimate of the policy's entropy at a token, in nats
   * @param length tokens of an answer
   * @param ended share of the answers that came to their end
   * @param policyLoss over all minibatches
   * @param valueLoss over all minibatches
   * @param clipped share of the tokens whose policy gradient was clipped
   * @param approximateKl from the policy of the rollout, over all minibatches
   * @param firstRatio the largest distance from 1 of a ratio in the first minibatch: 0
   * @param textLoss of the pre-training text learned from, in nats a token; NaN: none
   * @param heldTextLoss of the held-out text after the iteration; NaN: none
   * @param seconds that it took
   */
  public record Iteration(
      long number,
      double score,
      double reward,
      double kl,
      double beta,
      double entropy,
      double length,
      double ended,
      double policyLoss,
      double valueLoss,
      double clipped,
      double approximateKl,
      double firstRatio,
      double textLoss,
      double heldTextLoss,
      double seconds) {}

  /**
   * AdamW as the papers set it: epsilon 1e-5, no decay; the rate rises from a tenth over the first
   * tenth of the steps, then stays.
   *
   * @param rate learning rate
   * @return the optimizer
   */
  public static AdamW adamW(double rate) {
    Schedule warm =
        (step, steps) -> rate * Math.min(1, 0.1 + 0.9 * step / Math.max(1, steps / 10.0));
    return new AdamW(warm, 0.9, 0.95, 1e-5, 0, 1);
  }

  /**
   * Prepares a training with defaults: InstructGPT's, but smaller batches.
   *
   * @param start the tuned model, which the policy begins as; it is the reference, and stays as it
   *     is, and the caller's
   * @param reward scores answers; stays the caller's
   * @param prompts to be answered; those that leave no room for a response are left out
   * @param response the most tokens of an answer, its end included
   * @throws IllegalArgumentException where the two models do not go together, or no prompt is left
   */
  public Ppo(LanguageModel start, RewardModel reward, List<Conversation> prompts, int response) {
    int vocabulary = start.config().vocabulary();
    if (reward.model().vocabulary() != vocabulary) {
      throw new IllegalArgumentException(
          "the reward model has a vocabulary of "
              + reward.model().vocabulary()
              + ", the policy one of "
              + vocabulary
              + "; train the reward model from the tuned model");
    }
    if (response < 1) {
      throw new IllegalArgumentException("answers of " + response + " tokens; 1 or more");
    }
    this.context = Math.min(start.config().context(), reward.model().context());
    this.start = start;
    this.reward = reward;
    this.response = response;
    this.prompts =
        prompts.stream()
            .map(reward.chat()::prompt)
            .filter(tokens -> tokens.length + response <= context)
            .toList();
    this.tooLong = prompts.size() - this.prompts.size();
    if (this.prompts.isEmpty()) {
      throw new IllegalArgumentException(
          "no prompt leaves room for an answer of "
              + response
              + " tokens in a context of "
              + context
              + "; take shorter prompts or answers");
    }
    this.policy = Copies.of(start);
    try {
      this.value = Copies.valueOf(reward.model(), reward.shift());
    } catch (RuntimeException e) {
      policy.close();
      throw e;
    }
  }

  /**
   * Returns what is trained.
   *
   * @return the policy; it is closed with this
   */
  public LanguageModel policy() {
    return policy;
  }

  /**
   * Tells how many prompts were left out.
   *
   * @return those that are too long
   */
  public int tooLong() {
    return tooLong;
  }

  /**
   * Sets how much is learned from how many answers.
   *
   * @param answers of an iteration
   * @param each answers of a step; divides those of an iteration
   * @param times each answer is learned from
   * @return this
   */
  public Ppo batch(int answers, int each, int times) {
    check(
        answers >= 1 && each >= 1 && times >= 1 && answers % each == 0,
        "batch " + answers + ", minibatch " + each + ", epochs " + times + "; the second divides");
    batch = answers;
    minibatch = each;
    epochs = times;
    return this;
  }

  /**
   * Sets the temperature of answers and of all log-probabilities.
   *
   * @param value more than 0
   * @return this
   */
  public Ppo temperature(double value) {
    check(value > 0 && value <= 1000, "temperature " + value + "; more than 0");
    temperature = value;
    return this;
  }

  /**
   * Sets what it costs to leave the reference.
   *
   * @param control fixed or adaptive
   * @return this
   */
  public Ppo kl(KlControl control) {
    kl = control;
    return this;
  }

  /**
   * Sets how advantages are estimated.
   *
   * @param discount 1: none
   * @param decay 0 trusts the value model, 1 the rewards
   * @return this
   */
  public Ppo advantages(double discount, double decay) {
    check(
        discount > 0 && discount <= 1 && decay >= 0 && decay <= 1,
        "gamma " + discount + ", lambda " + decay + "; more than 0, 0 or more, at most 1");
    gamma = discount;
    lambda = decay;
    return this;
  }

  /**
   * Sets how far a step may go.
   *
   * @param ratio of probabilities, from 1
   * @param values from those of the rollout
   * @return this
   */
  public Ppo clips(double ratio, double values) {
    check(ratio > 0 && values > 0, "clips " + ratio + ", " + values + "; more than 0");
    clip = ratio;
    valueClip = values;
    return this;
  }

  /**
   * Scales all rewards to a variance of 1, their mean kept.
   *
   * @param whether they are
   * @return this
   */
  public Ppo whitenRewards(boolean whether) {
    whitenRewards = whether;
    return this;
  }

  /**
   * Sets what an answer gets that does not come to its end.
   *
   * @param score in the place of the reward model's
   * @return this
   */
  public Ppo missingEnd(double score) {
    check(Double.isFinite(score), "score " + score + " for a missing end; finite");
    missingEnd = score;
    return this;
  }

  /**
   * Sets the optimizers.
   *
   * @param ofPolicy see {@link #adamW}
   * @param ofValue likewise
   * @return this
   */
  public Ppo optimizers(AdamW ofPolicy, AdamW ofValue) {
    policyOptimizer = ofPolicy;
    valueOptimizer = ofValue;
    return this;
  }

  /**
   * Learns text beside the answers: PPO-ptx.
   *
   * @param tokens of the pre-training text
   * @param rows windows of a step, as long as prompts and answers
   * @param weight of its mean loss; 27.8 is InstructGPT's
   * @return this
   */
  public Ppo pretraining(Tokens tokens, int rows, double weight) {
    check(rows >= 1 && weight > 0, "rows " + rows + ", weight " + weight + "; 1 or more, above 0");
    text = tokens;
    textRows = rows;
    textWeight = weight;
    return this;
  }

  /**
   * Measures the loss of a held-out text after each iteration.
   *
   * @param tokens at least two
   * @return this
   */
  public Ppo heldText(Tokens tokens) {
    heldText = tokens;
    return this;
  }

  /**
   * Sets the length of the training.
   *
   * @param count iterations
   * @return this
   */
  public Ppo iterations(long count) {
    check(count >= 1, "iterations " + count + "; 1 or more");
    iterations = count;
    return this;
  }

  /**
   * Sets the seed of prompts, answers and minibatches.
   *
   * @param value any
   * @return this
   */
  public Ppo seed(long value) {
    seed = value;
    return this;
  }

  /**
   * Hears of every iteration.
   *
   * @param listener called on the training thread
   * @return this
   */
  public Ppo onIteration(Consumer<Iteration> listener) {
    onIteration = listener;
    return this;
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /** Asks a running training to end after the iteration it is in. Safe from any thread. */
  public void stop() {
    stopping = true;
  }

  /**
   * Trains the policy.
   *
   * @throws dev.sinter.train.DivergedException where loss or gradients are no longer finite
   */
  public void run() {
    int longest = prompts.stream().mapToInt(tokens -> tokens.length).max().orElseThrow();
    int length = Math.min(start.config().context(), (longest + response - 2) / STEP * STEP + STEP);
    try (Run run = new Run(length)) {
      for (long i = 0; i < iterations && !stopping; i++) {
        onIteration.accept(run.iterate(i));
      }
    }
  }

  /** Graphs and optimizers of one training. */
  private final class Run implements AutoCloseable {
    private final int length;
    private final Likelihoods likelihoods;
    private final Likelihoods references;
    private final TaskGraph values;
    private final LikelihoodGraph texts;
    private final Batches windows;
    private final Perplexity held;
    private final TrainingLoop policyLoop;
    private final TrainingLoop valueLoop;
    private final Responses responses;
    private final Epochs order;
    private KlControl control = kl;

    Run(int length) {
      this.length = length;
      likelihoods = Likelihoods.training(policy, minibatch, length, temperature, seed);
      references = Likelihoods.of(start, minibatch, length, temperature);
      values = value.outputGraph(minibatch, length, Recompute.NONE, seed);
      texts = text == null ? null : policy.likelihoodGraph(textRows, length, Recompute.NONE, seed);
      windows = text == null ? null : new Batches(text, length, seed);
      held = heldText == null ? null : new Perplexity(policy, length, length);
      long steps = iterations * epochs * (batch / minibatch);
      policyLoop = new TrainingLoop(policy, policyOptimizer, steps, 1);
      valueLoop = new TrainingLoop(value, valueOptimizer, steps, 1);
      responses = responses();
      order = new Epochs(prompts.size(), seed);
    }

    Iteration iterate(long number) {
      long started = System.nanoTime();
      List<Rollout> rollouts = rollOut(number);
      double[][] rewards =
          rollouts.stream().map(one -> one.rewards(control.beta())).toArray(double[][]::new);
      double meanReward = Arrays.stream(rewards).mapToDouble(one -> sum(one)).sum() / batch;
      if (whitenRewards) {
        Advantages.whiten(rewards, true);
      }
      double[][] advantages = new double[batch][];
      double[][] returns = new double[batch][];
      for (int i = 0; i < batch; i++) {
        Advantages one = Advantages.of(rewards[i], rollouts.get(i).values(), gamma, lambda);
        advantages[i] = one.advantages();
        returns[i] = one.returns();
      }
      Advantages.whiten(advantages, false);
      Learning learning = new Learning(rollouts, advantages, returns);
      for (int epoch = 0; epoch < epochs; epoch++) {
        learning.epoch(order(number, epoch), epoch == 0);
      }
      double divergence = mean(rollouts.stream().mapToDouble(Rollout::kl).toArray());
      double beta = control.beta();
      control = control.after(divergence, batch);
      long tokens = rollouts.stream().mapToLong(one -> one.before().length).sum();
      double logProbabilities = rollouts.stream().mapToDouble(one -> sum(one.before())).sum();
      return new Iteration(
          number + 1,
          mean(rollouts.stream().mapToDouble(Rollout::score).toArray()),
          meanReward,
          divergence,
          beta,
          -logProbabilities / tokens,
          (double) tokens / batch,
          mean(rollouts.stream().mapToDouble(one -> one.ended() ? 1 : 0).toArray()),
          learning.policyLoss / learning.steps,
          learning.valueLoss / learning.steps,
          learning.clipped / learning.steps,
          learning.approximateKl / learning.steps,
          learning.firstRatio,
          text == null ? Double.NaN : learning.textLoss / learning.steps,
          held == null ? Double.NaN : held.evaluate(heldText, 0, (done, all) -> {}).loss(),
          (System.nanoTime() - started) / 1e9);
    }

    /**
     * The order in which an iteration's answers are learned: at first that in which they were
     * computed, so that the first minibatch is computed just as it was then.
     */
    private List<Integer> order(long number, int epoch) {
      if (epoch == 0) {
        List<Integer> all = new ArrayList<>();
        for (int i = 0; i < batch; i++) {
          all.add(i);
        }
        return all;
      }
      return Epochs.shuffled(batch, seed ^ (number * epochs + epoch) * 0x9E3779B97F4A7C15L);
    }

    private List<Rollout> rollOut(long number) {
      List<int[]> asked = new ArrayList<>();
      for (int i = 0; i < batch; i++) {
        asked.add(prompts.get(order.get(number * batch + i)));
      }
      List<Response> answers = responses.to(asked, seed + 1_000_003L * (number + 1));
      double[] scores = scores(answers);
      List<Rollout> rollouts = new ArrayList<>();
      for (int from = 0; from < batch; from += minibatch) {
        List<Response> some = answers.subList(from, from + minibatch);
        List<Example> examples = some.stream().map(Response::example).toList();
        likelihoods.forward(examples, number);
        references.forward(examples, 0);
        forwardValues(examples);
        for (int row = 0; row < minibatch; row++) {
          Response one = some.get(row);
          rollouts.add(
              new Rollout(
                  one.example(),
                  one.prompt(),
                  one.ended(),
                  likelihoods.logProbabilities(row),
                  references.logProbabilities(row),
                  valuesOf(row, one.prompt(), one.length()),
                  scores[from + row]));
        }
      }
      return rollouts;
    }

    private void forwardValues(List<Example> examples) {
      for (int row = 0; row < minibatch; row++) {
        int[] tokens = examples.get(row).tokens();
        values.lengths().put(row, tokens.length - 1);
        for (int i = 0; i < length; i++) {
          values.tokens().put(row * length + i, i < tokens.length - 1 ? tokens[i] : 0);
        }
      }
      values.forward(0);
    }

    /** The value of the state before each token of an answer: where the token before it is read. */
    private double[] valuesOf(int row, int prompt, int count) {
      double[] all = new double[count];
      Arrays.setAll(all, i -> values.outputs().get(row * length + prompt - 1 + i));
      return all;
    }

    /** The steps of one iteration, and their sums. */
    private final class Learning {
      private final List<Rollout> rollouts;
      private final double[][] advantages;
      private final double[][] returns;
      private int steps;
      private double policyLoss;
      private double valueLoss;
      private double clipped;
      private double approximateKl;
      private double firstRatio;
      private double textLoss;

      Learning(List<Rollout> rollouts, double[][] advantages, double[][] returns) {
        this.rollouts = rollouts;
        this.advantages = advantages;
        this.returns = returns;
      }

      void epoch(List<Integer> order, boolean first) {
        for (int from = 0; from < batch; from += minibatch) {
          List<Integer> some = order.subList(from, from + minibatch);
          boolean begins = first && from == 0;
          policyLoop.step((number, accumulating, update) -> policyPass(some, number, begins), 0);
          valueLoop.step((number, accumulating, update) -> valuePass(some), 0);
          steps++;
        }
      }

      private List<Example> examples(List<Integer> some) {
        return some.stream().map(i -> rollouts.get(i).example()).toList();
      }

      private double policyPass(List<Integer> some, long number, boolean begins) {
        likelihoods.forward(examples(some), number);
        double[][] now = new double[minibatch][];
        double[][] before = new double[minibatch][];
        double[][] own = new double[minibatch][];
        for (int row = 0; row < minibatch; row++) {
          now[row] = likelihoods.logProbabilities(row);
          before[row] = rollouts.get(some.get(row)).before();
          own[row] = advantages[some.get(row)];
        }
        double[] flatNow = flat(now);
        double[] flatBefore = flat(before);
        PpoLoss loss = PpoLoss.ofPolicy(flatNow, flatBefore, flat(own), clip);
        int next = 0;
        for (int row = 0; row < minibatch; row++) {
          int end = next + now[row].length;
          likelihoods.setGradient(row, Arrays.copyOfRange(loss.gradient(), next, end));
          next = end;
        }
        likelihoods.backward(false);
        policyLoss += loss.loss();
        clipped += loss.clipped();
        approximateKl += PpoLoss.approximateKl(flatNow, flatBefore);
        for (int i = 0; i < flatNow.length && begins; i++) {
          double ratio = Math.exp(flatNow[i] - flatBefore[i]);
          firstRatio = Math.max(firstRatio, Math.abs(ratio - 1));
        }
        return loss.loss() + (text == null ? 0 : textPass(number));
      }

      private double textPass(long number) {
        IntBuffer tokens = texts.tokens();
        IntBuffer targets = texts.targets();
        for (int row = 0; row < textRows; row++) {
          windows.copy(number * textRows + row, tokens, targets);
        }
        texts.forward(number);
        int count = textRows * length;
        double loss = 0;
        for (int i = 0; i < count; i++) {
          loss += texts.losses().get(i) / count;
          texts.gradient().put(i, (float) (textWeight / count));
        }
        texts.backward(true);
        textLoss += loss;
        return textWeight * loss;
      }

      private double valuePass(List<Integer> some) {
        forwardValues(examples(some));
        double[][] now = new double[minibatch][];
        double[][] before = new double[minibatch][];
        double[][] aims = new double[minibatch][];
        for (int row = 0; row < minibatch; row++) {
          Rollout one = rollouts.get(some.get(row));
          now[row] = valuesOf(row, one.prompt(), one.before().length);
          before[row] = one.values();
          aims[row] = returns[some.get(row)];
        }
        PpoLoss loss = PpoLoss.ofValue(flat(now), flat(before), flat(aims), valueClip);
        for (int i = 0; i < minibatch * length; i++) {
          values.outputGradients().put(i, 0);
        }
        int next = 0;
        for (int row = 0; row < minibatch; row++) {
          int first = row * length + rollouts.get(some.get(row)).prompt() - 1;
          for (int i = 0; i < now[row].length; i++) {
            float gradient = (float) (VALUE_WEIGHT * loss.gradient()[next++]);
            values.outputGradients().put(first + i, gradient);
          }
        }
        values.backward(false);
        valueLoss += loss.loss();
        return VALUE_WEIGHT * loss.loss();
      }
    }

    @Override
    public void close() {
      likelihoods.close();
      references.close();
      values.close();
      if (texts != null) {
        texts.close();
      }
      if (held != null) {
        held.close();
      }
    }
  }

  private static double[] flat(double[][] rows) {
    return Arrays.stream(rows).flatMapToDouble(Arrays::stream).toArray();
  }

  private static double sum(double[] values) {
    return Arrays.stream(values).sum();
  }

  private static double mean(double[] values) {
    return sum(values) / values.length;
  }

  /**
   * An answer of the policy.
   *
   * @param prompt what was said before
   * @param text of the answer
   * @param reward its score, that of a missing end included
   * @param ended whether it came to its end
   */
  public record Answer(Conversation prompt, String text, double reward, boolean ended) {}

  /**
   * Answers prompts with the policy as it is, and scores the answers.
   *
   * @param asked prompts; those that leave no room for an answer are left out
   * @param drawn seed of the answers
   * @return an answer to each
   */
  public List<Answer> answer(List<Conversation> asked, long drawn) {
    Chat chat = reward.chat();
    List<Conversation> fitting =
        asked.stream().filter(one -> chat.prompt(one).length + response <= context).toList();
    List<Response> responses = responses().to(fitting.stream().map(chat::prompt).toList(), drawn);
    double[] scores = scores(responses);
    List<Answer> answers = new ArrayList<>();
    for (int i = 0; i < scores.length; i++) {
      Response one = responses.get(i);
      int end = one.tokens().length - (one.ended() ? 1 : 0);
      String text = chat.tokenizer().decode(Arrays.copyOfRange(one.tokens(), one.prompt(), end));
      answers.add(new Answer(fitting.get(i), text, scores[i], one.ended()));
    }
    return answers;
  }

  private Responses responses() {
    return new Responses(policy, reward.chat().endToken(), response, temperature);
  }

  private double[] scores(List<Response> answers) {
    double[] scores = reward.score(answers.stream().map(Response::tokens).toList());
    for (int i = 0; i < scores.length; i++) {
      scores[i] = answers.get(i).ended() ? scores[i] : missingEnd;
    }
    return scores;
  }

  /** Gives policy and value model back. Closing twice is harmless. */
  @Override
  public void close() {
    policy.close();
    value.close();
  }
}
