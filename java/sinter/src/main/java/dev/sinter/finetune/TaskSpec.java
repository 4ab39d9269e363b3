package dev.sinter.finetune;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.io.AtomicFiles;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * What a tuned model has to know of its task beside config.json: {@code task.json}.
 *
 * @param task its name
 * @param labels of a classifier or a tagger, in the order of the head's outputs
 * @param manyLabels whether a text may have several labels, or none
 * @param noAnswer whether a question may have no answer
 * @param choices of a question
 * @param length the most tokens of an input
 * @param marks ids of the tokens that GPT-1 reads before, between and behind texts; else none
 */
record TaskSpec(
    String task,
    List<String> labels,
    boolean manyLabels,
    boolean noAnswer,
    int choices,
    int length,
    List<Integer> marks) {
  static final String FILE = "task.json";
  private static final long MOST = 1 << 24;
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  TaskSpec {
    labels = labels == null ? List.of() : List.copyOf(labels);
    marks = marks == null ? List.of() : List.copyOf(marks);
  }

  static TaskSpec of(String task) {
    return new TaskSpec(task, List.of(), false, false, 0, 0, List.of());
  }

  TaskSpec withLabels(List<String> names, boolean many) {
    return new TaskSpec(task, names, many, noAnswer, choices, length, marks);
  }

  TaskSpec withNoAnswer(boolean none) {
    return new TaskSpec(task, labels, manyLabels, none, choices, length, marks);
  }

  TaskSpec withChoices(int count) {
    return new TaskSpec(task, labels, manyLabels, noAnswer, count, length, marks);
  }

  TaskSpec withInput(int most, List<Integer> tokens) {
    return new TaskSpec(task, labels, manyLabels, noAnswer, choices, most, tokens);
  }

  void write(Path folder) throws IOException {
    AtomicFiles.write(
        folder.resolve(FILE), JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(this));
  }

  /** Null: the folder was not fine-tuned here. */
  static TaskSpec read(Path folder) throws IOException {
    Path file = folder.resolve(FILE);
    if (!Files.exists(file)) {
      return null;
    }
    if (Files.size(file) > MOST) {
      throw new FormatException(file, "has " + Files.size(file) + " bytes; at most " + MOST);
    }
    try {
      TaskSpec spec = JSON.readValue(Files.readAllBytes(file), TaskSpec.class);
      if (spec == null || spec.task == null || spec.length < 0) {
        throw new FormatException(file, "names no task, or a length below 0; it is damaged");
      }
      return spec;
    } catch (JsonProcessingException e) {
      String problem = e.getOriginalMessage().lines().findFirst().orElse("");
      throw new FormatException(file, "is damaged: " + problem, e);
    }
  }
}
