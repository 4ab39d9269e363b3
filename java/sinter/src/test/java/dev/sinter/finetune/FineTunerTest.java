package dev.sinter.finetune;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.io.CsvLog;
import dev.sinter.model.GptConfig.Family;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.text.Encoding;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a run does beside learning: what it keeps, stops, freezes, weighs and writes. */
class FineTunerTest {
  @TempDir static Path shared;
  @TempDir Path folder;

  private static Device device;
  private static Path bert;
  private static Path train;
  private static Path valid;

  @BeforeAll
  static void make() throws IOException {
    device = Device.cpu(2);
    train = shared.resolve("train.csv");
    valid = shared.resolve("valid.csv");
    Random random = new Random(1);
    for (Path file : List.of(train, valid)) {
      List<String> lines = new ArrayList<>(List.of("text,label"));
      for (int i = 0; i < 40; i++) {
        boolean person = random.nextInt(4) == 0;
        String text = Made.any(person ? Made.NAMES : Made.PLACES, random) + " is".repeat(i % 5);
        lines.add(text + "," + (person ? "person" : "place"));
      }
      Files.write(file, lines);
    }
    bert = Made.bert(shared.resolve("bert"), Files.readString(train), 16, 24);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static FineTuner tuner() {
    return FineTuner.of(Task.classify(), bert)
        .train(train)
        .validation(valid)
        .device(device)
        .learningRate(1e-3)
        .batch(8)
        .epochs(2);
  }

  private static Map<String, float[]> weights(Path model, Head head) throws IOException {
    Map<String, float[]> all = new TreeMap<>();
    try (TaskModel loaded = ModelFiles.loadForTask(model, head, device, DType.F32, 0)) {
      for (var spec : loaded.parameters().specs()) {
        for (String part : spec.parts()) {
          FloatBuffer values =
              FloatBuffer.allocate(Math.toIntExact(spec.elements()) / spec.parts().size());
          loaded.parameters().read(Parameters.Part.WEIGHT, part, values::put);
          all.put(part, values.array());
        }
      }
    }
    return all;
  }

  @Test
  void equalSeedsGiveEqualBitsAndOtherSeedsOthers() throws IOException {
    List<byte[]> models = new ArrayList<>();
    for (long seed : new long[] {7, 7, 8}) {
      Path out = folder.resolve("out" + models.size());
      tuner().seed(seed).out(out).run();
      models.add(Files.readAllBytes(out.resolve("model.safetensors")));
    }
    assertArrayEquals(models.get(0), models.get(1));
    assertFalse(Arrays.equals(models.get(0), models.get(2)));
  }

  @Test
  void theBestEvaluationsModelIsKeptAndWhatWasPredictedWithIt() throws IOException {
    Path out = folder.resolve("out");
    // A rate that soon ruins what was learned.
    FineTuner.Outcome outcome = tuner().learningRate(0.03).epochs(6).seed(3).out(out).run();
    Evaluation best = outcome.best();
    double most =
        outcome.evaluations().stream()
            .mapToDouble(one -> one.metrics().get("accuracy"))
            .max()
            .getAsDouble();
    assertEquals(most, best.metrics().get("accuracy"));
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      List<Prediction> again = predictor.predict(predictor.task().read(valid, false));
      assertEquals(outcome.predictions(), again);
    }
    assertEquals(List.of("person", "place"), ModelFiles.readLabels(out));
    CsvLog.Table log = CsvLog.read(out.resolve("metrics.csv"));
    assertEquals(outcome.steps().size(), log.column("train_loss").size());
    assertEquals(outcome.evaluations().size(), log.column("validation_accuracy").size());
    assertEquals(best.loss(), log.column("validation_loss").get(best.step()));
  }

  @Test
  void aRunThatNoLongerGetsBetterStops() throws IOException {
    FineTuner.Outcome outcome = tuner().epochs(50).patience(2).run();
    List<Evaluation> all = outcome.evaluations();
    assertTrue(all.size() < 50, "it took all epochs");
    assertFalse(all.get(all.size() - 1).best() || all.get(all.size() - 2).best());
    assertTrue(all.get(all.size() - 3).best());
  }

