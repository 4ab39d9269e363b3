package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig.Family;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.DoubleSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Adapters over models that stay as they are. */
class AdapterTest {
  private static final int BATCH = 3;
  private static final int LENGTH = 7;
  private static final GptConfig GPT = GptConfig.of(29, 12, 32, 2, 2);
  private static final BertConfig BERT = BertConfig.of(29, 12, 32, 2, 2);

  private static final AdapterConfig LORA = LoraConfig.of(3).withAlpha(7);
  private static final AdapterConfig ADALORA = AdaLoraConfig.of(3, 2, 10).withAlpha(7);

  static Stream<AdapterConfig> all() {
    return Stream.of(
        LORA,
        LoraConfig.of(3)
            .withAlpha(2)
            .withRankStabilized()
            .withTargets(Targets.of("c_attn", "c_fc", "c_proj", "query", "value", "dense")),
        ADALORA,
        AdaLoraConfig.of(3, 2, 10).withTargets(Targets.of("mlp.c_proj", "output.dense", "key")),
        BottleneckConfig.of(5));
  }

  private static TaskModel bert(Device device) {
    return new TaskModel(BERT, Head.sequence(3), device, DType.F32).initialize(3);
  }

  private static LanguageModel gpt(Device device, DType dtype) {
    return LanguageModel.create(GPT, device, dtype, 4);
  }

  private static void fill(TaskGraph graph) {
    Random random = new Random(5);
    for (int i = 0; i < BATCH * LENGTH; i++) {
      graph.tokens().put(i, 1 + random.nextInt(28));
    }
    for (int i = 0; i < BATCH; i++) {
      graph.targets().put(i, i);
      graph.lengths().put(i, LENGTH - i);
    }
  }

  private static void fill(TrainingGraph graph) {
    Random random = new Random(5);
    for (int i = 0; i < BATCH * LENGTH; i++) {
      graph.tokens().put(i, random.nextInt(29));
      graph.targets().put(i, random.nextInt(29));
    }
  }

  private static float[] outputs(TaskModel model) {
    try (TaskGraph graph = model.graph(BATCH, LENGTH, 0)) {
      fill(graph);
      graph.run(0, false);
      return copy(graph.outputs());
    }
  }

  private static float[] outputs(LanguageModel model) {
    try (EvaluationGraph graph = model.logitsGraph(BATCH, LENGTH)) {
      return outputs(graph);
    }
  }

  private static float[] outputs(EvaluationGraph graph) {
    Random random = new Random(5);
    for (int i = 0; i < BATCH * LENGTH; i++) {
      graph.tokens().put(i, random.nextInt(29));
    }
    return copy(graph.run());
  }

  private static float[] copy(FloatBuffer buffer) {
    float[] values = new float[buffer.capacity()];
    buffer.get(0, values);
    return values;
  }

  /** Draws everything anew, so that nothing is at zero. */
  private static void disturb(Adapter adapter) {
    Random random = new Random(9);
    for (ParameterSpec spec : adapter.parameters().specs()) {
      for (String part : spec.parts()) {
        float[] values = adapter.parameters().read(Part.WEIGHT, part);
        for (int i = 0; i < values.length; i++) {
          values[i] += (float) (0.2 * random.nextGaussian());
        }
        adapter.parameters().write(Part.WEIGHT, part, values);
      }
    }
  }

  private static void assertDiffers(float[] a, float[] b) {
    double most = 0;
    for (int i = 0; i < a.length; i++) {
      most = Math.max(most, Math.abs(a[i] - b[i]));
    }
    assertTrue(most > 1e-2, "off by " + most + " alone");
  }

