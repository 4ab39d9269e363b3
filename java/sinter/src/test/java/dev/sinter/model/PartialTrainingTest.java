package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.Activation;
import dev.sinter.graph.AdaptedWeights;
import dev.sinter.graph.Bottleneck;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.LowRank;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.WeightFormat;
import dev.sinter.graph.Weights;
import dev.sinter.model.GptConfig.Family;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.DoubleSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What trains where not all of a model does: frozen layers, adapters beside a base. */
class PartialTrainingTest {
  private static final GptConfig TINY = GptConfig.of(37, 12, 16, 2, 2);
  private static final int WIDTH = 16;
  private static final int RANK = 3;

  private static void fill(TrainingGraph graph, int seed) {
    int count = graph.tokens().capacity();
    int[] text = new Random(seed).ints(count + 1, 0, TINY.vocabulary()).toArray();
    graph.tokens().put(0, text, 0, count);
    graph.targets().put(0, text, 1, count);
  }

  /**
   * Low-rank updates of all kinds of products, singular values, part of the columns, a bottleneck.
   */
  private static AdaptedWeights adapt(Weights base) {
    List<ParameterSpec> added = new ArrayList<>();
    added.add(ParameterSpec.normal("qkv.A", 0.5f, RANK, WIDTH));
    added.add(ParameterSpec.normal("qkv.B", 0.5f, 3 * WIDTH, RANK));
    added.add(ParameterSpec.normal("values.A", 0.5f, RANK, WIDTH));
    added.add(ParameterSpec.normal("values.B", 0.5f, WIDTH, RANK));
    added.add(ParameterSpec.normal("values.E", 0.5f, RANK, 1));
    added.add(ParameterSpec.normal("up.A", 0.5f, RANK, WIDTH));
    added.add(ParameterSpec.normal("up.B", 0.5f, 4 * WIDTH, RANK));
    added.add(ParameterSpec.normal("down.A", 0.5f, RANK, 4 * WIDTH));
    added.add(ParameterSpec.normal("down.B", 0.5f, WIDTH, RANK));
    added.add(ParameterSpec.normal("narrow.weight", 0.5f, 5, WIDTH));
    added.add(ParameterSpec.normal("narrow.bias", 0.5f, 5));
    added.add(ParameterSpec.normal("wide.weight", 0.5f, WIDTH, 5));
    added.add(ParameterSpec.normal("wide.bias", 0.5f, WIDTH));
    added.add(
        new ParameterSpec(
            "h.1.ln_1.weight", new long[] {WIDTH}, 1, 0.1f, List.of("h.1.ln_1.weight"), null));
    Map<String, List<LowRank>> lowRanks =
        Map.of(
            "h.0.attn.c_attn.weight",
            List.of(
                new LowRank("qkv.A", "qkv.B", null, 0.7f, 0, 0, 3 * WIDTH),
                new LowRank("values.A", "values.B", "values.E", 1.5f, 0, 2 * WIDTH, WIDTH)),
            "h.1.mlp.c_fc.weight",
            List.of(new LowRank("up.A", "up.B", null, 0.5f, 0, 0, 4 * WIDTH)),
            "h.1.mlp.c_proj.weight",
            List.of(new LowRank("down.A", "down.B", null, 0.5f, 0, 0, WIDTH)));
    Map<String, Bottleneck> bottlenecks =
        Map.of("h.1.attn.c_proj", new Bottleneck("narrow", "wide", Activation.GELU_TANH));
    AdaptedWeights adapted = new AdaptedWeights(base, added, lowRanks, bottlenecks);
    adapted.added().initialize(7);
    return adapted;
  }

