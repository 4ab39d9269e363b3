package dev.sinter.finetune;

import dev.sinter.data.DataException;
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
import java.util.List;
import java.util.Map;

/** A head on a BERT or a GPT, as it learns. */
final class HeadLearner implements Learner {
  /**
   * What the loss of the next tokens weighs beside GPT-1's task (Radford et al. 2018, section 3.2).
   */
  private static final float TEXT = 0.5f;

  private final HeadTask task;
  private TaskModel model;

  /** What the model's adapter lies over; null: it has none. */
  private TaskModel base;

  private final TaskSpec spec;
  private final Inputs inputs;
  private final Task.Tuning tuning;
  private TaskRunner runner;
  private final Graphs<TaskGraph> graphs;

  HeadLearner(HeadTask task, TaskModel model, TaskSpec spec, Inputs inputs, Task.Tuning tuning) {
    this.task = task;
    this.model = model;
    this.spec = spec;
    this.inputs = inputs;
    this.tuning = tuning;
    this.graphs = new Graphs<>(model.context(), this::graph, TaskGraph::close);
  }

  private TaskGraph graph(int length) {
    int sequences =
        model.head().task() == Head.Task.CHOICE ? model.head().labels() : readsBothOrders() ? 2 : 1;
    int rows = Math.multiplyExact(tuning.batch(), sequences);
    int parts = tuning.accumulate();
    return learnsText()
        ? model.trainingGraphWithText(
            rows, length, parts, readsBothOrders(), Recompute.NONE, tuning.seed())
        : model.trainingGraph(rows, length, 0, parts, Recompute.NONE, tuning.seed());
  }

  private boolean readsBothOrders() {
    return task.readsBothOrders() && !spec.marks().isEmpty();
  }

  private boolean learnsText() {
    return !spec.marks().isEmpty() && model.head().task() != Head.Task.TOKENS;
  }

  @Override
  public Model model() {
    return model;
  }

