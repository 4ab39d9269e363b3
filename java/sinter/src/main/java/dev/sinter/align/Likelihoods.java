package dev.sinter.align;

import dev.sinter.graph.Recompute;
import dev.sinter.model.EvaluationGraph;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LikelihoodGraph;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.List;

/**
 * Log-probabilities of what is to be learned, one example a row: of a model that trains, in two
 * halves between which the caller computes its loss, or of one that does not.
 */
final class Likelihoods implements AutoCloseable {
  private static final int IGNORED = -100;

  private final LikelihoodGraph training;
  private final EvaluationGraph evaluation;
  private final int batch;
  private final int length;
  private List<Example> rows = List.of();
  private FloatBuffer losses;

  private Likelihoods(LikelihoodGraph training, EvaluationGraph evaluation, int batch, int length) {
    this.training = training;
    this.evaluation = evaluation;
    this.batch = batch;
    this.length = length;
  }

  /**
   * Of a model that trains.
   *
   * @param batch the most rows
   * @param length positions of a row
   * @param temperature that logits are divided by
   * @param seed of dropout
   */
  static Likelihoods training(
      LanguageModel model, int batch, int length, double temperature, long seed) {
    return new Likelihoods(
        model.likelihoodGraph(batch, length, (float) temperature, Recompute.NONE, seed),
        null,
        batch,
        length);
  }

  /**
   * Of a model that does not train.
   *
   * @param batch the most rows
   * @param length positions of a row
   * @param temperature that logits are divided by
   */
  static Likelihoods of(LanguageModel model, int batch, int length, double temperature) {
    return new Likelihoods(
        null, model.lossGraph(batch, length, (float) temperature), batch, length);
  }

  /** Runs the first half. */
  void forward(List<Example> examples, long step) {
    rows = examples;
    fill(training == null ? evaluation.tokens() : training.tokens(), targets());
    if (training == null) {
      losses = evaluation.run();
    } else {
      training.forward(step);
      losses = training.losses();
      FloatBuffer gradient = training.gradient();
      for (int i = 0; i < batch * length; i++) {
        gradient.put(i, 0);
      }
    }
  }

  private IntBuffer targets() {
    return training == null ? evaluation.targets() : training.targets();
  }

  private void fill(IntBuffer tokens, IntBuffer targets) {
    for (int row = 0; row < batch; row++) {
      Example example = row < rows.size() ? rows.get(row) : null;
      for (int i = 0; i < length; i++) {
        boolean there = example != null && i < example.positions();
        tokens.put(row * length + i, there ? example.tokens()[i] : 0);
        targets.put(
            row * length + i,
            there && example.answers()[i + 1] ? example.tokens()[i + 1] : IGNORED);
      }
    }
  }

  /** Log-probabilities of the tokens of a row that are to be learned, in order. */
  double[] logProbabilities(int row) {
    Example example = rows.get(row);
    double[] all = new double[example.learned()];
    int next = 0;
    for (int i = 0; i < example.positions(); i++) {
      if (example.answers()[i + 1]) {
        all[next++] = -losses.get(row * length + i);
      }
    }
    return all;
  }

  /** Sets the loss's gradient by each of a row's {@link #logProbabilities}. */
  void setGradient(int row, double... gradient) {
    Example example = rows.get(row);
    int next = 0;
    for (int i = 0; i < example.positions(); i++) {
      if (example.answers()[i + 1]) {
        training.gradient().put(row * length + i, (float) -gradient[next++]);
      }
    }
  }

  /** Runs the second half. */
  void backward(boolean accumulating) {
    training.backward(accumulating);
  }

  int batch() {
    return batch;
  }

  @Override
  public void close() {
    if (training == null) {
      evaluation.close();
    } else {
      training.close();
    }
  }
}
