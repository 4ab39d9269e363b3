package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.model.EvaluationGraph;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LikelihoodGraph;
import dev.sinter.model.Model;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Encoding;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/** A GPT on windows of texts, each of which ends with the end-of-text token. */
final class LmLearner implements Learner {
  private LanguageModel model;

  /** What the model's adapter lies over, and the same where that is packed; null: no such. */
  private LanguageModel base;

  private final FrozenModel packed;
  private final GptConfig config;
  private final TaskSpec spec;
  private final Tokenizer tokenizer;
  private final Task.Tuning tuning;
  private final Graphs<LikelihoodGraph> graphs;
  private final Graphs<EvaluationGraph> evaluations;

  LmLearner(LanguageModel model, TaskSpec spec, Tokenizer tokenizer, Task.Tuning tuning) {
    this(model, null, model.config(), spec, tokenizer, tuning);
  }

  /** Over packed weights: {@link #adapt} comes first. */
  LmLearner(FrozenModel packed, TaskSpec spec, Tokenizer tokenizer, Task.Tuning tuning) {
    this(null, packed, packed.config(), spec, tokenizer, tuning);
  }

  private LmLearner(
      LanguageModel model,
      FrozenModel packed,
      GptConfig config,
      TaskSpec spec,
      Tokenizer tokenizer,
      Task.Tuning tuning) {
    this.model = model;
    this.packed = packed;
    this.config = config;
    this.spec = spec;
    this.tokenizer = tokenizer;
    this.tuning = tuning;
    int context = config.context();
    this.graphs = new Graphs<>(context, this::graph, LikelihoodGraph::close);
    this.evaluations =
        new Graphs<>(
            context,
            length -> this.model.lossGraph(tuning.batch(), length),
            EvaluationGraph::close);
  }

  private LikelihoodGraph graph(int length) {
    return model.likelihoodGraph(tuning.batch(), length, Recompute.NONE, tuning.seed());
  }

  @Override
  public Model model() {
    return model;
  }

  @Override
  public void adapt(Over over) throws IOException {
    LanguageModel adapted = packed == null ? over.lay(model) : over.lay(packed);
    base = model;
    model = adapted;
  }

  @Override
  public int vocabulary() {
    return config.vocabulary();
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

  /** Windows: what is read, and what comes one token later. */
  private List<Example> examples(Sample sample) throws IOException {
    int[] ids = tokenizer.encode(sample.texts().get(0));
    OptionalInt end = tokenizer.endOfText();
    if (end.isPresent()) {
      ids = Arrays.copyOf(ids, ids.length + 1);
      ids[ids.length - 1] = end.getAsInt();
    }
    if (ids.length < 2) {
      throw new DataException(
          sample.file(), sample.line(), null, "a text has one token; two are wanted, or more");
    }
    List<Example> windows = new ArrayList<>();
    for (int from = 0; from < ids.length - 1; from += spec.length()) {
      int to = Math.min(ids.length - 1, from + spec.length());
      windows.add(
          Example.of(
              Encoding.of(Arrays.copyOfRange(ids, from, to)),
              Arrays.copyOfRange(ids, from + 1, to + 1)));
    }
    return windows;
  }

  private static void fill(List<Example> batch, IntBuffer tokens, IntBuffer targets, int length) {
    for (int at = 0; at < tokens.capacity(); at++) {
      int row = at / length;
      int[] right = row < batch.size() ? batch.get(row).targets() : new int[0];
      boolean there = at % length < right.length;
      tokens.put(at, there ? batch.get(row).inputs().get(0).ids()[at % length] : 0);
      targets.put(at, there ? right[at % length] : Example.IGNORED);
    }
  }

  @Override
  public double pass(
      List<Example> batch, long number, boolean accumulating, Parameters.Update update) {
    int longest = batch.stream().mapToInt(Example::length).max().orElseThrow();
    LikelihoodGraph graph = graphs.of(longest);
    int length = graph.tokens().capacity() / tuning.batch();
    fill(batch, graph.tokens(), graph.targets(), length);
    graph.forward(number);
    int count = batch.stream().mapToInt(Example::tokens).sum();
    double loss = 0;
    for (int i = 0; i < graph.losses().capacity(); i++) {
      loss += graph.losses().get(i); // 0 where there is no target
      graph.gradient().put(i, 1f / ((float) count * tuning.accumulate()));
    }
    graph.backward(accumulating);
    return loss / count;
  }

  @Override
  public Outputs predict(List<Sample> samples) throws IOException {
    List<Prediction> predictions = new ArrayList<>();
    double all = 0;
    long count = 0;
    for (Sample sample : samples) {
      List<Example> windows = examples(sample);
      double loss = 0;
      long tokens = 0;
      for (int from = 0; from < windows.size(); from += tuning.batch()) {
        List<Example> batch =
            windows.subList(from, Math.min(windows.size(), from + tuning.batch()));
        int longest = batch.stream().mapToInt(Example::length).max().orElseThrow();
        EvaluationGraph graph = evaluations.of(longest);
        fill(batch, graph.tokens(), graph.targets(), graph.tokens().capacity() / tuning.batch());
        FloatBuffer losses = graph.run();
        for (int i = 0; i < losses.capacity(); i++) {
          loss += losses.get(i);
        }
        tokens += batch.stream().mapToInt(Example::tokens).sum();
      }
      all += loss;
      count += tokens;
      Map<String, Object> fields = new LinkedHashMap<>();
      fields.put("loss", loss / tokens);
      fields.put("perplexity", Math.exp(loss / tokens));
      fields.put("tokens", tokens);
      predictions.add(
          new Prediction(
              List.of(Double.toString(Math.exp(loss / tokens))),
              List.of(Math.exp(loss / tokens)),
              fields));
    }
    return new Outputs(all / count, predictions);
  }

  @Override
  public List<String> metricNames() {
    return List.of("perplexity");
  }

  @Override
  public Map<String, Double> metrics(List<Sample> samples, Outputs outputs) {
    return Map.of("perplexity", Math.exp(outputs.loss()));
  }

  @Override
  public void save(Path folder, boolean merge) throws IOException {
    Saving.save(model, base, merge, whole -> saveWhole(whole, folder), folder);
  }

  private void saveWhole(LanguageModel whole, Path folder) throws IOException {
    ModelFiles.writeConfig(config, tokenizer.endOfText(), folder);
    ModelFiles.writeWeights(whole, folder);
  }

  @Override
  public void close() {
    graphs.close();
    evaluations.close();
    if (model != null) {
      model.close();
    }
    if (base != null) {
      base.close();
    }
    if (packed != null) {
      packed.close();
    }
  }
}
