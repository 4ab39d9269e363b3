package dev.sinter.finetune;

import dev.sinter.graph.Parameters;
import dev.sinter.model.Model;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** A model with its task: what the fine-tuner's loop turns. */
interface Learner extends AutoCloseable {
  Model model();

  /**
   * Lays an adapter over the model, which trains in its place; nothing else was asked of it yet.
   */
  void adapt(Over over) throws IOException;

  /** One more than the greatest token that the model knows. */
  int vocabulary();

  /** The task as it was loaded: with the inputs' length and the marks of its tokens. */
  TaskSpec spec();

  /** What samples become: one example each, or several where they are longer than an input. */
  List<Example> examples(List<Sample> samples) throws IOException;

  /**
   * A forward and backward pass.
   *
   * @param batch at most as many examples as a pass has
   * @param number of the pass: keys dropout
   * @param update for the graph to end with, where it computes the loss itself
   * @return the mean loss
   */
  double pass(List<Example> batch, long number, boolean accumulating, Parameters.Update update);

  /**
   * What the model makes of samples.
   *
   * @param loss the mean; NaN where nothing is known to be right
   */
  record Outputs(double loss, List<Prediction> predictions) {}

  Outputs predict(List<Sample> samples) throws IOException;

  /** The metrics' names, the one that chooses the best checkpoint first. */
  List<String> metricNames();

  /** The metrics of labelled samples, in that order. */
  Map<String, Double> metrics(List<Sample> samples, Outputs outputs);

  /**
   * Writes configuration and weights into a folder that exists.
   *
   * @param merge whether an adapter becomes part of the model that is written
   */
  void save(Path folder, boolean merge) throws IOException;

  @Override
  void close();
}
