package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class LearningTest {
  private static final GptConfig TINY = GptConfig.of(61, 33, 24, 2, 3);

  /** Trains on one batch and returns the losses. */
  private static float[] losses(
      GptConfig config,
      Device device,
      DType dtype,
      Recompute recompute,
      int accumulate,
      int steps) {
    try (LanguageModel model = LanguageModel.create(config, device, dtype, 7);
        TrainingGraph graph = model.trainingGraph(4 / accumulate, 33, accumulate, recompute, 5)) {
      int[] text = new Random(3).ints(4 * 34, 0, 61).toArray();
      float[] losses = new float[steps];
      for (int step = 0; step < steps; step++) {
        for (int micro = 0; micro < accumulate; micro++) {
          for (int row = 0; row < 4 / accumulate; row++) {
            int from = (micro * (4 / accumulate) + row) * 34;
            graph.tokens().position(row * 33).put(text, from, 33);
            graph.targets().position(row * 33).put(text, from + 1, 33);
          }
          losses[step] += graph.run(step, micro > 0) / accumulate;
        }
        model.parameters().gradientNorm();
        model
            .parameters()
            .update(new Parameters.AdamW(3e-3f, 0.9f, 0.99f, 1e-8f, 0.1f, 1), step + 1);
      }
      return losses;
    }
  }

  @ParameterizedTest
  @CsvSource({"F32, 0.0", "BF16, 0.0", "F32, 0.2"})
  void aModelLearnsABatchByHeart(DType dtype, float dropout) {
    try (Device device = Device.cpu()) {
      float[] losses = losses(TINY.withDropout(dropout), device, dtype, Recompute.NONE, 1, 60);
      // New logits have a variance of width deviation²: their mean loss is half of it above
      // log(61).
      double variance = TINY.width() * Math.pow(TINY.initialDeviation(), 2);
      assertEquals(Math.log(61) + variance / 2, losses[0], 0.1);
      assertTrue(losses[59] < losses[0] - (dropout > 0 ? 0.5 : 1.5), "last loss " + losses[59]);
    }
  }

  @ParameterizedTest
  @EnumSource(Recompute.class)
  void recomputationChangesNoBit(Recompute recompute) {
    try (Device device = Device.cpu()) {
      GptConfig config = TINY.withDropout(0.1f);
      assertArrayEquals(
          losses(config, device, DType.F32, Recompute.NONE, 1, 5),
          losses(config, device, DType.F32, recompute, 1, 5));
    }
  }

  @Test
  void lossesAreTheSameBitsWithAnyNumberOfThreads() {
    float[][] losses = new float[3][];
    for (int threads = 1; threads <= 3; threads++) {
      try (Device device = Device.cpu(threads)) {
        losses[threads - 1] = losses(TINY, device, DType.F32, Recompute.NONE, 1, 5);
      }
    }
    assertArrayEquals(losses[0], losses[1]);
    assertArrayEquals(losses[0], losses[2]);
  }

  @Test
  void accumulatedMicroBatchesEqualOneBatch() {
    try (Device device = Device.cpu()) {
      assertArrayEquals(
          losses(TINY, device, DType.F32, Recompute.NONE, 1, 5),
          losses(TINY, device, DType.F32, Recompute.NONE, 4, 5),
          1e-4f);
    }
  }

  @Test
  void cachedLogitsEqualThoseOfTheWholeSequence() {
    try (Device device = Device.cpu();
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        EvaluationGraph whole = model.logitsGraph(1, 33);
        Decoder decoder = model.decoder(1, 33)) {
      int[] text = new Random(3).ints(33, 0, 61).toArray();
      whole.tokens().put(text);
      float[] expected = new float[33 * 61];
      whole.run().get(expected);
      float[] actual = new float[33 * 61];
      int at = 0;
      for (int count : new int[] {1, 7, 1, 1, 20, 3}) {
        decoder
            .logits(java.util.Arrays.copyOfRange(text, at, at + count))
            .get(actual, at * 61, count * 61);
        at += count;
      }
      assertArrayEquals(expected, actual, 2e-5f);
    }
  }
}
