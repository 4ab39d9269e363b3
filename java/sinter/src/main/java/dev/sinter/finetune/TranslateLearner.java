package dev.sinter.finetune;

import dev.sinter.evaluate.Bleu;
import dev.sinter.generate.Beams;
import dev.sinter.generate.LengthPenalty;
import dev.sinter.generate.Processors;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Translator;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.model.Model;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerGraph;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.Encoding;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** An encoder-decoder on pairs of texts (Vaswani et al. 2017, section 5). */
final class TranslateLearner implements Learner {
  private static final float SMOOTHING = 0.1f;

  /** How much longer than its source a target may be (Vaswani et al. 2017, section 6.1). */
  private static final int MORE_THAN_SOURCE = 50;

  private TransformerModel model;

  /** What the model's adapter lies over; null: it has none. */
  private TransformerModel base;

  private final TaskSpec spec;
  private final Tokenizer tokenizer;
  private final Task.Tuning tuning;
  private final Graphs<TransformerGraph> graphs;
  private final Graphs<TransformerGraph> evaluations;
  private Translator translator;

  TranslateLearner(TransformerModel model, TaskSpec spec, Tokenizer tokenizer, Task.Tuning tuning) {
    this.model = model;
    this.spec = spec;
    this.tokenizer = tokenizer;
    this.tuning = tuning;
    int context = model.config().context();
    this.graphs = new Graphs<>(context, this::graph, TransformerGraph::close);
    this.evaluations =
        new Graphs<>(
            context,
            length -> this.model.graph(tuning.batch(), length, length),
            TransformerGraph::close);
  }

  private TransformerGraph graph(int length) {
    return model.trainingGraph(
        tuning.batch(),
        length,
        length,
        SMOOTHING,
        tuning.accumulate(),
        Recompute.NONE,
        tuning.seed());
  }

  @Override
  public Model model() {
    return model;
  }

  @Override
  public void adapt(Over over) throws IOException {
    TransformerModel adapted = over.lay(model);
    base = model;
    model = adapted;
  }

  @Override
  public int vocabulary() {
    return model.config().vocabulary();
  }

  @Override
  public TaskSpec spec() {
    return spec;
  }

  @Override
  public List<Example> examples(List<Sample> samples) {
    return samples.stream().map(this::example).toList();
  }

  private Example example(Sample sample) {
    int[] source = ended(sample.texts().get(0));
    int[] target = sample.known() ? ended(sample.gold().get(0)) : new int[0];
    return Example.of(Encoding.of(source), target);
  }

  /** Its tokens and the model's end token; cut off before it. */
  private int[] ended(String text) {
    int[] ids = tokenizer.encode(text);
    int end = model.config().end();
    int own = ids.length > 0 && ids[ids.length - 1] == end ? 1 : 0;
    int[] all = Arrays.copyOf(ids, Math.min(ids.length - own, spec.length() - 1) + 1);
    all[all.length - 1] = end;
    return all;
  }

  private TransformerGraph filled(Graphs<TransformerGraph> from, List<Example> batch) {
    int longest =
        batch.stream()
            .mapToInt(one -> Math.max(one.length(), one.targets().length))
            .max()
            .orElseThrow();
    TransformerGraph graph = from.of(longest);
    int length = graph.sources().capacity() / tuning.batch();
    for (int i = 0; i < tuning.batch(); i++) {
      int[] source = i < batch.size() ? batch.get(i).inputs().get(0).ids() : new int[] {0};
      int[] target = i < batch.size() ? batch.get(i).targets() : new int[0];
      graph.sourceLengths().put(i, source.length);
      for (int j = 0; j < length; j++) {
        int padding = model.config().padding();
        graph.sources().put(i * length + j, j < source.length ? source[j] : padding);
        graph.targets().put(i * length + j, j < target.length ? target[j] : Example.IGNORED);
      }
    }
    return graph;
  }

  @Override
  public double pass(
      List<Example> batch, long number, boolean accumulating, Parameters.Update update) {
    return (double) filled(graphs, batch).run(number, accumulating, update) * tuning.accumulate();
  }

  @Override
  public Outputs predict(List<Sample> samples) {
    List<Prediction> predictions = new ArrayList<>();
    List<Example> known = new ArrayList<>();
    for (Sample sample : samples) {
      Example example = example(sample);
      String text = translate(example.inputs().get(0).ids());
      predictions.add(new Prediction(List.of(text), List.of(), Map.of("translation", text)));
      if (sample.known()) {
        known.add(example);
      }
    }
    double loss = 0;
    long tokens = 0;
    for (int from = 0; from < known.size(); from += tuning.batch()) {
      List<Example> batch = known.subList(from, Math.min(known.size(), from + tuning.batch()));
      int count = batch.stream().mapToInt(one -> one.targets().length).sum();
      loss += (double) filled(evaluations, batch).run(0, false) * count;
      tokens += count;
    }
    return new Outputs(loss / tokens, predictions);
  }

  private String translate(int... source) {
    TransformerConfig config = model.config();
    if (translator == null) {
      Beams beams = Beams.of(4).withLengthPenalty(LengthPenalty.paper(0.6));
      translator = new Translator(model, beams, spec.length(), config.context());
    }
    Sampling settings = Sampling.greedy().withMaxNewTokens(source.length + MORE_THAN_SOURCE);
    if (config.padding() != config.end()) {
      // Padding is no word, though every target begins with it where it is the start token.
      settings = settings.with(Processors.suppress(Set.of(config.padding())));
    }
    int[] ids = translator.translate(source, settings).get(0).ids();
    return tokenizer.decode(
        Arrays.stream(ids).filter(id -> id != config.end() && id < tokenizer.size()).toArray());
  }

  @Override
  public List<String> metricNames() {
    return List.of("bleu");
  }

  @Override
  public Map<String, Double> metrics(List<Sample> samples, Outputs outputs) {
    List<String> found =
        outputs.predictions().stream().map(prediction -> prediction.values().get(0)).toList();
    List<List<String>> gold = samples.stream().map(Sample::gold).toList();
    return Map.of("bleu", Bleu.corpus(found, gold).bleu());
  }

  @Override
  public void save(Path folder, boolean merge) throws IOException {
    Saving.save(model, base, merge, whole -> ModelFiles.save(whole, folder), folder);
  }

  @Override
  public void close() {
    graphs.close();
    evaluations.close();
    if (translator != null) {
      translator.close();
    }
    model.close();
    if (base != null) {
      base.close();
    }
  }
}