  /** Central differences of a loss by some elements of each parameter, beside the gradients. */
  private static void checkGradients(Parameters parameters, DoubleSupplier loss, double tolerance) {
    for (ParameterSpec spec : parameters.specs()) {
      float[] gradient = parameters.read(Part.GRADIENT, spec.name());
      float[] weight = parameters.read(Part.WEIGHT, spec.name());
      double most = 0;
      for (float g : gradient) {
        most = Math.max(most, Math.abs(g));
      }
      assertTrue(most > 0, spec.name() + " has no gradient");
      for (int i = 0; i < weight.length; i += Math.max(1, weight.length / 5)) {
        float at = weight[i];
        float h = 3e-3f;
        weight[i] = at + h;
        parameters.write(Part.WEIGHT, spec.name(), weight);
        double above = loss.getAsDouble();
        weight[i] = at - h;
        parameters.write(Part.WEIGHT, spec.name(), weight);
        double below = loss.getAsDouble();
        weight[i] = at;
        parameters.write(Part.WEIGHT, spec.name(), weight);
        assertEquals(
            (above - below) / (2 * h), gradient[i], tolerance * most + 2e-4, spec.name() + " " + i);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void gradientsOfAllThatIsAddedAreThoseOfTheLoss(Family family) {
    for (Recompute recompute : Recompute.values()) {
      try (Device device = Device.cpu();
          LanguageModel base =
              LanguageModel.create(
                  TINY.withFamily(family, family == Family.GPT3 ? 5 : 0), device, DType.F32, 5);
          LanguageModel model =
              new LanguageModel(base.config(), device, adapt(base.parameters()), null);
          TrainingGraph graph = model.trainingGraph(2, 12, 1, recompute, 1)) {
        fill(graph, 8);
        graph.run(0, false);
        checkGradients(model.parameters(), () -> graph.run(0, false), 2e-2);
        assertThrows(
            IllegalStateException.class,
            () ->
                base.parameters()
                    .read(Part.GRADIENT, base.parameters().specs().get(0).name(), v -> {}));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void anAdapterOverPackedWeightsTrainsAndLeavesThemAsTheyAre(WeightFormat format)
      throws IOException {
    GptConfig config = GptConfig.of(37, 12, 32, 2, 2);
    try (Device device = Device.cpu();
        FrozenModel base = FrozenModel.create(config, device, format, 3)) {
      byte[] before = bytes(base);
      List<ParameterSpec> added =
          List.of(
              ParameterSpec.normal("A", 0.3f, RANK, 32), ParameterSpec.constant("B", 0, 96, RANK));
      AdaptedWeights adapted =
          new AdaptedWeights(
              base.parameters(),
              added,
              Map.of("h.1.attn.c_attn.weight", List.of(new LowRank("A", "B", null, 2, 0, 0, 96))),
              Map.of());
      adapted.added().initialize(4);
      try (LanguageModel model = new LanguageModel(config, device, adapted, null);
          TrainingGraph graph = model.trainingGraph(2, 12, 1, Recompute.NONE, 1)) {
        fill(graph, 8);
        float first = graph.run(0, false);
        float last = first;
        for (int step = 1; step <= 60; step++) {
          model.parameters().gradientNorm();
          model.parameters().update(new Parameters.AdamW(2e-2f, 0.9f, 0.999f, 1e-8f, 0, 0), step);
          last = graph.run(step, false);
        }
        assertTrue(last < first - 0.2, first + " to " + last);
        checkGradients(model.parameters(), () -> graph.run(0, false), 2e-2);
      }
      assertArrayEquals(before, bytes(base));
    }
  }

  private static byte[] bytes(FrozenModel model) throws IOException {
    var out = new java.io.ByteArrayOutputStream();
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

  @Test
  void frozenParametersStayAndTheOthersLearnAsTheyWould() {
    try (Device device = Device.cpu();
        LanguageModel all = LanguageModel.create(TINY, device, DType.F32, 5);
        LanguageModel part = LanguageModel.create(TINY, device, DType.F32, 5)) {
      part.parameters().enableTraining(name -> name.startsWith("h.1.") || name.startsWith("ln_f"));
      try (TrainingGraph a = all.trainingGraph(2, 12, 1, Recompute.NONE, 1);
          TrainingGraph b = part.trainingGraph(2, 12, 1, Recompute.NONE, 1)) {
        fill(a, 2);
        fill(b, 2);
        assertEquals(a.run(0, false), b.run(0, false));
        assertTrue(b.graph().describe().lines().count() < a.graph().describe().lines().count());
        float[] before = part.parameters().read(Part.WEIGHT, "h.0.mlp.c_fc.weight");
        for (ParameterSpec spec : part.parameters().specs()) {
          if (part.parameters().isTrained(spec.name())) {
            assertArrayEquals(
                all.parameters().read(Part.GRADIENT, spec.name()),
                part.parameters().read(Part.GRADIENT, spec.name()),
                spec.name());
          }
        }
        assertEquals(WIDTH * WIDTH * 12 + 13 * WIDTH + 2 * WIDTH, part.parameters().trainedCount());
        part.parameters().gradientNorm();
        part.parameters().update(new Parameters.AdamW(1e-2f, 0.9f, 0.9f, 1e-8f, 0.1f, 1), 1);
        assertArrayEquals(before, part.parameters().read(Part.WEIGHT, "h.0.mlp.c_fc.weight"));
        assertFalse(
            all.parameters().read(Part.WEIGHT, "ln_f.bias")[3]
                == part.parameters().read(Part.WEIGHT, "ln_f.bias")[3]);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aFactorOfTheLearningRateIsWhatAnUpdateIsMultipliedBy(DType dtype) {
    try (Device device = Device.cpu();
        LanguageModel plain = LanguageModel.create(TINY, device, dtype, 5);
        LanguageModel scaled = LanguageModel.create(TINY, device, dtype, 5);
        TrainingGraph a = plain.trainingGraph(2, 12, 1, Recompute.NONE, 1);
        TrainingGraph b = scaled.trainingGraph(2, 12, 1, Recompute.NONE, 1)) {
      scaled.parameters().learningRates(name -> name.startsWith("h.0.") ? 0.5 : 1);
      fill(a, 2);
      fill(b, 2);
      a.run(0, false);
      b.run(0, false);
      String halved = "h.0.attn.c_proj.weight";
      float[] before = plain.parameters().read(Part.WEIGHT, halved);
      Parameters.AdamW settings = new Parameters.AdamW(1e-2f, 0.9f, 0.9f, 1e-8f, 0.1f, 0);
      plain.parameters().update(settings, 1);
      scaled.parameters().update(settings, 1);
      float[] whole = plain.parameters().read(Part.WEIGHT, halved);
      float[] half = scaled.parameters().read(Part.WEIGHT, halved);
      for (int i = 0; i < whole.length; i++) {
        assertEquals(0.5 * (whole[i] - before[i]), half[i] - before[i], 1e-6);
      }
      for (String same : List.of("wte.weight", "h.1.mlp.c_proj.bias", "ln_f.weight")) {
        assertArrayEquals(
            plain.parameters().read(Part.WEIGHT, same),
            scaled.parameters().read(Part.WEIGHT, same),
            same);
      }
      assertThrows(
          IllegalArgumentException.class, () -> scaled.parameters().learningRates(name -> -1));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aLossThatTheCallerComputesHasTheGradientsOfTheSameLossInTheGraph(DType dtype) {
    try (Device device = Device.cpu();
        LanguageModel model = LanguageModel.create(TINY, device, dtype, 5);
        TrainingGraph graph = model.trainingGraph(2, 12, 1, Recompute.NONE, 1)) {
      fill(graph, 2);
      float loss = graph.run(0, false);
      float[] expected = model.parameters().read(Part.GRADIENT, "h.0.mlp.c_fc.weight");
      for (Recompute recompute : Recompute.values()) {
        try (LikelihoodGraph halves = model.likelihoodGraph(2, 12, recompute, 1)) {
          assertThrows(IllegalStateException.class, () -> halves.backward(false));
          halves.tokens().put(0, graph.tokens(), 0, 24);
          halves.targets().put(0, graph.targets(), 0, 24);
          halves.forward(0);
          double sum = 0;
          for (int i = 0; i < 24; i++) {
            sum += halves.losses().get(i) / 24;
            halves.gradient().put(i, 1f / 24);
          }
          halves.backward(false);
          assertEquals(loss, sum, 1e-5);
          float[] actual = model.parameters().read(Part.GRADIENT, "h.0.mlp.c_fc.weight");
          assertArrayEquals(expected, actual, dtype == DType.F32 ? 1e-7f : 1e-4f);
          assertThrows(IllegalStateException.class, () -> halves.backward(false));
        }
      }
    }
  }

  private static double weighted(TaskGraph graph) {
    graph.forward(0);
    double loss = 0;
    for (int i = 0; i < 2 * WIDTH; i++) {
      loss += (i + 1) * graph.outputs().get(i);
    }
    return loss;
  }

  @Test
  void aHeadsOutputsGiveTheCallersLossItsGradients() {
    try (Device device = Device.cpu();
        TaskModel model = new TaskModel(TINY, Head.sequence(1), device, DType.F32).initialize(3);
        TaskModel mean = model.withHead(Head.mean());
        TaskGraph graph = mean.outputGraph(2, 5, Recompute.NONE, 1)) {
      graph.tokens().put(0, new int[] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
      graph.lengths().put(1, 3);
      weighted(graph);
      for (int i = 0; i < 2 * WIDTH; i++) {
        graph.outputGradients().put(i, i + 1);
      }
      graph.backward(false);
      float[] gradient = model.parameters().read(Part.GRADIENT, "wpe.weight");
      float[] table = model.parameters().read(Part.WEIGHT, "wpe.weight");
      for (int place : new int[] {0, WIDTH + 3, 4 * WIDTH + 7}) {
        float at = table[place];
        table[place] = at + 1e-2f;
        model.parameters().write(Part.WEIGHT, "wpe.weight", table);
        double above = weighted(graph);
        table[place] = at - 1e-2f;
        model.parameters().write(Part.WEIGHT, "wpe.weight", table);
        double slope = (above - weighted(graph)) / 2e-2;
        table[place] = at;
        assertEquals(slope, gradient[place], 0.02 * Math.abs(slope) + 0.2);
      }
    }
  }
}
