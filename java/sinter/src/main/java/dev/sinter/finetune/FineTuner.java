package dev.sinter.finetune;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.AdapterConfig;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.Step;
import dev.sinter.train.TrainingLoop;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.LongFunction;
import java.util.function.Predicate;

/**
 * Tunes a pre-trained model for a task, on a user's own data. A run is a pure function of model,
 * data, settings and seed.
 *
 * <pre>{@code
 * FineTuner.Outcome outcome =
 *     FineTuner.of(Task.classify(), Path.of("bert-base-uncased"))
 *         .train(Path.of("train.csv"))
 *         .validation(Path.of("valid.csv"))
 *         .epochs(3)
 *         .batch(16)
 *         .learningRate(5e-5)
 *         .out(Path.of("sentiment"))
 *         .onEvaluation(evaluation -> log.info("{}", evaluation.metrics()))
 *         .run();
 * }</pre>
 *
 * <p>The head is new where the model has none for the task, or one for other labels. Of the
 * evaluations on the validation data the best one's model is kept.
 */
public final class FineTuner {
  /** What {@link #classWeights(Map)} is given to weigh each class by one over its share. */
  public static final Map<String, Double> BALANCED = Map.of();

  private final Task task;
  private final Path model;
  private Path train;
  private Path validation;
  private Path out;
  private Device device;
  private DType dtype = DType.F32;
  private double epochs = 3;
  private int batch = 16;
  private int accumulate = 1;
  private int length;
  private double learningRate = 5e-5;
  private double warmup = 0.1;
  private double weightDecay = 0.01;
  private double clip = 1;
  private LongFunction<? extends AdapterConfig> adapter;
  private boolean merge;
  private WeightFormat packed;
  private long seed = 42;
  private long evaluateEvery;
  private int patience;
  private List<String> labels = List.of();
  private Map<String, Double> classWeights;
  private String freeze = "";
  private double layerDecay = 1;
  private Consumer<Progress> onStep = step -> {};
  private Consumer<Evaluation> onEvaluation = evaluation -> {};
  private Consumer<String> onWarning = warning -> {};
  private volatile boolean stopping;

  private FineTuner(Task task, Path model) {
    this.task = task;
    this.model = model;
  }

  /**
   * Prepares a run with defaults: 3 epochs, batches of 16, a rate of 5e-5 that rises over the first
   * tenth of the steps and falls to 0 in a straight line.
   *
   * @param task what for
   * @param model folder in Hugging Face's layout, with its tokenizer
   * @return the run
   */
  public static FineTuner of(Task task, Path model) {
    return new FineTuner(task, model);
  }

  /**
   * Sets what is learned from.
   *
   * @param file in one of the formats that the task reads
   * @return this
   */
  public FineTuner train(Path file) {
    train = file;
    return this;
  }

  /**
   * Sets what checkpoints are judged by. Without it the last one is kept.
   *
   * @param file in one of the formats that the task reads
   * @return this
   */
  public FineTuner validation(Path file) {
    validation = file;
    return this;
  }

  /**
   * Sets where the tuned model goes, with task.json, metrics.csv and TensorBoard's events. Without
   * it nothing is written.
   *
   * @param folder that holds no model yet
   * @return this
   */
  public FineTuner out(Path folder) {
    out = folder;
    return this;
  }

  /**
   * Sets where it is computed; without it the best device that is there.
   *
   * @param where it stays the caller's
   * @return this
   */
  public FineTuner device(Device where) {
    device = where;
    return this;
  }

  /**
   * Sets how weights and activations are stored.
   *
   * @param type fp32, which is the default, or bf16 with an fp32 master copy
   * @return this
   */
  public FineTuner dtype(DType type) {
    dtype = type;
    return this;
  }

  /**
   * Sets the length of the run.
   *
   * @param count how often the training data are seen; may be a fraction
   * @return this
   */
  public FineTuner epochs(double count) {
    check(count > 0 && count <= 1e6, "epochs " + count + "; more than 0");
    epochs = count;
    return this;
  }