  @ParameterizedTest
  @MethodSource("all")
  void aNewAdapterLeavesWhatTheModelComputes(AdapterConfig config) {
    float tolerance = config instanceof BottleneckConfig ? 2e-2f : 0;
    try (Device device = Device.cpu();
        TaskModel bert = bert(device);
        LanguageModel gpt = gpt(device, DType.F32)) {
      if (!(config instanceof AdaLoraConfig ada && ada.targets().modules().contains("key"))) {
        try (LanguageModel adapted = gpt.adapted(config, 1)) {
          assertArrayEquals(outputs(gpt), outputs(adapted), tolerance);
        }
      }
      try (TaskModel adapted = bert.adapted(config, 1)) {
        assertArrayEquals(outputs(bert), outputs(adapted), tolerance);
        disturb(adapted.adapter());
        assertDiffers(outputs(bert), outputs(adapted));
      }
    }
  }

  /** The slope along a direction, by central differences, beside the gradient's. */
  private static void assertGradients(Parameters parameters, DoubleSupplier loss) {
    Random random = new Random(2);
    for (ParameterSpec spec : parameters.specs()) {
      for (String part : spec.parts()) {
        float[] weight = parameters.read(Part.WEIGHT, part);
        float[] gradient = parameters.read(Part.GRADIENT, part);
        // Along the gradient, roughly, where the slope is steep.
        double norm = 0;
        for (float g : gradient) {
          norm += (double) g * g;
        }
        assertTrue(norm > 0, part + " has no gradient");
        norm = Math.sqrt(norm);
        double[] along = new double[weight.length];
        double expected = 0;
        for (int i = 0; i < along.length; i++) {
          along[i] = gradient[i] / norm * (0.5 + random.nextDouble());
          expected += along[i] * gradient[i];
        }
        double step = 2e-3;
        double above = moved(parameters, part, weight, along, step, loss);
        double below = moved(parameters, part, weight, along, -step, loss);
        parameters.write(Part.WEIGHT, part, weight);
        double slope = (above - below) / (2 * step);
        assertEquals(slope, expected, 0.02 * Math.abs(slope) + 1e-4, part);
      }
    }
  }

  private static double moved(
      Parameters parameters,
      String part,
      float[] weight,
      double[] along,
      double step,
      DoubleSupplier loss) {
    float[] there = new float[weight.length];
    for (int i = 0; i < there.length; i++) {
      there[i] = (float) (weight[i] + step * along[i]);
    }
    parameters.write(Part.WEIGHT, part, there);
    return loss.getAsDouble();
  }

