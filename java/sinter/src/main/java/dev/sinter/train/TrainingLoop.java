package dev.sinter.train;

import dev.sinter.graph.Parameters;
import dev.sinter.model.Model;

/**
 * Steps of AdamW over any model: some passes whose gradients add up, the norm of these, one update.
 */
public final class TrainingLoop {
  private final Parameters parameters;
  private final AdamW optimizer;
  private final long steps;
  private final int accumulate;
  private final RankAllocator allocator;
  private long done;

  /** A forward and backward pass over one batch. */
  @FunctionalInterface
  public interface Pass {
    /**
     * Fills the next batch and runs it.
     *
     * @param number of the pass, from 0: keys its data and its dropout
     * @param accumulating whether gradients are added to those of the pass before
     * @param update for the graph of a step's last pass to end with; a pass may leave it to the
     *     loop, and null is for no pass to make
     * @return the mean loss of the batch
     */
    double run(long number, boolean accumulating, Parameters.Update update);
  }

  /**
   * Starts before the first step. Of an adapted model the adapter trains; AdaLoRA's regulariser
   * then counts in the loss, and its budget is kept to.
   *
   * @param model to train
   * @param optimizer its settings
   * @param steps the last step, which the schedule leads to
   * @param accumulate passes a step
   */
  public TrainingLoop(Model model, AdamW optimizer, long steps, int accumulate) {
    if (steps < 1 || accumulate < 1) {
      throw new IllegalArgumentException(
          "steps " + steps + ", accumulate " + accumulate + "; each 1 or more");
    }
    this.parameters = model.parameters();
    this.allocator = RankAllocator.of(model);
    this.optimizer = optimizer;
    this.steps = steps;
    this.accumulate = accumulate;
  }

  /**
   * Goes on after steps that were taken before.
   *
   * @param count how many
   * @return this
   */
  public TrainingLoop resumeAt(long count) {
    done = count;
    return this;
  }

  /**
   * Returns the number of steps taken.
   *
   * @return steps
   */
  public long done() {
    return done;
  }

  /**
   * Tells whether there is a step to come.
   *
   * @return false after the last
   */
  public boolean goesOn() {
    return done < steps;
  }

  /**
   * Takes one step.
   *
   * @param pass run once or, where gradients accumulate, several times
   * @param tokens of all passes of a step: for the report
   * @return what came of it
   * @throws DivergedException where the loss or the gradients are not finite; the weights stay as
   *     they were
   */
  public Step step(Pass pass, long tokens) {
    long started = System.nanoTime();
    double before = parameters.flops();
    double rate = optimizer.schedule().at(done, steps);
    Parameters.AdamW settings = optimizer.settings(rate);
    Parameters.Update update = new Parameters.Update(settings, done + 1);
    double loss = 0;
    for (int micro = 0; micro < accumulate; micro++) {
      // AdaLoRA's regulariser comes between the last pass and the norm.
      boolean whole = micro == accumulate - 1 && allocator == null && Double.isFinite(loss);
      long number = done * accumulate + micro;
      loss += pass.run(number, micro > 0, whole ? update : null) / accumulate;
    }
    if (allocator != null) {
      loss += allocator.regularize();
    }
    double norm = update.taken() ? parameters.lastNorm() : parameters.gradientNorm();
    if (!Double.isFinite(loss) || !Double.isFinite(norm)) {
      throw new DivergedException(done + 1, loss, norm);
    }
    if (!update.taken()) {
      parameters.update(settings, done + 1);
    }
    done++;
    if (allocator != null) {
      double clip = optimizer.clip();
      allocator.allocate(done, clip > 0 && norm > clip ? clip / norm : 1);
    }
    double seconds = (System.nanoTime() - started) / 1e9;
    return new Step(done, loss, norm, rate, tokens, seconds, parameters.flops() - before);
  }
}