  /**
   * Sets the examples of a pass.
   *
   * @param examples 1 or more
   * @return this
   */
  public FineTuner batch(int examples) {
    check(examples > 0, "batch " + examples + "; 1 or more");
    batch = examples;
    return this;
  }

  /**
   * Sets how many passes make a step.
   *
   * @param passes whose gradients are averaged
   * @return this
   */
  public FineTuner accumulate(int passes) {
    check(passes > 0, "accumulate " + passes + "; 1 or more");
    accumulate = passes;
    return this;
  }

  /**
   * Sets how long inputs are; without it as long as the model's context, of questions 384.
   *
   * @param tokens the most of an input; longer texts are cut off, or read in parts
   * @return this
   */
  public FineTuner length(int tokens) {
    check(tokens >= 8, "length " + tokens + "; 8 or more");
    length = tokens;
    return this;
  }

  /**
   * Sets the highest learning rate.
   *
   * @param rate which falls to 0
   * @return this
   */
  public FineTuner learningRate(double rate) {
    check(rate > 0 && rate < 1e9, "learning rate " + rate + "; more than 0");
    learningRate = rate;
    return this;
  }

  /**
   * Sets the steps of warm-up.
   *
   * @param share of all steps, from 0 to 1
   * @return this
   */
  public FineTuner warmup(double share) {
    check(share >= 0 && share < 1, "warmup " + share + "; a share of all steps, 0 to below 1");
    warmup = share;
    return this;
  }

  /**
   * Sets the weight decay of matrices and tables; biases and norms have none.
   *
   * @param decay times the learning rate, taken off the weights
   * @return this
   */
  public FineTuner weightDecay(double decay) {
    check(decay >= 0, "weight decay " + decay + "; 0 or more");
    weightDecay = decay;
    return this;
  }

  /**
   * Sets the clipping.
   *
   * @param norm the most that the gradients' norm may be; 0: no limit
   * @return this
   */
  public FineTuner clip(double norm) {
    check(norm >= 0, "clip " + norm + "; 0 (none) or more");
    clip = norm;
    return this;
  }

  /**
   * Sets the seed of a new head, of the examples' order and of dropout.
   *
   * @param value any
   * @return this
   */
  public FineTuner seed(long value) {
    seed = value;
    return this;
  }

  /**
   * Sets how often the model is evaluated; without it, after each epoch.
   *
   * @param steps from one evaluation to the next
   * @return this
   */
  public FineTuner evaluateEvery(long steps) {
    check(steps > 0, "evaluation every " + steps + " steps; 1 or more");
    evaluateEvery = steps;
    return this;
  }

  /**
   * Stops a run that no longer gets better.
   *
   * @param evaluations in a row that are no better than the best before them; 0: it never stops
   * @return this
   */
  public FineTuner patience(int evaluations) {
    check(evaluations >= 0, "patience " + evaluations + "; 0 or more");
    patience = evaluations;
    return this;
  }

  /**
   * Names the labels and their order; without it they are those of the training data, sorted, or
   * those of the model where it has them all.
   *
   * @param names each of which needs an example
   * @return this
   */
  public FineTuner labels(List<String> names) {
    check(names.stream().distinct().count() == names.size(), "labels " + names + "; one twice");
    labels = List.copyOf(names);
    return this;
  }

  /**
   * Weighs classes in the loss of a classifier or a tagger.
   *
   * @param weights by label, those that are not named have 1; or {@link #BALANCED}
   * @return this
   */
  public FineTuner classWeights(Map<String, Double> weights) {
    weights.forEach((label, weight) -> check(weight >= 0, "weight " + weight + " of " + label));
    classWeights = weights;
    return this;
  }

  /**
   * Keeps a part of the model as it is: it has no gradients, and costs nothing in the backward pass
   * where all below it is kept too.
   *
   * @param parts {@code embeddings}, layers' numbers from 0 and ranges of them, with commas: {@code
   *     embeddings,0-5}; empty: nothing
   * @return this
   */
  public FineTuner freeze(String parts) {
    freeze = parts;
    return this;
  }