  @Test
  void whatIsFrozenStaysAndLowerLayersMoveLess() throws IOException {
    Head head = Head.sequence(2);
    Map<String, float[]> before = weights(bert, head);
    Path frozen = folder.resolve("frozen");
    tuner().freeze("embeddings,0").weightDecay(0).out(frozen).run();
    weights(frozen, head)
        .forEach(
            (name, values) -> {
              boolean still = name.startsWith("embeddings.") || name.contains(".layer.0.");
              boolean fresh = name.startsWith("classifier.") || name.startsWith("pooler.");
              if (!fresh) {
                assertEquals(still, Arrays.equals(before.get(name), values), name);
              }
            });
    Path decayed = folder.resolve("decayed");
    tuner().layerDecay(0.1).weightDecay(0).out(decayed).run();
    Map<String, float[]> after = weights(decayed, head);
    ToDoubleFunction<String> moved =
        name -> {
          double most = 0;
          for (int i = 0; i < after.get(name).length; i++) {
            most = Math.max(most, Math.abs(after.get(name)[i] - before.get(name)[i]));
          }
          return most;
        };
    double low = moved.applyAsDouble("encoder.layer.0.output.dense.weight");
    double high = moved.applyAsDouble("encoder.layer.1.output.dense.weight");
    assertTrue(low > 0 && low < high / 5, low + " below, " + high + " above");
  }

  @Test
  void balancedWeightsAreThoseOfTheSharesAndChangeTheLoss() throws IOException {
    double plain = tuner().run().steps().get(0).loss();
    double balanced = tuner().classWeights(FineTuner.BALANCED).run().steps().get(0).loss();
    double same =
        tuner().classWeights(Map.of("person", 3.0, "place", 3.0)).run().steps().get(0).loss();
    assertNotEquals(plain, balanced);
    assertEquals(plain, same, 1e-6, "a weighted mean");
  }

  @Test
  void passesThatAddUpAreOneOfTheSameExamples() throws IOException {
    // All examples in one step, of one length: batches of 10 and 4 passes, or of 40 at once.
    List<String> lines = new ArrayList<>(List.of("text,label"));
    for (int i = 0; i < 40; i++) {
      lines.add((i % 3 == 0 ? "anna" : "berlin") + "," + (i % 3 == 0 ? "person" : "place"));
    }
    Path data = Files.write(folder.resolve("same.csv"), lines);
    double[] second = new double[2];
    for (int i = 0; i < 2; i++) {
      FineTuner.Outcome outcome =
          tuner().train(data).batch(i == 0 ? 10 : 40).accumulate(i == 0 ? 4 : 1).epochs(3).run();
      assertEquals(3, outcome.steps().size());
      second[i] = outcome.steps().get(2).loss();
    }
    assertEquals(second[0], second[1], 1e-5);
  }

  @Test
  void aHeadForTheSameLabelsIsKeptAndForOthersDrawnAnew() throws IOException {
    Path first = folder.resolve("first");
    tuner().out(first).run();
    Path same = folder.resolve("same");
    FineTuner.of(Task.classify(), first)
        .train(train)
        .device(device)
        .learningRate(1e-12)
        .epochs(1)
        .out(same)
        .run();
    float[] head = weights(first, Head.sequence(2)).get("classifier.weight");
    assertArrayEquals(head, weights(same, Head.sequence(2)).get("classifier.weight"), 1e-6f);
    Path others =
        Files.writeString(
            folder.resolve("others.csv"), Files.readString(train).replace(",place", ",town"));
    Path other = folder.resolve("other");
    List<String> warnings = new ArrayList<>();
    FineTuner.of(Task.classify(), first)
        .train(others)
        .device(device)
        .learningRate(1e-12)
        .epochs(1)
        .onWarning(warnings::add)
        .out(other)
        .run();
    assertEquals(List.of("person", "town"), ModelFiles.readLabels(other));
    assertFalse(Arrays.equals(head, weights(other, Head.sequence(2)).get("classifier.weight")));
    assertEquals(List.of(), warnings);
  }

  @Test
  void aModelsLabelWithoutAnExampleIsToldAndNumbersAreItsLabels() throws IOException {
    Path first = folder.resolve("first");
    tuner().labels(List.of("place", "person")).out(first).run();
    Path data =
        Files.writeString(
            folder.resolve("n.jsonl"),
            """
            {"text": "anna", "label": 1}
            {"text": "berlin", "label": 0}
            """);
    FineTuner.Outcome outcome =
        FineTuner.of(Task.classify(), first).train(data).validation(data).device(device).run();
    assertEquals(List.of("place", "person"), outcome.labels());
    assertEquals(List.of("person"), outcome.validation().get(0).gold());
    Path three =
        Files.writeString(
            folder.resolve("three.csv"), Files.readString(train) + "anna and berlin,both\n");
    Path tuned = folder.resolve("three");
    tuner().train(three).out(tuned).run();
    List<String> warnings = new ArrayList<>();
    FineTuner.of(Task.classify(), tuned).train(train).device(device).onWarning(warnings::add).run();
    assertEquals(
        List.of("the model's label \"both\" has no example in " + train + "; it will be forgotten"),
        warnings);
  }

