package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.generate.Beams;
import dev.sinter.generate.LengthPenalty;
import dev.sinter.generate.Processors;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Translator;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.io.SafetensorsFile;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What tests/goldens/families.py computed in double precision. */
class FamiliesGoldenTest {
  private static final int BATCH = 4;
  private static final int LENGTH = 11;
  private static final int VOCABULARY = 41;

  private static Path folder(String name) {
    try {
      return Path.of(FamiliesGoldenTest.class.getResource("families/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  private static SafetensorsFile golden(String name) throws IOException {
    return SafetensorsFile.open(folder(name).resolve("golden.safetensors"));
  }

  private static double loss(String name) throws IOException {
    return new ObjectMapper()
        .readTree(folder(name).resolve("golden.json").toFile())
        .get("loss")
        .asDouble();
  }

  private static int[] ints(SafetensorsFile file, String name) throws IOException {
    int count = Math.toIntExact(file.info(name).elements());
    ByteBuffer bytes = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN);
    file.read(name, 0, bytes);
    int[] values = new int[count];
    bytes.flip().asIntBuffer().get(values);
    return values;
  }

  private static float[] floats(SafetensorsFile file, String name) throws IOException {
    float[] values = new float[Math.toIntExact(file.info(name).elements())];
    file.floats(name).fill(FloatBuffer.wrap(values));
    return values;
  }

  private static void assertClose(float[] expected, float[] actual, String what) {
    assertEquals(expected.length, actual.length, what);
    double most = 0;
    double difference = 0;
    for (int i = 0; i < expected.length; i++) {
      most = Math.max(most, Math.abs(expected[i]));
      difference = Math.max(difference, Math.abs(expected[i] - (double) actual[i]));
    }
    // What is zero in theory, as the gradient of a bias that softmax does not see, has only
    // rounding.
    assertTrue(difference <= 1e-5 * most + 1e-7, what + " is off by " + difference / most);
  }

  private static float[] read(FloatBuffer buffer) {
    float[] values = new float[buffer.capacity()];
    buffer.get(0, values);
    return values;
  }

  /** Every parameter's gradient, each part of it, is the reference's. */
  private static void assertGradients(SafetensorsFile golden, Parameters parameters)
      throws IOException {
    Map<String, String> names = new HashMap<>();
    for (String name : golden.names()) {
      if (name.startsWith("gradient/")) {
        names.put(name.replaceFirst("gradient/((transformer|bert)\\.)?", ""), name);
      }
    }
    int seen = 0;
    for (ParameterSpec spec : parameters.specs()) {
      if (!spec.trains()) {
        continue;
      }
      float[] whole = new float[0];
      float[] expected = new float[0];
      for (String part : spec.parts()) {
        int count = Math.toIntExact(spec.elements()) / spec.parts().size();
        FloatBuffer actual = FloatBuffer.allocate(count);
        parameters.read(Parameters.Part.GRADIENT, part, actual::put);
        String name = names.get(part);
        // No loss reaches it: it has no gradient there.
        float[] golden1 = name == null ? new float[count] : floats(golden, name);
        seen += name == null ? 0 : 1;
        // The gradient of a key's bias is zero in theory: its error counts in parts of the others'.
        whole = concat(whole, actual.array());
        expected = concat(expected, golden1);
      }
      assertClose(expected, whole, "gradient of " + spec.name());
    }
    long untied =
        names.keySet().stream()
            .filter(name -> !name.startsWith("pooler") || seen(parameters, name))
            .count();
    assertEquals(untied, seen);
  }

  private static boolean seen(Parameters parameters, String name) {
    return TaskModel.partsOf(parameters.specs()).contains(name);
  }

  private static float[] concat(float[] a, float[] b) {
    float[] all = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, all, a.length, b.length);
    return all;
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt1", "gpt2", "gpt3-1", "gpt3-3", "gpt3-64"})
  void languageModelsGiveTheReferencesLogitsAndGradients(String name) throws IOException {
    try (SafetensorsFile golden = golden(name);
        Device device = Device.cpu();
        Model any = ModelFiles.loadAny(folder(name), device, DType.F32)) {
      LanguageModel model = (LanguageModel) any;
      try (EvaluationGraph graph = model.logitsGraph(BATCH, LENGTH)) {
        graph.tokens().put(ints(golden, "tokens"));
        assertClose(floats(golden, "outputs"), read(graph.run()), "logits");
      }
      try (TrainingGraph graph = model.trainingGraph(BATCH, LENGTH, 1, Recompute.BLOCK, 1)) {
        graph.tokens().put(ints(golden, "tokens"));
        graph.targets().put(ints(golden, "targets"));
        assertEquals(loss(name), graph.run(0, false), 1e-5 * loss(name));
        assertGradients(golden, model.parameters());
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt1", "gpt2", "gpt3-3"})
  void decodingOverACacheGivesTheLogitsOfTheWhole(String name) throws IOException {
    try (SafetensorsFile golden = golden(name);
        Device device = Device.cpu();
        LanguageModel model = ModelFiles.load(folder(name), device, DType.F32);
        Decoder decoder = model.decoder(1, LENGTH)) {
      int[] tokens = Arrays.copyOf(ints(golden, "tokens"), LENGTH);
      float[] expected = Arrays.copyOf(floats(golden, "outputs"), LENGTH * VOCABULARY);
      float[] actual = new float[0];
      int begin = 0;
      for (int count : new int[] {4, 1, 1, 3, 2}) {
        int[] chunk = Arrays.copyOfRange(tokens, begin, begin + count);
        actual = concat(actual, Arrays.copyOf(read(decoder.logits(chunk)), count * VOCABULARY));
        begin += count;
      }
      assertClose(expected, actual, "logits");
    }
  }

  private static int masked(SafetensorsFile golden, TaskModel model) throws IOException {
    return model.head().isMasked()
        ? (int) Arrays.stream(ints(golden, "targets")).filter(target -> target >= 0).count() + 2
        : 0;
  }

  private static void fill(SafetensorsFile golden, TaskModel model, TaskGraph graph)
      throws IOException {
    int[] lengths = ints(golden, "lengths");
    int[] tokens = ints(golden, "tokens");
    for (int i = 0; i < tokens.length; i++) {
      // Of an answer's place every position is a candidate, padding included, as in the reference.
      if (i % LENGTH >= lengths[i / LENGTH] && model.head().task() != Head.Task.SPAN) {
        tokens[i] = i % VOCABULARY; // what is padding does not matter
      }
    }
    graph.tokens().put(0, tokens);
    graph.lengths().put(0, lengths);
    if (model.bertConfig() != null) {
      graph.segments().put(0, ints(golden, "segments"));
    }
    if (golden.info("numbers") != null) {
      graph.numbers().put(0, floats(golden, "numbers"));
    } else if (model.head().isMasked()) {
      int[] targets = ints(golden, "targets");
      int next = 0;
      for (int row = 0; row < targets.length; row++) {
        if (targets[row] >= 0) {
          graph.maskedRows().put(next, row);
          graph.targets().put(next++, targets[row]);
        }
      }
    } else if (golden.info("targets") != null) {
      graph.targets().put(0, ints(golden, "targets"));
    }
    if (golden.info("next_targets") != null) {
      graph.nextTargets().put(0, ints(golden, "next_targets"));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "gpt1-sequence", "gpt2-sequence", "gpt2-tokens", "bert-pretraining", "bert-masked",
        "bert-sequence", "bert-regression", "bert-several", "bert-tokens", "bert-span",
        "bert-choice"
      })
  void headsGiveTheReferencesOutputsLossesAndGradients(String name) throws IOException {
    try (SafetensorsFile golden = golden(name);
        Device device = Device.cpu();
        Model any = ModelFiles.loadAny(folder(name), device, DType.F32)) {
      TaskModel model = (TaskModel) any;
      int masked = masked(golden, model);
      double loss = loss(name);
      try (TaskGraph graph = model.graph(BATCH, LENGTH, masked)) {
        fill(golden, model, graph);
        assertEquals(loss, graph.run(0, false), 1e-5 * loss);
        assertOutputs(golden, model, graph);
      }
      for (Recompute recompute : Recompute.values()) {
        try (TaskGraph graph = model.trainingGraph(BATCH, LENGTH, masked, 1, recompute, 1)) {
          fill(golden, model, graph);
          assertEquals(loss, graph.run(0, false), 1e-5 * loss);
          assertGradients(golden, model.parameters());
        }
      }
    }
  }

  private static void assertOutputs(SafetensorsFile golden, TaskModel model, TaskGraph graph)
      throws IOException {
    float[] expected = floats(golden, "outputs");
    float[] actual = read(graph.outputs());
    int row = model.head().task() == Head.Task.TOKENS ? model.head().labels() : VOCABULARY;
    if (model.head().isMasked()) {
      float[] there = new float[0];
      int[] targets = ints(golden, "targets");
      for (int i = 0; i < targets.length; i++) {
        if (targets[i] >= 0) {
          there = concat(there, Arrays.copyOfRange(expected, i * row, (i + 1) * row));
        }
      }
      expected = there;
      actual = Arrays.copyOf(actual, there.length);
      if (golden.info("next_outputs") != null) {
        assertClose(floats(golden, "next_outputs"), read(graph.nextOutputs()), "next sentence");
      }
    } else if (model.head().task() == Head.Task.TOKENS || model.head().task() == Head.Task.SPAN) {
      expected = withoutPadding(golden, model, expected);
      actual = withoutPadding(golden, model, actual);
    }
    assertClose(expected, actual, "outputs");
  }

  /** Zeros where an output of padding stands. */
  private static float[] withoutPadding(SafetensorsFile golden, TaskModel model, float[] values)
      throws IOException {
    int[] lengths = ints(golden, "lengths");
    boolean span = model.head().task() == Head.Task.SPAN;
    int labels = model.head().labels();
    float[] real = values.clone();
    for (int i = 0; i < values.length; i++) {
      int place = span ? i % LENGTH : i / labels % LENGTH;
      int sequence = i / (LENGTH * labels);
      if (place >= lengths[sequence]) {
        real[i] = 0;
      }
    }
    return real;
  }

  @Test
  void sentenceEmbeddingsAreTheMeanOfRealTokensOrTheFirst() throws IOException {
    try (SafetensorsFile golden = golden("bert-mean");
        Device device = Device.cpu()) {
      for (Head head : List.of(Head.mean(), Head.first())) {
        try (TaskModel model = ModelFiles.loadTask(folder("bert-mean"), head, device, DType.F32);
            TaskGraph graph = model.graph(BATCH, LENGTH, 0)) {
          fill(golden, model, graph);
          graph.run(0, false);
          String name = head.task() == Head.Task.MEAN ? "outputs" : "first";
          assertClose(floats(golden, name), read(graph.outputs()), name);
        }
      }
    }
  }

  @Test
  void theTransformerGivesTheReferencesLogitsLossAndGradients() throws IOException {
    try (SafetensorsFile golden = golden("marian");
        Device device = Device.cpu();
        Model any = ModelFiles.loadAny(folder("marian"), device, DType.F32)) {
      TransformerModel model = (TransformerModel) any;
      double loss = loss("marian");
      try (TransformerGraph graph = model.graph(BATCH, LENGTH, 6)) {
        fill(golden, graph);
        assertEquals(loss, graph.run(0, false), 1e-5 * loss);
        assertClose(floats(golden, "outputs"), read(graph.logits()), "logits");
      }
      for (Recompute recompute : Recompute.values()) {
        try (TransformerGraph graph = model.trainingGraph(BATCH, LENGTH, 6, 0, 1, recompute, 1)) {
          fill(golden, graph);
          assertEquals(loss, graph.run(0, false), 1e-5 * loss);
          assertGradients(golden, model.parameters());
        }
      }
    }
  }

  private static void fill(SafetensorsFile golden, TransformerGraph graph) throws IOException {
    graph.sources().put(0, ints(golden, "sources"));
    graph.sourceLengths().put(0, ints(golden, "lengths"));
    graph.targets().put(0, ints(golden, "targets"));
  }

  @Test
  void translationsAreTheReferencesForEachNumberOfBeamsAndPenalty() throws IOException {
    JsonNode generations =
        new ObjectMapper()
            .readTree(folder("marian").resolve("golden.json").toFile())
            .get("generations");
    try (SafetensorsFile golden = golden("marian");
        Device device = Device.cpu();
        TransformerModel model = ModelFiles.loadTransformer(folder("marian"), device, DType.F32)) {
      int[] lengths = ints(golden, "lengths");
      int[] sources = ints(golden, "sources");
      Sampling sampling =
          Sampling.greedy()
              .withMaxNewTokens(9)
              .with(Processors.noRepeatNgram(2), Processors.forcedEnd(Set.of(0)));
      for (Map.Entry<String, JsonNode> one : generations.properties()) {
        String[] settings = one.getKey().split(" ", -1);
        Beams beams =
            Beams.of(Integer.parseInt(settings[0]))
                .withLengthPenalty(LengthPenalty.power(Double.parseDouble(settings[1])));
        try (Translator translator = new Translator(model, beams, LENGTH, 10)) {
          for (int i = 0; i < BATCH; i++) {
            int[] source = Arrays.copyOfRange(sources, i * LENGTH, i * LENGTH + lengths[i]);
            int[] expected = new int[one.getValue().get(i).size()];
            for (int j = 0; j < expected.length; j++) {
              expected[j] = one.getValue().get(i).get(j).asInt();
            }
            assertArrayEquals(
                expected,
                translator.translate(source, sampling).get(0).ids(),
                one.getKey() + ", text " + i);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Recompute.class)
  void oneStepLowersTheLossOfEveryHead(Recompute recompute) throws IOException {
    for (String name : List.of("bert-pretraining", "bert-span", "gpt1-sequence")) {
      try (SafetensorsFile golden = golden(name);
          Device device = Device.cpu();
          TaskModel model = (TaskModel) ModelFiles.loadAny(folder(name), device, DType.F32);
          TaskGraph graph =
              model.trainingGraph(BATCH, LENGTH, masked(golden, model), 1, recompute, 1)) {
        fill(golden, model, graph);
        float before = graph.run(0, false);
        model.parameters().gradientNorm();
        model.parameters().update(new Parameters.AdamW(1e-3f, 0.9f, 0.999f, 1e-8f, 0, 1), 1);
        assertTrue(graph.run(1, false) < before, name);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "gpt1",
        "gpt2",
        "gpt3-3",
        "gpt2-sequence",
        "gpt2-tokens",
        "bert-pretraining",
        "bert-several",
        "bert-span",
        "marian"
      })
  void whatIsSavedLoadsWithTheSameWeights(String name, @TempDir Path saved) throws IOException {
    try (Device device = Device.cpu();
        Model model = ModelFiles.loadAny(folder(name), device, DType.F32)) {
      if (model instanceof LanguageModel gpt) {
        ModelFiles.writeConfig(gpt.config(), OptionalInt.empty(), saved);
        ModelFiles.writeWeights(gpt, saved);
      } else if (model instanceof TaskModel task) {
        ModelFiles.save(task, List.of(), saved);
      } else {
        ModelFiles.save((TransformerModel) model, saved);
      }
      try (Model again = ModelFiles.loadAny(saved, device, DType.F32)) {
        assertEquals(model.getClass(), again.getClass());
        if (model instanceof TaskModel task) {
          assertEquals(task.head(), ((TaskModel) again).head());
          assertEquals(task.bertConfig(), ((TaskModel) again).bertConfig());
        }
        for (ParameterSpec spec : model.parameters().specs()) {
          for (String part : spec.parts()) {
            int count = Math.toIntExact(spec.elements()) / spec.parts().size();
            FloatBuffer before = FloatBuffer.allocate(count);
            FloatBuffer after = FloatBuffer.allocate(count);
            model.parameters().read(Parameters.Part.WEIGHT, part, before::put);
            again.parameters().read(Parameters.Part.WEIGHT, part, after::put);
            assertArrayEquals(before.array(), after.array(), part);
          }
        }
      }
    }
  }

  @Test
  void aNewHeadIsDrawnWhereTheFilesHaveNone() throws IOException {
    try (Device device = Device.cpu();
        TaskModel model =
            ModelFiles.loadForTask(folder("bert-masked"), Head.sequence(5), device, DType.F32, 7)) {
      FloatBuffer drawn = FloatBuffer.allocate(5 * 12);
      model.parameters().read(Parameters.Part.WEIGHT, "classifier.weight", drawn::put);
      assertTrue(Arrays.stream(toDoubles(drawn)).anyMatch(x -> x != 0));
    }
  }

  private static double[] toDoubles(FloatBuffer buffer) {
    double[] values = new double[buffer.capacity()];
    for (int i = 0; i < values.length; i++) {
      values[i] = buffer.get(i);
    }
    return values;
  }
}
