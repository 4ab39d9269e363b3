package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.evaluate.Ranking;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.model.Head;
import dev.sinter.model.Model;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TaskRunner;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Queries and documents in one space: the mean of a text's hidden states, of length 1. The loss is
 * that of choosing a query's own document among all of the batch, by cosine over a temperature of
 * 0.05 (Karpukhin et al. 2020, section 3.2; Gao et al. 2021, eq. 1).
 */
final class RetrieveLearner implements Learner {
  private static final double TEMPERATURE = 0.05;
  private static final int FIRST = 10;

  private TaskModel model;

  /** What the model's adapter lies over; null: it has none. */
  private TaskModel base;

  private final TaskSpec spec;
  private final Inputs inputs;
  private final Task.Tuning tuning;
  private TaskRunner runner;

  /** By length; how many rows they have depends on the negatives of the training data. */
  private Graphs<TaskGraph> graphs;

  private int rows;

  RetrieveLearner(TaskModel model, TaskSpec spec, Inputs inputs, Task.Tuning tuning) {
    this.model = model;
    this.spec = spec;
    this.inputs = inputs;
    this.tuning = tuning;
  }

  @Override
  public Model model() {
    return model;
  }

  @Override
  public void adapt(Over over) throws IOException {
    TaskModel adapted = over.lay(model);
    base = model;
    model = adapted;
  }

  @Override
  public int vocabulary() {
    return model.vocabulary();
  }

  @Override
  public TaskSpec spec() {
    return spec;
  }

  @Override
  public List<Example> examples(List<Sample> samples) throws IOException {
    List<Example> all = new ArrayList<>();
    for (Sample sample : samples) {
      List<Encoding> texts = new ArrayList<>();
      for (String text : sample.texts()) {
        texts.add(encode(sample, text));
      }
      all.add(Example.of(texts));
    }
    return all;
  }

  private Encoding encode(Sample sample, String text) throws DataException {
    Encoding input = inputs.text(text);
    if (input.length() == 0) {
      throw new DataException(sample.file(), sample.line(), null, "a text has no token");
    }
    return input;
  }