  /**
   * Lets learning rates fall from layer to layer below the head.
   *
   * @param factor from a layer to the one below, above 0 and at most 1
   * @return this
   */
  public FineTuner layerDecay(double factor) {
    check(factor > 0 && factor <= 1, "layer decay " + factor + "; above 0 and at most 1");
    layerDecay = factor;
    return this;
  }

  /**
   * What a step came to.
   *
   * @param step from 1
   * @param steps of the whole run
   * @param epoch how often the training data have been seen, a fraction included
   * @param loss of the step's examples
   * @param learningRate of the step
   * @param gradientNorm of all gradients, before clipping
   * @param tokensPerSecond padding not counted
   * @param flopsPerSecond floating-point operations, padding counted: {@link
   *     dev.sinter.graph.Graph#flops()}
   */
  public record Progress(
      long step,
      long steps,
      double epoch,
      double loss,
      double learningRate,
      double gradientNorm,
      double tokensPerSecond,
      double flopsPerSecond) {}

  /**
   * Hears of every step.
   *
   * @param listener called on the training thread
   * @return this
   */
  public FineTuner onStep(Consumer<Progress> listener) {
    onStep = listener;
    return this;
  }

  /**
   * Hears of every evaluation.
   *
   * @param listener called on the training thread
   * @return this
   */
  public FineTuner onEvaluation(Consumer<Evaluation> listener) {
    onEvaluation = listener;
    return this;
  }

  /**
   * Hears of what is no error and may be a mistake.
   *
   * @param listener called on the training thread
   * @return this
   */
  public FineTuner onWarning(Consumer<String> listener) {
    onWarning = listener;
    return this;
  }

  /** Asks a run to end after the step it is in. Safe from any thread. */
  public void stop() {
    stopping = true;
  }

  /**
   * Trains an adapter over the model instead of the model: what is written is the adapter, in
   * PEFT's files.
   *
   * @param settings of the adapter
   * @return this
   */
  public FineTuner adapter(AdapterConfig settings) {
    return adapter(steps -> settings);
  }

  /**
   * The same with settings that depend on the length of the training, as AdaLoRA's do: {@code
   * adapter(steps -> AdaLoraConfig.of(12, 8, steps))}.
   *
   * @param settings of the adapter, by the number of steps
   * @return this
   */
  public FineTuner adapter(LongFunction<? extends AdapterConfig> settings) {
    adapter = settings;
    return this;
  }

  /**
   * Writes the model with its adapter merged, whole, instead of the adapter.
   *
   * @return this
   */
  public FineTuner merge() {
    merge = true;
    return this;
  }

