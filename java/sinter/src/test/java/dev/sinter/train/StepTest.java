package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.model.BertConfig;
import dev.sinter.model.GptConfig;
import dev.sinter.model.Head;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TrainingGraph;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A step of training as one run of its graph: norm, clipping and update included. */
class StepTest {
  private static final GptConfig TINY = GptConfig.of(61, 40, 24, 2, 3);
  private static final int BATCH = 2;
  private static final int LENGTH = 9;

  /** What a training leaves behind: losses and norms in turn, then all weights. */
  private static float[] trained(int accumulate, boolean apart, double clip) {
    List<Float> all = new ArrayList<>();
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY.withDropout(0.1f), device, DType.BF16, 7);
        TrainingGraph graph = graph(model, accumulate)) {
      AdamW optimizer = AdamW.of(Schedule.cosine(1e-2, 1e-3).warmup(2)).withClip(clip);
      TrainingLoop loop = new TrainingLoop(model, optimizer, 6, accumulate);
      while (loop.goesOn()) {
        Step step =
            loop.step(
                (number, more, update) -> {
                  fill(graph, number);
                  return apart ? graph.run(number, more) : graph.run(number, more, update);
                },
                1);
        all.add((float) step.loss());
        all.add((float) step.gradientNorm());
      }
      return with(all, weights(model));
    }
  }

  private static TrainingGraph graph(LanguageModel model, int accumulate) {
    return model.trainingGraph(BATCH, LENGTH, accumulate, Recompute.NONE, 5);
  }

  private static void fill(TrainingGraph graph, long number) {
    Random random = new Random(number);
    graph.tokens().put(random.ints(BATCH * LENGTH, 0, 61).toArray());
    graph.targets().put(random.ints(BATCH * LENGTH, 0, 61).toArray());
  }

  private static float[] weights(LanguageModel model) {
    return model.parameters().read(Parameters.Part.WEIGHT, "h.1.mlp.c_proj.weight");
  }

  private static float[] with(List<Float> first, float[] then) {
    float[] all = new float[first.size() + then.length];
    for (int i = 0; i < first.size(); i++) {
      all[i] = first.get(i);
    }
    System.arraycopy(then, 0, all, first.size(), then.length);
    return all;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3})
  void anUpdateWithinTheRunGivesTheBitsOfOneBehindIt(int accumulate) {
    for (double clip : new double[] {0, 0.5}) {
      assertArrayEquals(trained(accumulate, true, clip), trained(accumulate, false, clip));
    }
  }

  @Test
  void weightsStayAsTheyWereWhereTheGradientsAreNotFinite() {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        TrainingGraph graph = graph(model, 1)) {
      float[] scales = model.parameters().read(Parameters.Part.WEIGHT, "ln_f.weight");
      Arrays.fill(scales, Float.NaN);
      model.parameters().write(Parameters.Part.WEIGHT, "ln_f.weight", scales);
      float[] before = weights(model);
      TrainingLoop loop = new TrainingLoop(model, AdamW.of(Schedule.constant(0.1)), 1, 1);
      fill(graph, 0);
      assertThrows(DivergedException.class, () -> loop.step(graph::run, 1));
      assertArrayEquals(before, weights(model));
      assertEquals(0, loop.done());
    }
  }

  @Test
  void aGraphThatDoesNotTrainTakesNoUpdate() {
    Parameters.Update update =
        new Parameters.Update(new Parameters.AdamW(1e-3f, 0.9f, 0.99f, 1e-8f, 0, 1), 1);
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        var graph = model.lossGraph(1, LENGTH)) {
      assertThrows(IllegalStateException.class, () -> graph.graph().run(0, false, update, null));
      assertFalse(update.taken());
    }
  }

  @Test
  void anUpdateWaitsForAllLosses() {
    BertConfig config = BertConfig.of(61, LENGTH, 24, 1, 3);
    try (Device device = Device.cpu(1);
        TaskModel model =
            new TaskModel(config, Head.pretraining(), device, DType.F32).initialize(7);
        TaskGraph graph = model.trainingGraph(BATCH, LENGTH, 3, 1, Recompute.NONE, 5)) {
      graph.targets().put(new int[] {3, 1, 4});
      graph.nextTargets().put(new int[] {0, 1});
      TrainingLoop loop = new TrainingLoop(model, AdamW.of(Schedule.constant(0.1)), 2, 1);
      Step step =
          loop.step(
              (number, more, update) -> {
                double loss = graph.run(number, more, update);
                assertTrue(update.taken());
                return loss;
              },
              1);
      assertEquals(Math.log(61) + Math.log(2), step.loss(), 0.5);
      String moved = "encoder.layer.0.output.dense.weight";
      float[] before = model.parameters().read(Parameters.Part.WEIGHT, moved);
      // Of the second loss alone.
      graph.nextWeights().put(0, Float.POSITIVE_INFINITY);
      assertThrows(DivergedException.class, () -> loop.step(graph::run, 1));
      assertArrayEquals(before, model.parameters().read(Parameters.Part.WEIGHT, moved));
    }
  }

  private static long count(TrainingGraph graph, String operation) {
    String line = " *\\d+ " + operation + " .*";
    return graph.graph().describe().lines().filter(text -> text.matches(line)).count();
  }

  @Test
  void layerNormsAddUpTheGradientsOfTheBiasesBehindThem() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        TrainingGraph graph = graph(model, 1)) {
      // Of four biases a layer, those of both projections into the residual stream: what reaches
      // them is what the next layer norm writes.
      assertEquals(2 * 2, count(graph, "bias_backward"));
      assertEquals(5, count(graph, "layer_norm_backward"));
      assertTrue(
          graph
              .graph()
              .describe()
              .lines()
              .anyMatch(line -> line.matches(".* layer_norm_backward .*d h.0.attn.c_proj.bias.*")));
    }
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY.withDropout(0.5f), device, DType.F32, 7);
        TrainingGraph graph = graph(model, 1)) {
      // Dropout stands between.
      assertEquals(4 * 2, count(graph, "bias_backward"));
    }
  }
}
