package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Recompute;
import dev.sinter.model.BertConfig;
import dev.sinter.model.GptConfig;
import dev.sinter.model.Head;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TrainingGraph;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The arithmetic of training by hand: 6 N + 6 L C T a token of a GPT. */
class FlopsTest {
  private static final int V = 61;
  private static final int C = 24;
  private static final int L = 2;
  private static final int B = 3;
  private static final int T = 10;
  private static final GptConfig GPT = GptConfig.of(V, 16, C, L, 3);

  /** Queries, keys and values, what they become, and the two of the feed-forward layer. */
  private static final double BLOCK = 3 * C * C + C * C + 4 * C * C + 4 * C * C;

  private static final double N = L * BLOCK + V * C;
  private static final double TOKEN = 6 * N + 6.0 * L * C * T;

  private static double ofGpt(GptConfig config, Recompute recompute) {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(config, device, DType.F32, 7);
        TrainingGraph graph = model.trainingGraph(B, T, 1, recompute, 5)) {
      return graph.graph().flops();
    }
  }

  @ParameterizedTest
  @EnumSource(Recompute.class)
  void ofAGptWhateverIsComputedAgain(Recompute recompute) {
    assertEquals(B * T * TOKEN, ofGpt(GPT, recompute));
    assertEquals(B * T * TOKEN, ofGpt(GPT.withDropout(0.1f), recompute));
  }

  @Test
  void ofGpt2WithItsWholeContext() {
    // 12 layers of width 768, vocabulary 50257; llm.c prints the same for its own count of N.
    double n = 12 * 12 * 768.0 * 768 + 50257 * 768.0;
    assertEquals(123_532_032, n);
    assertEquals(797_815_296, 6 * n + 6.0 * 12 * 768 * 1024);
  }

  @Test
  void aBandIsLessThanATriangle() {
    GptConfig banded = GPT.withFamily(GptConfig.Family.GPT3, 4);
    // The second layer's queries see 4 keys but for the first three: 4 - 4 * 4 / (2 * 10).
    double attention = 12.0 * C * (T / 2.0) + 12.0 * C * (4 - 0.8);
    assertEquals(B * T * (6 * N + attention), ofGpt(banded, Recompute.NONE), 1e-6);
  }

  @Test
  void anEncoderSeesAllKeysAndItsHeadTheMaskedWordsAlone() {
    int masked = 5;
    BertConfig config = BertConfig.of(V, T, C, L, 3);
    try (Device device = Device.cpu(1);
        TaskModel model = new TaskModel(config, Head.masked(), device, DType.F32).initialize(7);
        TaskGraph graph = model.trainingGraph(B, T, masked, 1, Recompute.NONE, 5)) {
      double words = masked * 6.0 * (C * C + V * C);
      assertEquals(B * T * (6 * L * BLOCK + 12.0 * L * C * T) + words, graph.graph().flops());
    }
  }

  @Test
  void anEncoderDecoderHasThreeAttentions() {
    int sources = 7;
    TransformerConfig config = TransformerConfig.of(V, 16, C, L, 3);
    try (Device device = Device.cpu(1);
        TransformerModel model = new TransformerModel(config, device, DType.F32).initialize(7);
        var graph = model.trainingGraph(B, sources, T, 0.1f, 1, Recompute.NONE, 5)) {
      double encoder = B * sources * (6 * L * BLOCK + 12.0 * L * C * sources);
      double own = 6 * (L * BLOCK + V * C) + 6.0 * L * C * T;
      // Across: queries and output of the decoder's tokens, keys and values of the encoder's.
      double across =
          B * T * (6.0 * L * 2 * C * C + 12.0 * L * C * sources)
              + B * sources * 6.0 * L * 2 * C * C;
      assertEquals(encoder + B * T * own + across, graph.graph().flops(), 1e-3);
    }
  }

  @Test
  void frozenWeightsHaveNoGradients() {
    try (Device device = Device.cpu(1);
        LanguageModel base = LanguageModel.create(GPT, device, DType.F32, 7);
        LanguageModel adapted = base.adapted(LoraConfig.of(2), 1);
        TrainingGraph graph = adapted.trainingGraph(B, T, 1, Recompute.NONE, 5)) {
      double whole = B * T * TOKEN;
      assertTrue(graph.graph().flops() > 0.5 * whole && graph.graph().flops() < 0.75 * whole);
    }
  }

  @Test
  void aStepCountsAllItsPasses() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(GPT, device, DType.F32, 7);
        TrainingGraph graph = model.trainingGraph(B, T, 2, Recompute.NONE, 5)) {
      TrainingLoop loop = new TrainingLoop(model, AdamW.of(Schedule.constant(1e-3)), 3, 2);
      for (int i = 1; i <= 3; i++) {
        Step step = loop.step(graph::run, 2L * B * T);
        assertEquals(2 * B * T * TOKEN, step.flops());
        assertEquals(step.flops() / step.seconds(), step.flopsPerSecond());
        assertEquals(i * step.flops(), model.parameters().flops());
      }
    }
  }
}