  @Override
  public void adapt(Over over) throws IOException {
    if (!spec.marks().isEmpty()) {
      throw new IllegalArgumentException(
          "GPT-1 reads tasks with tokens of their own, which no adapter trains; tune it whole");
    }
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
      all.addAll(examples(sample));
    }
    return all;
  }

  private List<Example> examples(Sample sample) throws IOException {
    List<Example> parts = new ArrayList<>();
    task.encode(sample, spec, inputs, parts);
    for (Example part : parts) {
      if (part.inputs().stream().anyMatch(input -> input.length() == 0)) {
        throw new DataException(sample.file(), sample.line(), null, "a text has no token");
      }
    }
    return parts;
  }

  @Override
  public double pass(
      List<Example> batch, long number, boolean accumulating, Parameters.Update update) {
    TaskGraph graph = graphs.of(batch.stream().mapToInt(Example::length).max().orElseThrow());
    fillInputs(graph, batch);
    fillTargets(graph, batch);
    if (learnsText()) {
      fillText(graph, batch);
    }
    return (double) graph.run(number, accumulating, update) * tuning.accumulate();
  }

  private void fillInputs(TaskGraph graph, List<Example> batch) {
    int row = 0;
    for (Example example : batch) {
      for (Encoding input : example.inputs()) {
        graph.lengths().put(row, input.length());
        fill(graph, row++, input.ids(), input.types());
      }
    }
    while (row < graph.batch()) { // no target: no loss
      graph.lengths().put(row, 1);
      fill(graph, row++, new int[1], new int[1]);
    }
  }

  private void fill(TaskGraph graph, int row, int[] ids, int... types) {
    int length = graph.length();
    graph.tokens().put(row * length, Arrays.copyOf(ids, length));
    if (model.bertConfig() != null) {
      graph.segments().put(row * length, Arrays.copyOf(types, length));
    }
  }

  /** Targets and their weights: those of classes, so that the loss is a weighted mean. */
  private void fillTargets(TaskGraph graph, List<Example> batch) {
    Head head = model.head();
    boolean classes = head.task() != Head.Task.SEQUENCE || head.loss() == Head.Loss.CROSS_ENTROPY;
    FloatBuffer weights = graph.weights();
    int count = weights.capacity();
    int each = count / tuning.batch();
    double[] shares = new double[count];
    for (int i = 0; i < tuning.batch(); i++) {
      for (int j = 0; j < each; j++) {
        int at = i * each + j;
        if (!classes) {
          graph.numbers().put(at, i < batch.size() ? batch.get(i).numbers()[j] : 0);
          shares[at] = i < batch.size() ? 1 : 0;
          continue;
        }
        int[] targets = i < batch.size() ? batch.get(i).targets() : new int[0];
        int target = j < targets.length ? targets[j] : Example.IGNORED;
        graph.targets().put(at, target);
        shares[at] = target == Example.IGNORED ? 0 : weight(target);
      }
    }
    double sum = Arrays.stream(shares).sum() * tuning.accumulate();
    for (int i = 0; i < count; i++) {
      weights.put(i, (float) (sum == 0 ? 0 : shares[i] / sum));
    }
  }

  /** The token that follows each: of a sequence the mean, of sequences the mean of these. */
  private void fillText(TaskGraph graph, List<Example> batch) {
    List<Encoding> inputs = batch.stream().flatMap(one -> one.inputs().stream()).toList();
    for (int i = 0; i < graph.batch(); i++) {
      int[] ids = i < inputs.size() ? inputs.get(i).ids() : new int[0];
      float share = TEXT / ((float) inputs.size() * tuning.accumulate() * (ids.length - 1));
      for (int j = 0; j < graph.length(); j++) {
        boolean there = j + 1 < ids.length;
        graph.nextTargets().put(i * graph.length() + j, there ? ids[j + 1] : Example.IGNORED);
        graph.nextWeights().put(i * graph.length() + j, there ? share : 0);
      }
    }
  }

  private double weight(int label) {
    return tuning.classWeights().length == 0 ? 1 : tuning.classWeights()[label];
  }

  @Override
  public Outputs predict(List<Sample> samples) throws IOException {
    List<List<Example>> parts = new ArrayList<>();
    List<TaskRunner.Input> sequences = new ArrayList<>();
    int[] none = {};
    for (Sample sample : samples) {
      List<Example> examples = examples(sample);
      parts.add(examples);
      for (Example example : examples) {
        for (Encoding input : example.inputs()) {
          sequences.add(new TaskRunner.Input(input.ids(), input.types(), none));
        }
      }
    }
    if (runner == null) {
      runner = new TaskRunner(model);
    }
    Head head = model.head();
    List<float[]> outputs =
        runner.run(head.task() == Head.Task.CHOICE ? Head.choice(1) : head, sequences);
    if (readsBothOrders()) {
      outputs = added(outputs);
    }
    List<Prediction> predictions = new ArrayList<>();
    double loss = 0;
    double weight = 0;
    int next = 0;
    for (int i = 0; i < samples.size(); i++) {
      int from = next;
      for (Example example : parts.get(i)) {
        int count = readsBothOrders() ? 1 : example.inputs().size();
        List<float[]> own = outputs.subList(next, next + count);
        next += own.size();
        if (samples.get(i).known()) {
          Losses.Sum sum = Losses.of(head, example, own);
          loss += sum.loss();
          weight += sum.count();
        }
      }
      predictions.add(
          task.predict(samples.get(i), spec, parts.get(i), outputs.subList(from, next)));
    }
    return new Outputs(weight == 0 ? Double.NaN : loss / weight, predictions);
  }

  /** The classifier has no bias: its output for two vectors' sum is the sum of its outputs. */
  private static List<float[]> added(List<float[]> outputs) {
    List<float[]> sums = new ArrayList<>();
    for (int i = 0; i < outputs.size(); i += 2) {
      float[] sum = outputs.get(i).clone();
      for (int j = 0; j < sum.length; j++) {
        sum[j] += outputs.get(i + 1)[j];
      }
      sums.add(sum);
    }
    return sums;
  }

  @Override
  public List<String> metricNames() {
    return task.metricNames(spec);
  }

  @Override
  public Map<String, Double> metrics(List<Sample> samples, Outputs outputs) {
    return task.metrics(samples, outputs.predictions(), spec);
  }

  @Override
  public void save(Path folder, boolean merge) throws IOException {
    Saving.save(model, base, merge, whole -> ModelFiles.save(whole, spec.labels(), folder), folder);
  }

  @Override
  public void close() {
    graphs.close();
    if (runner != null) {
      runner.close();
    }
    model.close();
    if (base != null) {
      base.close();
    }
  }
}