  @Test
  void eachEpochTakesEachExampleOnceInBatchesOfLikeLengths() {
    List<Example> examples = new ArrayList<>();
    Random random = new Random(2);
    for (int i = 0; i < 1003; i++) {
      examples.add(Example.of(Encoding.of(new int[1 + random.nextInt(60)]), i));
    }
    LengthBatches batches = new LengthBatches(examples, 8, 5);
    LengthBatches again = new LengthBatches(examples, 8, 5);
    assertEquals(126, batches.perEpoch());
    long padded = 0;
    long tokens = 0;
    List<List<Integer>> orders = new ArrayList<>();
    for (int epoch = 0; epoch < 2; epoch++) {
      Set<Integer> seen = new HashSet<>();
      List<Integer> order = new ArrayList<>();
      for (int i = 0; i < 126; i++) {
        List<Example> batch = batches.get(epoch * 126L + i);
        assertEquals(batch, again.get(epoch * 126L + i));
        batch.forEach(one -> order.add(one.targets()[0]));
        padded += (long) batch.size() * batch.stream().mapToInt(Example::length).max().getAsInt();
        tokens += batch.stream().mapToInt(Example::tokens).sum();
      }
      seen.addAll(order);
      assertEquals(1003, seen.size());
      orders.add(order);
    }
    assertNotEquals(orders.get(0), orders.get(1));
    assertTrue(padded < 1.1 * tokens, padded + " with padding, " + tokens + " without");
  }

