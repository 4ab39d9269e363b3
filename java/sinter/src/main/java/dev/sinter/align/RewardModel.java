package dev.sinter.align;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.data.DataException;
import dev.sinter.data.TextFiles;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.io.AtomicFiles;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TaskRunner;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;

/**
 * A model of how good an answer is (Ouyang et al. 2022, section 3.5): a GPT with a scalar in the
 * place of its vocabulary, read at the last token, and a shift that makes demonstrations score 0 on
 * average. The head has no bias, as Hugging Face's has none: the shift lies in {@link #FILE}.
 */
public final class RewardModel implements AutoCloseable {
  /** The file beside the weights that has the shift. */
  public static final String FILE = "reward.json";

  private static final String SHIFT = "shift";
  private static final ObjectMapper JSON = new ObjectMapper();

  private final TaskModel model;
  private final Chat chat;
  private final TaskRunner runner;
  private double shift;

  private RewardModel(TaskModel model, Chat chat, double shift) {
    this.model = model;
    this.chat = chat;
    this.shift = shift;
    this.runner = new TaskRunner(model);
  }

  /**
   * Begins a reward model where a language model is, with a head drawn from N(0, 1 / (width + 1)).
   *
   * @param folder of the language model
   * @param chat its tokenizer and template
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @param seed of the head
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static RewardModel create(Path folder, Chat chat, Device device, DType dtype, long seed)
      throws IOException {
    TaskModel model = ModelFiles.loadForTask(folder, Head.sequence(1), device, dtype, seed);
    Copies.drawHead(model, seed);
    return new RewardModel(model, chat, 0);
  }

  /**
   * Begins a reward model with weights that are there.
   *
   * @param model a GPT with a head of one label; becomes the reward model's
   * @param chat its tokenizer and template
   */
  static RewardModel of(TaskModel model, Chat chat) {
    return new RewardModel(model, chat, 0);
  }

  /**
   * Reads a reward model.
   *
   * @param folder that {@link #save} wrote
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static RewardModel load(Path folder, Device device, DType dtype) throws IOException {
    Path file = folder.resolve(FILE);
    if (!Files.isRegularFile(file)) {
      throw new DataException(
          file, 0, null, "there is none, so this is no reward model; ./sinter reward makes one");
    }
    JsonNode shift;
    try {
      shift = JSON.readTree(TextFiles.read(List.of(file))).path(SHIFT);
    } catch (JsonProcessingException e) {
      throw new DataException(file, 0, null, "no JSON: " + e.getOriginalMessage(), e);
    }
    if (!shift.isNumber() || !Double.isFinite(shift.doubleValue())) {
      throw new DataException(file, 0, SHIFT, "is missing, or no finite number");
    }
    Chat chat = Chat.load(folder, ChatTemplate.plain());
    return new RewardModel(
        ModelFiles.loadTask(folder, Head.sequence(1), device, dtype), chat, shift.doubleValue());
  }

  /**
   * Writes the model: configuration, weights, tokenizer, template and shift.
   *
   * @param folder that exists
   * @throws IOException where it cannot be written
   */
  public void save(Path folder) throws IOException {
    ModelFiles.save(model, List.of(), folder);
    chat.save(folder);
    byte[] json = JSON.writeValueAsBytes(JSON.createObjectNode().put(SHIFT, shift));
    AtomicFiles.write(folder.resolve(FILE), json);
  }

  /**
   * Returns tokenizer and template.
   *
   * @return both
   */
  public Chat chat() {
    return chat;
  }

  /**
   * Returns the weights.
   *
   * @return a GPT with a head of one label
   */
  public TaskModel model() {
    return model;
  }

  /**
   * Returns what is taken off what the head says.
   *
   * @return the shift
   */
  public double shift() {
    return shift;
  }

  /**
   * Scores answers.
   *
   * @param prompt what was said before
   * @param responses any number
   * @return a reward for each
   * @throws IllegalArgumentException where one is too long for the context
   */
  public double[] score(Conversation prompt, List<String> responses) {
    return score(
        responses.stream()
            .map(response -> chat.template().response(prompt, response, chat.tokenizer()).tokens())
            .toList());
  }

  /** Scores prompts with their responses, as tokens. */
  double[] score(List<int[]> sequences) {
    List<TaskRunner.Input> inputs =
        sequences.stream()
            .map(tokens -> new TaskRunner.Input(tokens, new int[tokens.length], new int[0]))
            .toList();
    return runner.run(model.head(), inputs).stream()
        .mapToDouble(output -> output[0] - shift)
        .toArray();
  }

  /**
   * Shifts all rewards so that those of demonstrations have a mean of 0.
   *
   * @param demonstrations conversations, whose last answers are scored; those too long for the
   *     context are left out
   * @throws IllegalArgumentException where none fits
   */
  public void center(Collection<Conversation> demonstrations) {
    List<int[]> answers =
        demonstrations.stream()
            .map(one -> chat.example(one).throughLastAnswer())
            .filter(tokens -> tokens.length > 0 && tokens.length <= model.context())
            .toList();
    if (answers.isEmpty()) {
      throw new IllegalArgumentException(
          "no demonstration has an answer and fits the context of " + model.context());
    }
    center(answers);
  }

  /** The same of answers behind their prompts, as tokens. */
  void center(List<int[]> answers) {
    double mean = 0;
    for (double score : score(answers)) {
      mean += score / answers.size();
    }
    shift += mean;
  }

  @Override
  public void close() {
    runner.close();
    model.close();
  }
}