  /**
   * Holds the weights under an adapter packed, in training too: of the task {@code lm} alone.
   *
   * @param format 8 or 4 bits, for example
   * @return this
   */
  public FineTuner packed(WeightFormat format) {
    packed = format;
    return this;
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /**
   * What a run came to.
   *
   * @param settings by name, as the run had them
   * @param labels of a classifier or a tagger
   * @param trained parameters that were trained
   * @param steps all of them, in order
   * @param evaluations all of them, in order; none without validation data
   * @param validation the validation data
   * @param predictions of the best evaluation, one for each of them
   */
  public record Outcome(
      Map<String, String> settings,
      List<String> labels,
      long trained,
      List<Progress> steps,
      List<Evaluation> evaluations,
      List<Sample> validation,
      List<Prediction> predictions) {
    /** Takes copies. */
    public Outcome {
      labels = List.copyOf(labels);
      steps = List.copyOf(steps);
      evaluations = List.copyOf(evaluations);
      validation = List.copyOf(validation);
      predictions = List.copyOf(predictions);
    }

    /**
     * The evaluation whose model was kept.
     *
     * @return the last that was better than those before; null: there were none
     */
    public Evaluation best() {
      return evaluations.stream().filter(Evaluation::best).reduce((a, b) -> b).orElse(null);
    }
  }

  /**
   * Runs.
   *
   * @return what it came to
   * @throws IOException where data or the model are not what they should be, or cannot be written;
   *     of data that are wrong nothing is written
   * @throws dev.sinter.train.DivergedException where the loss is no longer finite
   */
  public Outcome run() throws IOException {
    if (train == null) {
      throw new IllegalStateException("train(..) comes before run()");
    }
    check(!merge || adapter != null && packed == null, "only an adapter over plain weights merges");
    check(
        packed == null || adapter != null && task instanceof LmTask,
        "packed weights do not train; an adapter over them does, of the task lm");
    check(
        adapter == null || freeze.isEmpty() && layerDecay == 1,
        "an adapter's model is frozen as a whole, and has no layers' rates");
    check(
        out == null
            || !Files.exists(out.resolve(ModelFiles.WEIGHTS))
                && !Files.exists(out.resolve(PeftFiles.WEIGHTS)),
        out + ": holds a model already; name another folder, or remove it");
    List<Sample> samples = task.read(train, true);
    List<Sample> held = validation == null ? List.of() : task.read(validation, true);
    Head base = task instanceof HeadTask ? ModelFiles.readHead(model) : null;
    List<String> baseLabels = base == null ? List.of() : ModelFiles.readLabels(model);
    TaskSpec spec = task.spec(samples, labels, base, baseLabels, onWarning);
    TaskSpec before = TaskSpec.read(model);
    if (before != null && before.task().equals(spec.task())) {
      spec = spec.withInput(0, before.marks());
    }
    spec = spec.withInput(length, spec.marks());
    samples = task.checked(samples, spec);
    held = task.checked(held, spec);
    double[] weights = weights(samples, spec.labels());
    Tokenizer tokenizer = Tokenizer.load(model);
    try (Device own = device == null ? Device.auto() : null;
        Learner learner =
            task.load(
                spec,
                new Task.Loading(model, tokenizer, own == null ? device : own, dtype, true, packed),
                new Task.Tuning(batch, accumulate, seed, weights))) {
      return new Run(learner, tokenizer, learner.examples(samples), held).turn();
    }
  }

  private double[] weights(List<Sample> samples, List<String> names) {
    if (classWeights == null) {
      return new double[0];
    }
    check(
        !names.isEmpty() && samples.stream().allMatch(sample -> !sample.gold().isEmpty()),
        task.name() + " has no classes to weigh");
    classWeights.keySet().forEach(label -> check(names.contains(label), "no class " + label));
    long[] counts = Labels.counts(samples, names);
    double all = Arrays.stream(counts).sum();
    double[] weights = new double[names.size()];
    for (int i = 0; i < weights.length; i++) {
      weights[i] =
          classWeights == BALANCED
              ? all / ((double) weights.length * Math.max(1, counts[i]))
              : classWeights.getOrDefault(names.get(i), 1.0);
    }
    return weights;
  }

  private Map<String, String> settings(long steps) {
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("task", task.name());
    all.put("model", model);
    all.put("train", train);
    all.put("validation", validation == null ? "" : validation);
    all.put("epochs", epochs);
    all.put("steps", steps);
    all.put("batch", batch);
    all.put("accumulate", accumulate);
    all.put("learning rate", learningRate);
    all.put("warm-up", warmup);
    all.put("weight decay", weightDecay);
    all.put("clip", clip);
    all.put(
        "class weights",
        classWeights == null ? "" : classWeights == BALANCED ? "balanced" : classWeights);
    if (adapter != null) {
      all.put("adapter", adapter.apply(steps));
    }
    if (packed != null) {
      all.put("weights", packed.text());
    }
    all.put("frozen", freeze);
    all.put("layer decay", layerDecay);
    all.put("patience", patience);
    all.put("dtype", dtype);
    all.put("seed", seed);
    Map<String, String> texts = new LinkedHashMap<>();
    all.forEach((name, value) -> texts.put(name, value.toString()));
    return texts;
  }

  /** A run in which data and model are there. */
  private final class Run {
    private final Learner learner;
    private final Tokenizer tokenizer;
    private final LengthBatches batches;
    private final List<Sample> held;
    private final long steps;
    private final List<Progress> taken = new ArrayList<>();
    private final List<Evaluation> evaluations = new ArrayList<>();
    private List<Prediction> predictions = List.of();
    private double best = Double.NaN;
    private int worse;

    Run(Learner learner, Tokenizer tokenizer, List<Example> examples, List<Sample> held) {
      this.learner = learner;
      this.tokenizer = tokenizer;
      this.held = held;
      this.batches = new LengthBatches(examples, batch, seed);
      this.steps = Math.max(1, (long) Math.ceil(epochs * batches.perEpoch() / accumulate));
    }

    Outcome turn() throws IOException {
      if (adapter != null) {
        AdapterConfig config = adapter.apply(steps);
        learner.adapt(Over.of(config.withBase(model.toString()), seed));
      }
      Parameters parameters = learner.model().parameters();
      Layers layers = new Layers(parameters.specs());
      if (!freeze.isEmpty()) {
        Predicate<String> frozen = layers.frozen(freeze);
        parameters.enableTraining(name -> !frozen.test(name));
      }
      parameters.enableTraining();
      if (layerDecay < 1) {
        parameters.learningRates(layers.rates(layerDecay));
      }
      if (out == null) {
        loop(null);
      } else {
        Files.createDirectories(out);
        try (RunLog log = new RunLog(out, learner.metricNames())) {
          loop(log);
        }
      }
      return new Outcome(
          settings(steps),
          learner.spec().labels(),
          parameters.trainedCount(),
          taken,
          evaluations,
          held,
          predictions);
    }

    private void loop(RunLog log) throws IOException {
      Schedule schedule = Schedule.linear(learningRate, 0).warmup((long) Math.ceil(warmup * steps));
      AdamW optimizer = new AdamW(schedule, 0.9, 0.999, 1e-8, weightDecay, clip);
      TrainingLoop loop = new TrainingLoop(learner.model(), optimizer, steps, accumulate);
      while (loop.goesOn() && !stopping && (patience == 0 || worse < patience)) {
        long first = loop.done() * accumulate;
        long tokens = 0;
        for (long pass = first; pass < first + accumulate; pass++) {
          tokens += batches.get(pass).stream().mapToInt(Example::tokens).sum();
        }
        Step step =
            loop.step(
                (number, more, update) -> learner.pass(batches.get(number), number, more, update),
                tokens);
        Progress progress =
            new Progress(
                step.number(),
                steps,
                epoch(step.number()),
                step.loss(),
                step.learningRate(),
                step.gradientNorm(),
                step.tokensPerSecond(),
                step.flopsPerSecond());
        taken.add(progress);
        if (log != null) {
          log.step(progress);
        }
        onStep.accept(progress);
        if (evaluatesAt(step.number())) {
          evaluate(step.number(), log);
        }
      }
    }

    private double epoch(long step) {
      return (double) step * accumulate / batches.perEpoch();
    }

    /** After so many steps, or where an epoch ended in this one; and after the last. */
    private boolean evaluatesAt(long step) {
      return step == steps
          || (evaluateEvery > 0
              ? step % evaluateEvery == 0
              : Math.floor(epoch(step)) > Math.floor(epoch(step - 1)));
    }

    private void evaluate(long step, RunLog log) throws IOException {
      if (held.isEmpty()) {
        save();
        return;
      }
      Learner.Outputs outputs = learner.predict(held);
      Map<String, Double> metrics = learner.metrics(held, outputs);
      String deciding = learner.metricNames().get(0);
      double value = metrics.get(deciding);
      boolean better =
          evaluations.isEmpty()
              || Double.isNaN(best)
              || (Evaluation.lowerIsBetter(deciding) ? value < best : value > best);
      worse = better ? 0 : worse + 1;
      Evaluation evaluation = new Evaluation(step, epoch(step), outputs.loss(), metrics, better);
      evaluations.add(evaluation);
      if (better) {
        best = value;
        predictions = outputs.predictions();
        save();
      }
      if (log != null) {
        log.evaluation(evaluation);
      }
      onEvaluation.accept(evaluation);
    }

    /** The weights come last: where they are, all that they need is. */
    private void save() throws IOException {
      if (out != null) {
        tokenizer.save(out);
        learner.spec().write(out);
        learner.save(out, merge);
      }
    }
  }
}
