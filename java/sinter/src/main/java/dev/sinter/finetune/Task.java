package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;

/**
 * What a model is tuned for: which data it reads, which head stands on the model, how rows become
 * inputs and outputs predictions, and which metric chooses the best checkpoint.
 */
public abstract sealed class Task permits HeadTask, RetrieveTask, LmTask, TranslateTask {
  /** Held apart: a class that makes its own subclasses could wait for itself. */
  private static final class All {
    static final List<Task> TASKS =
        List.of(
            new ClassifyTask(),
            new TagTask(),
            new AnswerTask(),
            new ChoiceTask(),
            new SimilarityTask(),
            new RetrieveTask(),
            new RankTask(),
            new LmTask(),
            new TranslateTask());
  }

  Task() {}

  /**
   * A label for each text or pair of texts; several, where the data have arrays of them.
   *
   * @return the task {@code classify}
   */
  public static Task classify() {
    return named("classify");
  }

  /**
   * A tag for each word: entities in IOB tags, or any others.
   *
   * @return the task {@code tag}
   */
  public static Task tag() {
    return named("tag");
  }

  /**
   * The part of a text that answers a question; none, where the data have such questions.
   *
   * @return the task {@code qa}
   */
  public static Task answer() {
    return named("qa");
  }

  /**
   * One of several texts that could go on from another.
   *
   * @return the task {@code choice}
   */
  public static Task choice() {
    return named("choice");
  }

  /**
   * A number for a pair of texts.
   *
   * @return the task {@code similarity}
   */
  public static Task similarity() {
    return named("similarity");
  }

  /**
   * Vectors of texts, near to each other where a document is a query's.
   *
   * @return the task {@code retrieve}
   */
  public static Task retrieve() {
    return named("retrieve");
  }

  /**
   * How relevant a document is to a query, read together.
   *
   * @return the task {@code rank}
   */
  public static Task rank() {
    return named("rank");
  }

  /**
   * The next token, as in pre-training.
   *
   * @return the task {@code lm}
   */
  public static Task languageModel() {
    return named("lm");
  }

  /**
   * A text for a text, by an encoder-decoder.
   *
   * @return the task {@code translate}
   */
  public static Task translate() {
    return named("translate");
  }

  /**
   * Finds a task.
   *
   * @param name one of {@link #names}
   * @return the task
   * @throws IllegalArgumentException where there is none of that name
   */
  public static Task named(String name) {
    for (Task task : All.TASKS) {
      if (task.name().equals(name)) {
        return task;
      }
    }
    throw new IllegalArgumentException(
        "no task is called " + name + "; " + String.join(", ", names()) + " are");
  }

  /**
   * Returns the tasks' names.
   *
   * @return as the command line has them
   */
  public static List<String> names() {
    return All.TASKS.stream().map(Task::name).toList();
  }

  /**
   * Returns the task's name.
   *
   * @return as the command line has it
   */
  public abstract String name();

  /**
   * Says what data the task reads.
   *
   * @return files and columns, a line each
   */
  public abstract List<String> reads();

  /**
   * Reads data.
   *
   * @param file in one of the task's formats, told by its name's ending
   * @param labelled whether each row has to say what is right; else that is left out
   * @return at least one
   * @throws IOException where the file is missing or not what the task reads: which line and column
   */
  public List<Sample> read(Path file, boolean labelled) throws IOException {
    return rows(Table.read(file), labelled);
  }

  final List<Sample> rows(Table table, boolean labelled) throws DataException {
    List<Sample> samples = new ArrayList<>();
    for (Table.Row row : table.rows()) {
      samples.add(sample(table, row, labelled));
    }
    return samples;
  }

  /**
   * Reads what is to be predicted from plain text: a sample a line, its texts parted by tabs, or a
   * JSON object with the task's columns.
   *
   * @param file what messages call it
   * @param text any lines; blank ones are left out
   * @return at least one
   * @throws IOException where there is none, or a line is not what the task reads
   */
  public List<Sample> readLines(Path file, String text) throws IOException {
    if (text.stripLeading().startsWith("{")) {
      return rows(Table.json(file, text), false);
    }
    List<Sample> samples = new ArrayList<>();
    long number = 0;
    for (String line : text.lines().toList()) {
      number++;
      if (!line.isBlank()) {
        List<String> texts = texts(line);
        if (texts.isEmpty()) {
          throw new DataException(file, number, null, "is no " + String.join(", ", reads()));
        }
        samples.add(new Sample(file, number, "", texts, List.of()));
      }
    }
    if (samples.isEmpty()) {
      throw new DataException(file, 0, null, "there is nothing to predict");
    }
    return samples;
  }

  /** The texts of a line of plain text; none: it has too few. */
  List<String> texts(String line) {
    return List.of(line.split("\t", -1));
  }

  /** Whether a file's name has one of these endings. */
  static boolean isNamed(Path file, String... endings) {
    String name = file.toString().toLowerCase(Locale.ROOT);
    for (String ending : endings) {
      if (name.endsWith(ending)) {
        return true;
      }
    }
    return false;
  }

  abstract Sample sample(Table table, Table.Row row, boolean labelled) throws DataException;

  /**
   * Shows what the model reads of a sample.
   *
   * @param sample of this task
   * @return its texts, a tab between them; of words, blanks
   */
  public String shown(Sample sample) {
    return String.join("\t", sample.texts());
  }

  /**
   * What the training data say of the task.
   *
   * @param named labels that the user named
   * @param base the head of the model that is tuned; null: it has none that texts are read with
   * @param baseLabels those of that head
   */
  TaskSpec spec(
      List<Sample> train,
      List<String> named,
      Head base,
      List<String> baseLabels,
      Consumer<String> warnings)
      throws DataException {
    return TaskSpec.of(name());
  }

  /** Checks samples against the training data's, and calls labels by their names. */
  List<Sample> checked(List<Sample> samples, TaskSpec spec) throws DataException {
    return samples;
  }

  /**
   * Where a model is and how it is loaded.
   *
   * @param folder that holds it
   * @param tokenizer of the folder
   * @param device where it shall be
   * @param dtype in which operations read the weights
   * @param fresh whether a head is drawn anew where the folder's is for something else
   * @param packed how the weights under an adapter are held; null: plain, in {@code dtype}
   */
  record Loading(
      Path folder,
      Tokenizer tokenizer,
      Device device,
      DType dtype,
      boolean fresh,
      WeightFormat packed) {}

  /**
   * How a model is trained.
   *
   * @param batch samples of a pass
   * @param accumulate passes of a step
   * @param seed of new weights and dropout
   * @param classWeights of each label; none: all alike
   */
  @SuppressWarnings("ArrayRecordComponent") // a value that is handed over, never compared
  record Tuning(int batch, int accumulate, long seed, double[] classWeights) {}

  /** Loads a model for the task, and holds the tokenizer to it. */
  final Learner load(TaskSpec spec, Loading loading, Tuning tuning) throws IOException {
    Learner learner = learner(spec, loading, tuning);
    if (loading.tokenizer().size() > learner.vocabulary()) {
      int known = learner.vocabulary();
      learner.close();
      throw new FormatException(
          loading.folder(),
          "the tokenizer has "
              + loading.tokenizer().size()
              + " tokens, the model a vocabulary of "
              + known
              + "; they are of different models");
    }
    return learner;
  }

  abstract Learner learner(TaskSpec spec, Loading loading, Tuning tuning) throws IOException;
}
