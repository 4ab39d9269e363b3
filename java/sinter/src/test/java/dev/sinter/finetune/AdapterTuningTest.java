package dev.sinter.finetune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.model.AdaLoraConfig;
import dev.sinter.model.BottleneckConfig;
import dev.sinter.model.GptConfig.Family;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Fine-tuning with few parameters, through files and back. */
class AdapterTuningTest {
  @TempDir static Path folder;

  private static Device device;
  private static Path bert;
  private static Path train;
  private static Path valid;

  @BeforeAll
  static void make() throws IOException {
    device = Device.cpu(2);
    Random random = new Random(4);
    List<String> all = new ArrayList<>(List.of("text,label"));
    List<String> held = new ArrayList<>(List.of("text,label"));
    for (int i = 0; i < 520; i++) {
      (i < 320 ? all : held).add(review(random));
    }
    train = Files.write(folder.resolve("train.csv"), all);
    valid = Files.write(folder.resolve("valid.csv"), held);
    bert = Made.pretrained(folder.resolve("bert"), texts(all), 48, 24, 250);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static List<String> texts(List<String> rows) {
    return rows.stream().skip(1).map(row -> row.substring(0, row.indexOf(','))).toList();
  }

  private static String review(Random random) {
    boolean good = random.nextBoolean();
    String word =
        Made.any(
            good
                ? List.of("fine", "lovely", "great", "charming")
                : List.of("dull", "awful", "poor", "tiresome"),
            random);
    String text = "the film that " + Made.any(Made.NAMES, random) + " saw was " + word;
    return text + " in " + Made.any(Made.PLACES, random) + "," + (good ? "good" : "bad");
  }

  private static FineTuner tuner(Task task, Path model, Path out) {
    return FineTuner.of(task, model)
        .train(train)
        .validation(valid)
        .out(out)
        .device(device)
        .learningRate(5e-3)
        .epochs(8)
        .batch(16)
        .seed(1);
  }

  private static double accuracy(FineTuner.Outcome outcome) {
    return outcome.best().metrics().get("accuracy");
  }

  private static List<String> predicted(Path tuned, Path base) throws IOException {
    try (Predictor predictor = Predictor.load(tuned, base, device, DType.F32)) {
      return predictor.predict(predictor.task().read(valid, false)).stream()
          .map(prediction -> prediction.values().get(0))
          .toList();
    }
  }

  private static List<String> predicted(FineTuner.Outcome outcome) {
    return outcome.predictions().stream().map(one -> one.values().get(0)).toList();
  }

  @Test
  void loraLearnsIsWrittenAsAnAdapterAndPredictsTheSameFromItsFiles() throws IOException {
    Path out = folder.resolve("lora");
    FineTuner.Outcome outcome = tuner(Task.classify(), bert, out).adapter(LoraConfig.of(8)).run();
    assertTrue(accuracy(outcome) > 0.95, () -> "accuracy " + accuracy(outcome));
    assertTrue(Files.exists(out.resolve(PeftFiles.WEIGHTS)));
    assertFalse(Files.exists(out.resolve(ModelFiles.WEIGHTS)));
    assertEquals(predicted(outcome), predicted(out, null));
    assertEquals(predicted(outcome), predicted(out, bert));
    Path other = Made.bert(folder.resolve("other"), Files.readString(train), 32, 24);
    FormatException wrong = assertThrows(FormatException.class, () -> predicted(out, other));
    assertTrue(
        wrong.getMessage().startsWith(out.resolve(PeftFiles.WEIGHTS) + ": "), wrong.getMessage());
    assertTrue(
        wrong.getMessage().contains("not of an adapter for this model; open it over"),
        wrong.getMessage());
    Path moved = folder.resolve("moved");
    Files.move(bert, moved);
    try {
      FormatException e = assertThrows(FormatException.class, () -> predicted(out, null));
      assertTrue(e.getMessage().contains("name the folder of the model"), e.getMessage());
      assertEquals(predicted(outcome), predicted(out, moved));
    } finally {
      Files.move(moved, bert);
    }
  }

  @Test
  void aMergedModelIsWholeAndPredictsWhatItDidWithItsAdapter() throws IOException {
    Path out = folder.resolve("merged");
    FineTuner.Outcome outcome =
        tuner(Task.classify(), bert, out).adapter(LoraConfig.of(8)).merge().run();
    assertTrue(Files.exists(out.resolve(ModelFiles.WEIGHTS)));
    assertFalse(Files.exists(out.resolve(PeftFiles.WEIGHTS)));
    assertEquals(predicted(outcome), predicted(out, null));
    Path adapter = folder.resolve("to-merge");
    tuner(Task.classify(), bert, adapter).adapter(LoraConfig.of(8)).run();
    Path later = folder.resolve("merged-later");
    try (Predictor predictor = Predictor.load(adapter, device, DType.F32)) {
      predictor.save(later);
      assertThrows(IllegalArgumentException.class, () -> predictor.save(later));
    }
    assertEquals(predicted(outcome), predicted(later, null));
  }

  @Test
  void adaLoraAtHalfTheBudgetIsWithinAPointOfLora() throws IOException {
    FineTuner.Outcome lora =
        tuner(Task.classify(), bert, folder.resolve("whole-budget"))
            .adapter(LoraConfig.of(8))
            .run();
    Path out = folder.resolve("half-budget");
    FineTuner.Outcome half =
        tuner(Task.classify(), bert, out)
            .adapter(
                steps ->
                    AdaLoraConfig.of(6, 4, steps)
                        .withAlpha(48)
                        .withSchedule(steps / 10, steps / 3, 5))
            .run();
    assertTrue(
        accuracy(half) >= accuracy(lora) - 0.01, () -> accuracy(half) + " of " + accuracy(lora));
    assertEquals(predicted(half), predicted(out, null));
  }

  @Test
  void bottlenecksLearn() throws IOException {
    Path out = folder.resolve("bottlenecks");
    FineTuner.Outcome outcome =
        tuner(Task.classify(), bert, out).adapter(BottleneckConfig.of(8)).run();
    assertTrue(accuracy(outcome) > 0.95, () -> "accuracy " + accuracy(outcome));
    assertEquals(predicted(outcome), predicted(out, null));
  }

  @Test
  void anAdapterOverWeightsOfFourBitsLearnsTexts() throws IOException {
    String text = String.join(" ", texts(Files.readAllLines(train)));
    Path gpt = Made.gpt(folder.resolve("gpt"), text, Family.GPT2, 32, 32);
    Path file = Files.writeString(folder.resolve("lm.txt"), text);
    Path out = folder.resolve("lm");
    FineTuner.Outcome outcome =
        FineTuner.of(Task.languageModel(), gpt)
            .train(file)
            .validation(file)
            .out(out)
            .device(device)
            .adapter(LoraConfig.of(8).withAlpha(16))
            .packed(WeightFormat.Q4)
            .learningRate(2e-2)
            .epochs(20)
            .evaluateEvery(20)
            .run();
    List<Evaluation> all = outcome.evaluations();
    assertTrue(
        all.get(all.size() - 1).loss() < all.get(0).loss() - 0.3,
        () -> all.get(0).loss() + " to " + all.get(all.size() - 1).loss());
    assertTrue(Files.exists(out.resolve(PeftFiles.WEIGHTS)));
    // As PEFT writes it: without our task and without a tokenizer.
    for (String ours : List.of("task.json", "tokenizer.json", "tokenizer_config.json")) {
      Files.deleteIfExists(out.resolve(ours));
    }
    Path whole = folder.resolve("lm-whole");
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      assertEquals("lm", predictor.task().name());
      predictor.save(whole);
    }
    try (Predictor predictor = Predictor.load(whole, device, DType.F32)) {
      Sample sample = predictor.task().read(file, false).get(0);
      double loss = (double) predictor.predict(List.of(sample)).get(0).fields().get("loss");
      // Over the plain weights now, of which the packed ones were roundings.
      assertEquals(all.get(all.size() - 1).loss(), loss, 0.2);
    }
  }

  @Test
  void whatDoesNotGoTogetherIsRefused() {
    for (FineTuner wrong :
        List.of(
            tuner(Task.classify(), bert, folder.resolve("x")).merge(),
            tuner(Task.classify(), bert, folder.resolve("x"))
                .adapter(LoraConfig.of(4))
                .packed(WeightFormat.Q8),
            tuner(Task.classify(), bert, folder.resolve("x"))
                .adapter(LoraConfig.of(4))
                .freeze("embeddings"))) {
      assertThrows(IllegalArgumentException.class, wrong::run);
    }
    assertFalse(Files.exists(folder.resolve("x")));
  }
}