  @Test
  void theGradientOfTellingDocumentsApartIsThatOfItsLoss() {
    Random random = new Random(3);
    List<Example> batch = new ArrayList<>();
    int rows = 0;
    for (int i = 0; i < 4; i++) {
      List<Encoding> texts = new ArrayList<>();
      for (int j = 0; j < 2 + i % 2; j++) {
        // The last query has the first one's document.
        texts.add(Encoding.of(i == 3 && j == 1 ? 1 : rows + j));
      }
      rows += texts.size();
      batch.add(Example.of(texts));
    }
    double[][] vectors = new double[rows][5];
    for (double[] vector : vectors) {
      Arrays.setAll(vector, j -> random.nextGaussian());
    }
    double[][] gradients = new double[rows][5];
    InBatch.loss(batch, vectors, gradients, 0.3);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < 5; j++) {
        double at = vectors[i][j];
        vectors[i][j] = at + 1e-5;
        double above = InBatch.loss(batch, vectors, new double[rows][5], 0.3);
        vectors[i][j] = at - 1e-5;
        double below = InBatch.loss(batch, vectors, new double[rows][5], 0.3);
        vectors[i][j] = at;
        assertEquals((above - below) / 2e-5, gradients[i][j], 1e-7);
      }
    }
  }

  private static TaskSpec tags(List<Sample> samples) throws IOException {
    return new TagTask().spec(samples, List.of(), null, List.of(), warning -> {});
  }

  @Test
  void firstTokensHaveTheTagsAndLongSentencesAreReadInParts() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("t.conll"),
            "-DOCSTART- O\n\nanna I-PER\nmet O\nboris I-PER\nclara B-PER\n\nxyzzyxyzzy O\n"
                + "berlin I-LOC\n".repeat(40));
    TagTask task = new TagTask();
    List<Sample> read = task.read(file, true);
    TaskSpec spec = tags(read);
    List<Sample> samples = task.checked(read, spec);
    assertEquals(
        List.of("B-PER", "O", "B-PER", "B-PER"), samples.get(0).gold(), "IOB1 becomes IOB2");
    assertEquals("I-LOC", samples.get(1).gold().get(2));
    Inputs inputs = new Inputs(Tokenizer.load(bert), 16, List.of());
    List<Example> parts = new ArrayList<>();
    task.encode(samples.get(1), spec, inputs, parts);
    assertTrue(parts.size() > 2);
    int words = 0;
    for (Example part : parts) {
      assertTrue(part.length() <= 16);
      for (int place : part.places()) {
        assertTrue(place > 0);
        int label = spec.labels().indexOf(samples.get(1).gold().get(words++));
        assertEquals(label, part.targets()[place]);
      }
      long labelled = Arrays.stream(part.targets()).filter(t -> t != Example.IGNORED).count();
      assertEquals(part.places().length, labelled, "other pieces have no target");
    }
    assertEquals(41, words);
  }

  @Test
  void windowsOfAContextKnowWhereTheAnswerIs() throws IOException {
    StringBuilder context = new StringBuilder();
    for (int i = 0; i < 30; i++) {
      context.append(Made.PLACES.get(i % 8)).append(' ');
    }
    int start = context.length();
    context.append("anna boris is").append(" athens".repeat(20));
    AnswerTask task = new AnswerTask();
    Sample sample =
        new Sample(
            Path.of("q"),
            1,
            "answers",
            "1",
            List.of("is anna", context.toString()),
            List.of("anna boris"),
            List.of(start));
    Inputs inputs = new Inputs(Tokenizer.load(bert), 24, List.of());
    List<Example> windows = new ArrayList<>();
    task.encode(sample, TaskSpec.of("qa"), inputs, windows);
    int found = 0;
    for (Example window : windows) {
      Encoding input = window.inputs().get(0);
      int[] span = window.targets();
      if (span[0] > 0) {
        found++;
        String text = context.substring(input.starts()[span[0]], input.ends()[span[1]]);
        assertEquals("anna boris", text);
      } else {
        assertArrayEquals(new int[2], span);
      }
    }
    assertTrue(found > 0 && found < windows.size(), found + " of " + windows.size());
  }

  @Test
  void gpt1ReadsItsOwnTokensAndLearnsTextBesides() throws IOException {
    Path model = Made.gpt(folder.resolve("gpt"), Files.readString(train), Family.GPT1, 16, 24);
    int vocabulary = ModelFiles.readConfig(model).vocabulary();
    Path out = folder.resolve("out");
    FineTuner.Outcome outcome =
        FineTuner.of(Task.classify(), model)
            .train(train)
            .validation(valid)
            .device(device)
            .epochs(1)
            .out(out)
            .run();
    assertEquals(vocabulary + 3, ModelFiles.readConfig(out).vocabulary());
    TaskSpec spec = TaskSpec.read(out);
    assertEquals(List.of(vocabulary, vocabulary + 1, vocabulary + 2), spec.marks());
    Encoding pair =
        new Inputs(Tokenizer.load(out), 10, spec.marks()).pair("anna is", "berlin is is is is is");
    assertEquals(10, pair.length());
    assertEquals(vocabulary, pair.ids()[0]);
    assertEquals(vocabulary + 2, pair.ids()[9]);
    assertEquals(1, Arrays.stream(pair.ids()).filter(id -> id == vocabulary + 1).count());
    // Two labels' loss, and half of that of so many tokens.
    double expected = Math.log(2) + 0.5 * Math.log(vocabulary + 3);
    assertEquals(expected, outcome.steps().get(0).loss(), 0.5);
    Path again = folder.resolve("again");
    FineTuner.of(Task.classify(), out).train(train).device(device).epochs(1).out(again).run();
    assertEquals(vocabulary + 3, ModelFiles.readConfig(again).vocabulary(), "none more");
  }

  @Test
  void gpt1ReadsAPairInBothOrders() throws IOException {
    StringBuilder rows = new StringBuilder("sentence1,sentence2,score\n");
    for (String first : List.of("anna", "boris", "berlin", "cairo")) {
      for (String second : List.of("anna", "boris", "berlin", "cairo")) {
        rows.append(first).append(',').append(second).append(',');
        rows.append((first + second).chars().filter(c -> c == 'a').count()).append('\n');
      }
    }
    Path pairs = Files.writeString(folder.resolve("pairs.csv"), rows);
    Path model = Made.gpt(folder.resolve("gpt"), rows.toString(), Family.GPT1, 32, 24);
    Path out = folder.resolve("out");
    FineTuner.Outcome outcome =
        FineTuner.of(Task.similarity(), model)
            .train(pairs)
            .validation(pairs)
            .device(device)
            .learningRate(5e-3)
            .batch(5) // 16 samples: the last batch is not full
            .epochs(40)
            .out(out)
            .run();
    assertTrue(outcome.best().metrics().get("pearson") > 0.95, outcome.best()::toString);
    List<Evaluation> all = outcome.evaluations();
    // What training sums up before the classifier, prediction sums up behind it.
    double last = outcome.steps().get(outcome.steps().size() - 1).loss();
    assertTrue(last < outcome.steps().get(0).loss() / 2, () -> "last loss " + last);
    assertTrue(all.get(all.size() - 1).loss() < 0.5, () -> all.get(all.size() - 1).toString());
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      List<Prediction> both =
          predictor.predict(
              predictor.task().readLines(Path.of("input"), "anna\tcairo\ncairo\tanna"));
      assertEquals(both.get(0).scores(), both.get(1).scores());
    }
  }

  @Test
  void aHeadOfHuggingFacesTellsTheTask() throws IOException {
    Path out = folder.resolve("out");
    FineTuner.Outcome outcome = tuner().out(out).run();
    Files.delete(out.resolve("task.json"));
    assertNull(TaskSpec.read(out));
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      assertEquals("classify", predictor.task().name());
      assertEquals(outcome.predictions(), predictor.predict(predictor.task().read(valid, false)));
    }
  }
}
