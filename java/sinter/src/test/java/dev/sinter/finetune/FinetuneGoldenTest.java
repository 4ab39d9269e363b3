package dev.sinter.finetune;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.text.Encoding;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.TrainingLoop;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Ten steps have the losses that tests/goldens/finetune.py has from the same weights and data. */
class FinetuneGoldenTest {
  private static int[] ints(JsonNode array) {
    int[] values = new int[array.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = array.get(i).intValue();
    }
    return values;
  }

  private static List<Example> examples(JsonNode batch) {
    List<Example> examples = new ArrayList<>();
    for (int i = 0; i < batch.get("lengths").size(); i++) {
      int length = batch.get("lengths").get(i).intValue();
      JsonNode labels = batch.get("labels").get(i);
      int[] targets =
          labels.isArray() ? Arrays.copyOf(ints(labels), length) : new int[] {labels.intValue()};
      examples.add(
          Example.of(
              Encoding.of(
                  Arrays.copyOf(ints(batch.get("tokens").get(i)), length),
                  Arrays.copyOf(ints(batch.get("segments").get(i)), length)),
              targets));
    }
    return examples;
  }

  @ParameterizedTest
  @CsvSource({"bert-classify,classify", "bert-tag,tag", "gpt2-classify,classify"})
  void tenStepsHaveTheLossesOfTransformers(String name, String taskName)
      throws IOException, URISyntaxException {
    Path folder = Path.of(FinetuneGoldenTest.class.getResource(name).toURI());
    JsonNode golden = new ObjectMapper().readTree(folder.resolve("golden.json").toFile());
    JsonNode batches = golden.get("batches");
    HeadTask task = (HeadTask) Task.named(taskName);
    TaskSpec spec = TaskSpec.of(taskName).withLabels(List.of("a", "b", "c"), false);
    Task.Tuning tuning = new Task.Tuning(batches.get(0).get("lengths").size(), 1, 0, new double[0]);
    AdamW optimizer =
        new AdamW(
            Schedule.linear(golden.get("rate").doubleValue(), 0),
            0.9,
            0.999,
            1e-8,
            golden.get("decay").doubleValue(),
            golden.get("clip").doubleValue());
    try (Device device = Device.cpu(2)) {
      TaskModel model = ModelFiles.loadTask(folder, task.head(spec), device, DType.F32);
      try (HeadLearner learner = new HeadLearner(task, model, spec, null, tuning)) {
        TrainingLoop loop = new TrainingLoop(model, optimizer, batches.size(), 1);
        for (JsonNode loss : golden.get("losses")) {
          double ours =
              loop.step(
                      (number, more, update) ->
                          learner.pass(examples(batches.get((int) number)), number, more, update),
                      1)
                  .loss();
          assertEquals(loss.doubleValue(), ours, 1e-4, "step " + loop.done());
        }
      }
    }
  }
}