  @ParameterizedTest
  @MethodSource("all")
  void gradientsAreThoseOfTheLoss(AdapterConfig config) {
    try (Device device = Device.cpu();
        TaskModel base = bert(device);
        TaskModel model = base.adapted(config, 1);
        TaskGraph graph = model.trainingGraph(BATCH, LENGTH, 0, 1, Recompute.NONE, 1)) {
      disturb(model.adapter());
      fill(graph);
      graph.run(0, false);
      assertGradients(model.parameters(), () -> graph.run(0, false));
      // Nothing of the base trains: it has neither gradients nor moments.
      for (ParameterSpec spec : base.parameters().specs()) {
        assertFalse(base.parameters().isTrained(spec.name()), spec.name());
      }
      assertEquals(0, base.parameters().trainedCount());
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void anAdapterTrainsOverPackedWeightsThatStayAsTheyAre(WeightFormat format, @TempDir Path saved)
      throws IOException {
    try (Device device = Device.cpu();
        FrozenModel base = FrozenModel.create(GPT, device, format, 3)) {
      byte[] before = bytes(base);
      AdapterConfig config =
          LoraConfig.of(4).withAlpha(16).withTargets(Targets.of("c_attn", "c_proj", "c_fc"));
      try (LanguageModel model = LanguageModel.over(base, config, 7);
          TrainingGraph graph = model.trainingGraph(BATCH, LENGTH, 1, Recompute.NONE, 1)) {
        try (EvaluationGraph plain = base.logitsGraph(BATCH, LENGTH)) {
          assertArrayEquals(outputs(plain), outputs(model));
        }
        fill(graph);
        float first = graph.run(0, false);
        float last = first;
        for (int step = 1; step <= 30; step++) {
          model.parameters().gradientNorm();
          model.parameters().update(new Parameters.AdamW(2e-2f, 0.9f, 0.999f, 1e-8f, 0, 0), step);
          last = graph.run(step, false);
        }
        assertTrue(last < first - 0.5, first + " to " + last);
        PeftFiles.save(model, saved);
        try (LanguageModel again = PeftFiles.load(saved, base)) {
          assertArrayEquals(outputs(model), outputs(again));
        }
        assertThrows(IllegalArgumentException.class, () -> model.adapter().merge());
        assertThrows(IllegalArgumentException.class, () -> FrozenModel.of(model, format));
      }
      assertArrayEquals(before, bytes(base));
      // Norms are there in fp32, and may train whole; matrices may not.
      LanguageModel.over(base, LoraConfig.of(2).withModulesToSave("ln_f"), 1).close();
      assertThrows(
          IllegalArgumentException.class,
          () -> LanguageModel.over(base, LoraConfig.of(2).withModulesToSave("mlp.c_fc"), 1));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void anAdapterTrainsOverADenseModelThatStaysAsItIs(DType dtype) {
    try (Device device = Device.cpu();
        LanguageModel base = gpt(device, dtype);
        LanguageModel model = base.adapted(LoraConfig.of(4).withAlpha(16).withDropout(0.1), 7);
        TrainingGraph graph = model.trainingGraph(BATCH, LENGTH, 1, Recompute.BLOCK, 1)) {
      List<float[]> before = weights(base);
      fill(graph);
      float first = graph.run(0, false);
      for (int step = 1; step <= 40; step++) {
        graph.run(step, false);
        model.parameters().gradientNorm();
        model.parameters().update(new Parameters.AdamW(2e-2f, 0.9f, 0.999f, 1e-8f, 0, 0), step);
      }
      float last = graph.run(41, false);
      assertTrue(last < first - 0.3, first + " to " + last);
      assertSameBits(before, weights(base));
    }
  }

  private static byte[] bytes(FrozenModel model) throws IOException {
    var out = new ByteArrayOutputStream();
    for (ParameterSpec spec : model.parameters().specs()) {
      model
          .parameters()
          .readBytes(
              spec.name(),
              bytes -> {
                byte[] part = new byte[bytes.remaining()];
                bytes.get(part);
                out.write(part);
              });
    }
    return out.toByteArray();
  }

  private static List<float[]> weights(Model model) {
    List<float[]> all = new ArrayList<>();
    for (ParameterSpec spec : model.parameters().specs()) {
      spec.parts().forEach(part -> all.add(model.parameters().read(Part.WEIGHT, part)));
    }
    return all;
  }

  private static void assertSameBits(List<float[]> expected, List<float[]> actual) {
    for (int i = 0; i < expected.size(); i++) {
      assertArrayEquals(expected.get(i), actual.get(i));
    }
  }

  @ParameterizedTest
  @MethodSource("all")
  void mergingMovesTheUpdatesAndUnmergingRestoresEveryBit(AdapterConfig config) {
    try (Device device = Device.cpu();
        TaskModel base = bert(device);
        TaskModel model = base.adapted(config, 1)) {
      disturb(model.adapter());
      List<float[]> before = weights(base);
      List<float[]> adapter = weights(model);
      float[] plain = outputs(base);
      float[] adapted = outputs(model);
      if (config instanceof BottleneckConfig) {
        assertThrows(IllegalArgumentException.class, () -> model.adapter().merge());
        return;
      }
      model.adapter().merge();
      assertTrue(model.adapter().isMerged());
      assertArrayEquals(adapted, outputs(base), 2e-5f);
      assertArrayEquals(adapted, outputs(model), 2e-5f);
      assertThrows(IllegalStateException.class, () -> model.adapter().merge());
      assertThrows(IllegalStateException.class, () -> PeftFiles.save(model, Path.of("nowhere")));
      model.adapter().unmerge();
      assertSameBits(before, weights(base));
      assertSameBits(adapter, weights(model));
      assertArrayEquals(plain, outputs(base));
      assertThrows(IllegalStateException.class, () -> model.adapter().unmerge());
    }
  }

  @Test
  void mergingTurnsTheUpdateOfWeightsThatLieTheOtherWay(@TempDir Path folder) throws IOException {
    try (Device device = Device.cpu();
        LanguageModel base = gpt(device, DType.F32)) {
      try (LanguageModel model =
          base.adapted(LoraConfig.of(3).withTargets(Targets.of("c_attn", "c_proj")), 1)) {
        disturb(model.adapter());
        float[] adapted = outputs(model);
        assertThrows(IllegalArgumentException.class, () -> ModelFiles.writeWeights(model, folder));
        model.adapter().merge();
        assertArrayEquals(adapted, outputs(base), 5e-5f);
      }
      // Closing the adapter leaves what is merged.
      ModelFiles.writeWeights(base, folder);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void equalSeedsGiveEqualAdaptersOfTheRightSpread(DType dtype) {
    LoraConfig config = LoraConfig.of(8).withTargets(Targets.of("c_attn", "mlp.c_proj"));
    try (Device device = Device.cpu();
        LanguageModel base = gpt(device, dtype);
        LanguageModel one = base.adapted(config, 1);
        LanguageModel same = base.adapted(config, 1);
        LanguageModel other = base.adapted(config, 2)) {
      assertSameBits(weights(one), weights(same));
      for (Adapter.Module module : one.adapter().modules()) {
        float[] a = one.parameters().read(Part.WEIGHT, module.a());
        float bound = (float) (1 / Math.sqrt((double) module.in())) * 1.01f;
        double squares = 0;
        for (float value : a) {
          assertTrue(Math.abs(value) <= bound);
          squares += value * value;
        }
        // Uniform in ±b has a variance of b² / 3.
        assertEquals(bound * bound / 3, squares / a.length, 0.1 * bound * bound / 3);
        assertFalse(Arrays.equals(a, other.parameters().read(Part.WEIGHT, module.a())));
        for (float value : one.parameters().read(Part.WEIGHT, module.b())) {
          assertEquals(0, value);
        }
      }
    }
  }

  @Test
  void bottlenecksBeginWithinTwoDeviations() {
    try (Device device = Device.cpu();
        TaskModel base = bert(device);
        TaskModel model = base.adapted(BottleneckConfig.of(64), 1)) {
      float[] up =
          model.parameters().read(Part.WEIGHT, "encoder.layer.1.output.dense.adapter_up.weight");
      double squares = 0;
      for (float value : up) {
        assertTrue(Math.abs(value) <= 0.02f);
        squares += value * value;
      }
      // Cut off at two deviations 0.774 of the variance is left.
      assertEquals(0.774e-4, squares / up.length, 0.05e-4);
      // Adapters, all norms, the head; the paper counts 2 m d + d + m for each of two a layer.
      int norms = 5 * 2 * 32;
      int head = 3 * 32 + 3;
      assertEquals(4 * (2 * 64 * 32 + 32 + 64) + norms + head, model.parameters().count());
    }
  }

  private static Set<String> paths(AdapterConfig config, Adaptable base) {
    Set<String> all = new TreeSet<>();
    for (AdapterPlan.Update update : AdapterPlan.of(base, config).updates()) {
      all.add(base.path(update.module()));
    }
    return all;
  }

  @Test
  void targetsAreFoundAsPeftFindsThem() {
    try (Device device = Device.cpu();
        TaskModel bert = bert(device);
        LanguageModel gpt = gpt(device, DType.F32)) {
      Adaptable b = bert.adaptable();
      Adaptable g = gpt.adaptable();
      String self = "bert.encoder.layer.%d.attention.self.";
      LoraConfig lora = LoraConfig.of(2);
      assertEquals(
          Set.of(
              self.formatted(0) + "query",
              self.formatted(0) + "value",
              self.formatted(1) + "query",
              self.formatted(1) + "value"),
          paths(lora, b));
      assertEquals(
          Set.of("transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"), paths(lora, g));
      assertEquals(
          Set.of("transformer.h.1.attn.c_proj", "transformer.h.1.mlp.c_proj"),
          paths(lora.withTargets(Targets.of("c_proj").inLayers(1)), g));
      assertEquals(
          Set.of("transformer.h.0.mlp.c_proj"),
          paths(lora.withTargets(Targets.matching(".*0\\.mlp\\.c_p.*")), g));
      // The whole path, not a part of it.
      assertThrows(
          IllegalArgumentException.class,
          () -> paths(lora.withTargets(Targets.matching("mlp.c_proj")), g));
      // What trains whole has no update, and a head is none of the usual dense layers.
      assertEquals(
          Set.of("bert.pooler.dense"),
          paths(
              lora.withTargets(Targets.of("pooler.dense", "classifier", "intermediate.dense"))
                  .withModulesToSave("intermediate"),
              b));
      IllegalArgumentException none =
          assertThrows(
              IllegalArgumentException.class,
              () -> paths(lora.withTargets(Targets.of("q_proj")), g));
      assertEquals(
          "the model has no module \"q_proj\"; its linear modules end in c_attn, c_fc, c_proj",
          none.getMessage());
    }
  }

  @Test
  void ranksAndAlphasOfAModuleAreThoseOfTheFirstPatternThatItsEndMatches() {
    LoraConfig config =
        new LoraConfig(
            8,
            16,
            0,
            false,
            Targets.USUAL,
            Map.of("h\\.1\\..*", 2),
            Map.of("c_proj", 5.0),
            List.of(),
            "");
    assertEquals(2, config.rank("transformer.h.1.attn.c_attn"));
    assertEquals(8, config.factor("transformer.h.1.attn.c_attn"));
    assertEquals(8, config.rank("transformer.h.0.attn.c_attn"));
    assertEquals(5.0 / 8, config.factor("transformer.h.0.mlp.c_proj"));
    assertEquals(16 / Math.sqrt(2), config.withRankStabilized().factor("h.1.attn.c_attn"), 1e-12);
  }

  @Test
  void aGptOfTheFirstFamilyNeedsTargets() {
    try (Device device = Device.cpu();
        LanguageModel gpt1 =
            LanguageModel.create(GPT.withFamily(Family.GPT1, 0), device, DType.F32, 4)) {
      IllegalArgumentException refused =
          assertThrows(IllegalArgumentException.class, () -> gpt1.adapted(LORA, 1));
      assertEquals(
          "there are no usual targets in openai-gpt; name some, as c_attn", refused.getMessage());
      try (LanguageModel adapted =
          gpt1.adapted(LoraConfig.of(2).withTargets(Targets.of("c_attn")), 1)) {
        assertThrows(IllegalArgumentException.class, () -> adapted.adapted(LORA, 1));
      }
      assertNull(gpt1.adapter());
    }
  }

  @Test
  void whatCannotTrainWholeIsRefused() {
    try (Device device = Device.cpu();
        TaskModel bert = bert(device)) {
      for (Map.Entry<String, String> wrong :
          Map.of(
                  "word_embeddings", "embeddings.word_embeddings.weight is a table of embeddings",
                  "self.query", "train together or not at all",
                  "lm_head", "the model has no module \"lm_head\" to train whole")
              .entrySet()) {
        String said =
            assertThrows(
                    IllegalArgumentException.class,
                    () -> bert.adapted(LoraConfig.of(2).withModulesToSave(wrong.getKey()), 1))
                .getMessage();
        assertTrue(said.contains(wrong.getValue()), said);
      }
      try (TaskModel all =
          bert.adapted(
              LoraConfig.of(2)
                  .withTargets(Targets.of("intermediate.dense"))
                  .withModulesToSave("attention"),
              1)) {
        assertArrayEquals(outputs(bert), outputs(all));
      }
    }
  }
}
