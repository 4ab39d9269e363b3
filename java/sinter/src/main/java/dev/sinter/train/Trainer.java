package dev.sinter.train;

import dev.sinter.data.Batches;
import dev.sinter.data.Tokens;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.graph.Recompute;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.TrainingGraph;
import java.nio.IntBuffer;
import java.util.function.Consumer;

/**
 * Trains a model on windows of tokens. A run is a pure function of model, data, settings and seed:
 * stopped after any step and resumed from its state, it ends with the same bits.
 */
public final class Trainer {
  private final LanguageModel model;
  private Tokens data;
  private Tokens validation;
  private int batch = 8;
  private int context;
  private int accumulate = 1;
  private long steps = 1000;
  private long done;
  private long seed;
  private AdamW optimizer = AdamW.of(Schedule.cosine(1e-3, 1e-4).warmup(100));
  private Recompute recompute = Recompute.NONE;
  private long evaluateEvery;
  private long evaluateWindows;
  private Consumer<Step> onStep = step -> {};
  private Consumer<Evaluation> onEvaluation = evaluation -> {};
  private volatile boolean stopping;

  private Trainer(LanguageModel model) {
    this.model = model;
    this.context = model.config().context();
  }

  /**
   * Prepares a training with defaults: batch 8, the model's whole context, 1000 steps.
   *
   * @param model to train
   * @return the trainer
   */
  public static Trainer of(LanguageModel model) {
    return new Trainer(model);
  }

  /**
   * Sets what is learned from.
   *
   * @param tokens of the training text
   * @param sequences of a batch
   * @return this
   */
  public Trainer data(Tokens tokens, int sequences) {
    data = tokens;
    batch = positive("batch", sequences);
    return this;
  }

  /**
   * Sets how long sequences are.
   *
   * @param tokens at most the model's context
   * @return this
   */
  public Trainer context(int tokens) {
    context = positive("context", tokens);
    return this;
  }

  /**
   * Sets how many batches make up a step.
   *
   * @param batches whose gradients are averaged
   * @return this
   */
  public Trainer accumulate(int batches) {
    accumulate = positive("accumulate", batches);
    return this;
  }

  /**
   * Sets the length of the training.
   *
   * @param count steps in all, those of a resumed run included
   * @return this
   */
  public Trainer steps(long count) {
    if (count < 1) {
      throw new IllegalArgumentException("steps " + count + "; 1 or more");
    }
    steps = count;
    return this;
  }

  /**
   * Says how many steps have been taken: the model and its moments are of that step.
   *
   * @param count steps
   * @return this
   */
  public Trainer resumeAt(long count) {
    done = count;
    return this;
  }

  /**
   * Sets the seed of the windows' order and of dropout.
   *
   * @param value any
   * @return this
   */
  public Trainer seed(long value) {
    seed = value;
    return this;
  }

  /**
   * Sets the optimizer.
   *
   * @param settings of AdamW
   * @return this
   */
  public Trainer optimizer(AdamW settings) {
    optimizer = settings;
    return this;
  }

  /**
   * Sets what is computed again to save memory.
   *
   * @param choice of activations
   * @return this
   */
  public Trainer recompute(Recompute choice) {
    recompute = choice;
    return this;
  }

  /**
   * Evaluates the model before the first step, every so many steps and after the last.
   *
   * @param tokens of the validation text
   * @param every steps
   * @param windows of the text, evenly spread; 0: all
   * @return this
   */
  public Trainer validation(Tokens tokens, long every, long windows) {
    if (every < 1 || windows < 0) {
      throw new IllegalArgumentException(
          "evaluation every "
              + every
              + " steps with "
              + windows
              + " windows; 1 or more, and 0 (all) or more");
    }
    validation = tokens;
    evaluateEvery = every;
    evaluateWindows = windows;
    return this;
  }

  /**
   * Hears of every step.
   *
   * @param listener called on the training thread
   * @return this
   */
  public Trainer onStep(Consumer<Step> listener) {
    onStep = listener;
    return this;
  }

  /**
   * An evaluation on the validation text.
   *
   * @param step after which it took place
   * @param loss mean in nats a token
   */
  public record Evaluation(long step, double loss) {}

  /**
   * Hears of every evaluation.
   *
   * @param listener called on the training thread
   * @return this
   */
  public Trainer onEvaluation(Consumer<Evaluation> listener) {
    onEvaluation = listener;
    return this;
  }

  private static int positive(String name, int value) {
    if (value < 1) {
      throw new IllegalArgumentException(name + " " + value + "; 1 or more");
    }
    return value;
  }

  /** Asks a running training to end after the step it is in. Safe from any thread. */
  public void stop() {
    stopping = true;
  }

  /**
   * How many steps have been taken.
   *
   * @return steps, those of a resumed run included
   */
  public long done() {
    return done;
  }

  /**
   * Trains until all steps are taken or {@link #stop} is called.
   *
   * @return steps taken in all
   * @throws DivergedException where loss or gradients are no longer finite; the last update has not
   *     been made
   */
  public long run() {
    if (data == null) {
      throw new IllegalStateException("data(..) comes before run()");
    }
    Batches batches = new Batches(data, context, seed);
    try (TrainingGraph graph = model.trainingGraph(batch, context, accumulate, recompute, seed);
        Perplexity perplexity =
            validation == null ? null : new Perplexity(model, context, context)) {
      if (perplexity != null && done == 0) {
        evaluate(perplexity);
      }
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, accumulate).resumeAt(done);
      TrainingLoop.Pass pass =
          (number, more, update) -> {
            fill(graph, batches, number);
            return graph.run(number, more, update);
          };
      long tokens = (long) accumulate * batch * context;
      while (loop.goesOn() && !stopping) {
        Step step = loop.step(pass, tokens);
        done = loop.done();
        onStep.accept(step);
        if (perplexity != null && (done % evaluateEvery == 0 || done == steps)) {
          evaluate(perplexity);
        }
      }
    }
    return done;
  }

  private void fill(TrainingGraph graph, Batches batches, long number) {
    IntBuffer tokens = graph.tokens();
    IntBuffer targets = graph.targets();
    for (int row = 0; row < batch; row++) {
      batches.copy(number * batch + row, tokens, targets);
    }
  }

  private void evaluate(Perplexity perplexity) {
    double loss = perplexity.evaluate(validation, evaluateWindows, (windows, all) -> {}).loss();
    onEvaluation.accept(new Evaluation(done, loss));
  }
}
