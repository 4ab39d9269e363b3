package dev.sinter.finetune;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * Runs a tuned model on a user's data. What it does, task.json says, or the head that config.json
 * names. Safe to use from many threads, which take turns.
 */
public final class Predictor implements AutoCloseable {
  private static final int BATCH = 16;

  private final Task task;
  private final Learner learner;
  private final Tokenizer tokenizer;

  private Predictor(Task task, Learner learner, Tokenizer tokenizer) {
    this.task = task;
    this.learner = learner;
    this.tokenizer = tokenizer;
  }

  /**
   * Loads a model.
   *
   * @param folder that a {@link FineTuner} wrote; or any in Hugging Face's layout, whose head tells
   *     the task
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Predictor load(Path folder, Device device, DType dtype) throws IOException {
    return load(folder, null, device, dtype);
  }

  /**
   * Loads a model with an adapter.
   *
   * @param folder that a {@link FineTuner} wrote
   * @param base the model under the adapter; null: where the adapter's files say it was
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Predictor load(Path folder, Path base, Device device, DType dtype)
      throws IOException {
    boolean adapted = Files.exists(folder.resolve(PeftFiles.CONFIG));
    if (base != null && !adapted) {
      throw new IllegalArgumentException(folder + " holds no adapter, so it has no base");
    }
    Path model = adapted ? base(folder, base) : folder;
    TaskSpec spec = TaskSpec.read(folder);
    if (spec == null) {
      spec = adapted ? ofAdapter(folder, model) : ofHead(folder);
    }
    Task task;
    try {
      task = Task.named(spec.task());
    } catch (IllegalArgumentException e) {
      throw new FormatException(folder.resolve(TaskSpec.FILE), e.getMessage(), e);
    }
    if (task instanceof HeadTask head && (spec.labels().isEmpty() && needsLabels(head))) {
      spec = spec.withLabels(ModelFiles.readLabels(folder), spec.manyLabels());
    }
    Tokenizer tokenizer = Tokenizer.load(adapted && !hasTokenizer(folder) ? model : folder);
    // The head of an adapted model lies with the adapter, whatever the base's own is for.
    Learner learner =
        task.load(
            spec,
            new Task.Loading(model, tokenizer, device, dtype, adapted, null),
            new Task.Tuning(BATCH, 1, 0, new double[0]));
    try {
      if (adapted) {
        learner.adapt(Over.files(folder));
      }
      return new Predictor(task, learner, tokenizer);
    } catch (IOException | RuntimeException e) {
      learner.close();
      throw e;
    }
  }

  private static Path base(Path folder, Path named) throws IOException {
    if (named != null) {
      return named;
    }
    String base = PeftFiles.readConfig(folder).base();
    if (base.isEmpty() || !Files.exists(Path.of(base))) {
      throw new FormatException(
          folder.resolve(PeftFiles.CONFIG),
          "is of a model "
              + FormatException.quote(base)
              + " that is not there; name the folder of the model under the adapter");
    }
    return Path.of(base);
  }

  /** PEFT itself writes none. */
  private static boolean hasTokenizer(Path folder) {
    return Stream.of("tokenizer.json", "vocab.json", "vocab.txt")
        .anyMatch(name -> Files.exists(folder.resolve(name)));
  }

  /** Adapters that were not tuned here say no task: those of language models need none. */
  private static TaskSpec ofAdapter(Path folder, Path base) throws IOException {
    if (ModelFiles.readFamily(base).equals("bert")) {
      throw new FormatException(
          folder, "holds an adapter without " + TaskSpec.FILE + ", which names its task");
    }
    return ofHead(base);
  }

  private static boolean needsLabels(HeadTask task) {
    return task instanceof ClassifyTask || task instanceof TagTask;
  }

  private static TaskSpec ofHead(Path folder) throws IOException {
    String family = ModelFiles.readFamily(folder);
    if (family.equals("marian")) {
      return TaskSpec.of("translate");
    }
    Head head = ModelFiles.readHead(folder);
    List<String> labels = ModelFiles.readLabels(folder);
    return switch (head.task()) {
      case SEQUENCE ->
          head.loss() == Head.Loss.SQUARED_ERROR
              ? TaskSpec.of("similarity")
              : TaskSpec.of("classify")
                  .withLabels(labels, head.loss() == Head.Loss.BINARY_CROSS_ENTROPY);
      case TOKENS -> TaskSpec.of("tag").withLabels(labels, false);
      case SPAN -> TaskSpec.of("qa").withNoAnswer(true);
      case CHOICE -> TaskSpec.of("choice");
      case MEAN -> TaskSpec.of(family.equals("bert") ? "retrieve" : "lm");
      default ->
          throw new FormatException(
              folder.resolve(ModelFiles.CONFIG),
              "names a head for " + head.task() + ", which predicts nothing; fine-tune it first");
    };
  }

  /**
   * Returns the task.
   *
   * @return which the model was tuned for
   */
  public Task task() {
    return task;
  }

  /**
   * Predicts.
   *
   * @param samples that {@link Task#read} or {@link Task#readLines} gave
   * @return one for each
   * @throws IOException where a sample is not what the model reads
   */
  public synchronized List<Prediction> predict(List<Sample> samples) throws IOException {
    return samples.isEmpty() ? List.of() : learner.predict(samples).predictions();
  }

  /**
   * Writes the model as one that any program reads: an adapter is merged into a copy of its base.
   *
   * @param folder is made where it is not there
   * @throws IOException where it cannot be written
   * @throws IllegalArgumentException where the folder holds a model, and for bottlenecks, which do
   *     not merge
   */
  public synchronized void save(Path folder) throws IOException {
    if (Files.exists(folder.resolve(ModelFiles.WEIGHTS))) {
      throw new IllegalArgumentException(
          folder + ": holds a model already; name another folder, or remove it");
    }
    Files.createDirectories(folder);
    tokenizer.save(folder);
    learner.spec().write(folder);
    learner.save(folder, true);
  }

  @Override
  public synchronized void close() {
    learner.close();
  }
}
