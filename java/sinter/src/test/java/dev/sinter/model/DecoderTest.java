package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Sequences of one cache that part ways. */
class DecoderTest {
  private static final GptConfig TINY = GptConfig.of(61, 40, 24, 2, 3);

  private static int[][] prompts(int... lengths) {
    Random random = new Random(3);
    return Arrays.stream(lengths)
        .mapToObj(length -> random.ints(length, 0, 61).toArray())
        .toArray(int[][]::new);
  }

  /** The logits after a sequence and some tokens behind it, alone. */
  private static float[] alone(LanguageModel model, int[] prompt, int... behind) {
    try (Decoder decoder = model.decoder(1, 40)) {
      float[][] logits = new float[1][61];
      decoder.lastLogits(new int[][] {prompt}, logits);
      for (int token : behind) {
        decoder.lastLogits(new int[] {token}, logits);
      }
      return logits[0];
    }
  }

  private static void assertReorders(Device device, DType dtype, int[] parents) {
    try (LanguageModel model = LanguageModel.create(TINY, device, dtype, 7);
        Decoder decoder = model.decoder(4, 40)) {
      int[][] prompts = prompts(5, 2, 9, 7);
      float[][] logits = new float[4][61];
      float tolerance = dtype == DType.F32 ? 1e-5f : 2e-2f;
      decoder.lastLogits(prompts, logits);
      for (int i = 0; i < 4; i++) {
        assertArrayEquals(alone(model, prompts[i]), logits[i], tolerance, "sequence " + i);
      }
      int[] origin = {0, 1, 2, 3};
      int[][] behind = new int[4][0];
      for (int step = 0; step < 4; step++) { // a GPU replays a recording from the third run on
        int[] tokens = {7 + step, 11, 13, 17};
        decoder.reorder(parents);
        decoder.lastLogits(tokens, logits);
        int[] from = origin.clone();
        int[][] before = behind.clone();
        for (int i = 0; i < 4; i++) {
          origin[i] = from[parents[i]];
          int[] path = before[parents[i]];
          behind[i] = Arrays.copyOf(path, path.length + 1);
          behind[i][path.length] = tokens[i];
        }
        for (int i = 0; i < 4; i++) {
          float[] expected = alone(model, prompts[origin[i]], behind[i]);
          assertArrayEquals(expected, logits[i], tolerance, "sequence " + i + " step " + step);
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"0 1 2 3", "1 0 3 2", "1 2 3 0", "2 2 2 2", "3 0 0 1", "0 0 1 2", "1 1 3 3"})
  void aSequenceGoesOnFromItsParent(String parents) {
    int[] ids = Arrays.stream(parents.split(" ")).mapToInt(Integer::parseInt).toArray();
    try (Device device = Device.cpu(2)) {
      assertReorders(device, DType.F32, ids);
      assertReorders(device, DType.BF16, ids);
    }
  }

  /** For the CUDA backend as well: see CudaTest. */
  static void assertSequencesPartOn(Device device) {
    assertReorders(device, DType.F32, new int[] {1, 2, 0, 0});
    assertDrawsAsAlone(device, DType.F32);
  }

  @Test
  void parentsThatAreNotThereAreRefused() {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        Decoder decoder = model.decoder(2, 40)) {
      assertThrows(IllegalArgumentException.class, () -> decoder.reorder(new int[] {0, 2}));
      assertThrows(IllegalArgumentException.class, () -> decoder.reorder(new int[] {0}));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void sequencesWithSeedsOfTheirOwnDrawAsAlone(DType dtype) {
    try (Device device = Device.cpu(2)) {
      assertDrawsAsAlone(device, dtype);
    }
  }

  private static void assertDrawsAsAlone(Device device, DType dtype) {
    int[][] prompts = prompts(3, 7, 2);
    long[] seeds = {5, 1L << 40, -3};
    try (LanguageModel model = LanguageModel.create(TINY, device, dtype, 7);
        Decoder together = model.decoder(3, 40)) {
      together.sampler().seeds(seeds);
      together.sampler().set(1, 1, 0, 1, 0);
      int[][] tokens = new int[5][];
      for (int step = 0; step < 5; step++) {
        tokens[step] =
            (step == 0 ? together.next(prompts, 0) : together.next(tokens[step - 1], step)).clone();
      }
      for (int i = 0; i < 3; i++) {
        try (Decoder alone = model.decoder(1, 40)) {
          alone.sampler().seed(seeds[i]);
          alone.sampler().set(1, 1, 0, 1, 0);
          int[] fed = prompts[i];
          for (int step = 0; step < 5; step++) {
            fed = alone.next(fed, step).clone();
            assertEquals(fed[0], tokens[step][i], "sequence " + i + " step " + step);
          }
          assertEquals(alone.logprob(0), together.logprob(i), 1e-4);
        }
      }
    }
  }

  @Test
  void aPromptIsComputedOnceForAllSequences() {
    int[] prompt = prompts(9)[0];
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        Decoder decoder = model.decoder(3, 40)) {
      float[][] logits = new float[3][61];
      decoder.start(prompt, logits[0]);
      assertArrayEquals(alone(model, prompt), logits[0], 1e-5f);
      decoder.lastLogits(new int[] {1, 2, 3}, logits);
      for (int i = 0; i < 3; i++) {
        assertArrayEquals(alone(model, prompt, i + 1), logits[i], 1e-5f);
      }
    }
  }

  @Test
  void severalTokensNeedSequencesOfOneLength() {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        Decoder decoder = model.decoder(2, 40)) {
      decoder.lastLogits(prompts(5, 2), new float[2][61]);
      assertThrows(IllegalArgumentException.class, () -> decoder.next(new int[4], 0));
    }
  }

  @Test
  void whatIsClosedIsNotUsed() {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7)) {
      Decoder decoder = model.decoder(1, 40);
      decoder.next(new int[] {3}, 0);
      decoder.close();
      decoder.close();
      assertThrows(IllegalStateException.class, () -> decoder.next(new int[] {3}, 0));
      assertThrows(IllegalStateException.class, () -> decoder.next(new int[] {3, 4}, 0));
      assertThrows(IllegalStateException.class, () -> decoder.start(new int[] {3}, new float[61]));
      assertThrows(IllegalStateException.class, () -> decoder.logits(new int[] {3}));
      assertThrows(IllegalStateException.class, () -> decoder.reorder(new int[] {0}));
    }
  }
}