  @Override
  public double pass(
      List<Example> batch, long number, boolean accumulating, Parameters.Update update) {
    List<Encoding> all = batch.stream().flatMap(one -> one.inputs().stream()).toList();
    if (graphs == null || all.size() > rows) {
      close(graphs);
      rows = Math.max(all.size(), 2 * tuning.batch());
      graphs =
          new Graphs<>(
              model.context(),
              length -> model.outputGraph(rows, length, Recompute.NONE, tuning.seed()),
              TaskGraph::close);
    }
    TaskGraph graph = graphs.of(all.stream().mapToInt(Encoding::length).max().orElseThrow());
    for (int i = 0; i < rows; i++) {
      Encoding input = all.get(Math.min(i, all.size() - 1));
      graph.lengths().put(i, input.length());
      graph.tokens().put(i * graph.length(), Arrays.copyOf(input.ids(), graph.length()));
      if (model.bertConfig() != null) {
        graph.segments().put(i * graph.length(), Arrays.copyOf(input.types(), graph.length()));
      }
    }
    graph.forward(number);
    FloatBuffer outputs = graph.outputs();
    int width = outputs.capacity() / rows;
    double[][] vectors = new double[all.size()][width];
    for (int i = 0; i < vectors.length; i++) {
      for (int j = 0; j < width; j++) {
        vectors[i][j] = outputs.get(i * width + j);
      }
    }
    double[][] gradients = new double[all.size()][width];
    double loss = InBatch.loss(batch, vectors, gradients, TEMPERATURE);
    FloatBuffer to = graph.outputGradients();
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < width; j++) {
        double gradient = i < gradients.length ? gradients[i][j] / tuning.accumulate() : 0;
        to.put(i * width + j, (float) gradient);
      }
    }
    graph.backward(accumulating);
    return loss;
  }

  @Override
  public Outputs predict(List<Sample> samples) throws IOException {
    List<Example> examples = examples(samples);
    List<Encoding> queries = examples.stream().map(one -> one.inputs().get(0)).toList();
    List<double[]> vectors = embed(queries);
    List<Prediction> predictions = new ArrayList<>();
    for (int i = 0; i < samples.size(); i++) {
      List<Double> vector = Arrays.stream(vectors.get(i)).boxed().toList();
      Map<String, Object> fields = new LinkedHashMap<>();
      fields.put("text", samples.get(i).texts().get(0));
      fields.put("vector", vector);
      predictions.add(new Prediction(List.of(), vector, fields));
    }
    double loss = 0;
    int known = samples.get(0).known() ? examples.size() : 0;
    for (int from = 0; from < known; from += tuning.batch()) {
      List<Example> batch = examples.subList(from, Math.min(known, from + tuning.batch()));
      List<Encoding> all = batch.stream().flatMap(one -> one.inputs().stream()).toList();
      double[][] own = embed(all).toArray(double[][]::new);
      double[][] unused = new double[own.length][model.width()];
      loss += InBatch.loss(batch, own, unused, TEMPERATURE) * batch.size();
    }
    return new Outputs(known == 0 ? Double.NaN : loss / known, predictions);
  }

  /** Vectors of length 1. */
  private List<double[]> embed(List<Encoding> texts) {
    if (runner == null) {
      runner = new TaskRunner(model);
    }
    int[] none = {};
    List<TaskRunner.Input> all =
        texts.stream().map(text -> new TaskRunner.Input(text.ids(), text.types(), none)).toList();
    return runner.run(Head.mean(), all).stream()
        .map(
            vector -> {
              double[] wide = new double[vector.length];
              for (int i = 0; i < wide.length; i++) {
                wide[i] = vector[i];
              }
              InBatch.normalize(wide);
              return wide;
            })
        .toList();
  }

  @Override
  public List<String> metricNames() {
    return List.of("mrr@10", "ndcg@10");
  }

  /** Each query ranks all documents, negatives included. */
  @Override
  public Map<String, Double> metrics(List<Sample> samples, Outputs outputs) {
    Map<String, Integer> documents = new LinkedHashMap<>();
    for (Sample sample : samples) {
      sample.texts().stream()
          .skip(1)
          .forEach(text -> documents.putIfAbsent(text, documents.size()));
    }
    List<double[]> vectors = embed(documents.keySet().stream().map(inputs::text).toList());
    Map<String, Map<String, Integer>> judged = new LinkedHashMap<>();
    Map<String, Map<String, Double>> ranked = new LinkedHashMap<>();
    for (int i = 0; i < samples.size(); i++) {
      String query = samples.get(i).texts().get(0);
      String right = Integer.toString(documents.get(samples.get(i).texts().get(1)));
      judged.computeIfAbsent(query, key -> new LinkedHashMap<>()).put(right, 1);
      List<Double> vector = outputs.predictions().get(i).scores();
      ranked.computeIfAbsent(
          query,
          key -> {
            Map<String, Double> scores = new LinkedHashMap<>();
            for (int j = 0; j < vectors.size(); j++) {
              scores.put(Integer.toString(j), InBatch.product(vector, vectors.get(j)));
            }
            return scores;
          });
    }
    Ranking.Report report = Ranking.score(judged, ranked, FIRST, Ranking.Gain.EXPONENTIAL);
    Map<String, Double> metrics = new LinkedHashMap<>();
    metrics.put("mrr@10", report.mrr());
    metrics.put("ndcg@10", report.ndcg());
    return metrics;
  }

  @Override
  public void save(Path folder, boolean merge) throws IOException {
    Saving.save(model, base, merge, whole -> ModelFiles.save(whole, List.of(), folder), folder);
  }

  private static void close(Graphs<TaskGraph> graphs) {
    if (graphs != null) {
      graphs.close();
    }
  }

  @Override
  public void close() {
    close(graphs);
    if (runner != null) {
      runner.close();
    }
    model.close();
    if (base != null) {
      base.close();
    }
  }
}
