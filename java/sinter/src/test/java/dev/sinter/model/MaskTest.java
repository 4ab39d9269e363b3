package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig.Family;
import java.nio.FloatBuffer;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What each position of each family may see. */
class MaskTest {
  private static final int VOCABULARY = 29;
  private static final int LENGTH = 40;

  private static GptConfig config(Family family, int window) {
    return GptConfig.of(VOCABULARY, LENGTH, 32, 4, 2).withFamily(family, window);
  }

  private static int[] tokens(int seed) {
    int[] tokens = new int[LENGTH];
    for (int i = 0; i < LENGTH; i++) {
      tokens[i] = Math.floorMod(i * 31 + i * i * 7 + seed, VOCABULARY);
    }
    return tokens;
  }

  private static float[] logits(GptConfig config, int[] tokens) {
    try (Device device = Device.cpu();
        LanguageModel model = LanguageModel.create(config, device, DType.F32, 5);
        EvaluationGraph graph = model.logitsGraph(1, LENGTH)) {
      graph.tokens().put(0, tokens);
      float[] values = new float[LENGTH * VOCABULARY];
      graph.run().get(values);
      return values;
    }
  }

  private static float[] row(float[] logits, int place) {
    return Arrays.copyOfRange(logits, place * VOCABULARY, (place + 1) * VOCABULARY);
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void changingALaterTokenNeverChangesAnEarlierLogit(Family family) {
    GptConfig config = config(family, family == Family.GPT3 ? 7 : 0);
    float[] before = logits(config, tokens(1));
    for (int place : new int[] {1, 17, LENGTH - 1}) {
      int[] changed = tokens(1);
      changed[place] = (changed[place] + 1) % VOCABULARY;
      float[] after = logits(config, changed);
      for (int i = 0; i < place; i++) {
        assertArrayEquals(row(before, i), row(after, i), "place " + i);
      }
      assertFalse(Arrays.equals(row(before, place), row(after, place)));
    }
  }

  @Test
  void aBandAsWideAsTheTextEqualsDenseAttention() {
    float[] dense = logits(config(Family.GPT2, 0), tokens(2));
    assertArrayEquals(dense, logits(config(Family.GPT3, LENGTH), tokens(2)));
    assertArrayEquals(dense, logits(config(Family.GPT3, 10 * LENGTH), tokens(2)));
    assertFalse(Arrays.equals(dense, logits(config(Family.GPT3, LENGTH - 1), tokens(2))));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3})
  void aBandedModelDecodesOverItsCacheAsItComputesTheWhole(int window) {
    GptConfig config = GptConfig.of(VOCABULARY, LENGTH, 32, 2, 2).withFamily(Family.GPT3, window);
    try (Device device = Device.cpu();
        LanguageModel model = LanguageModel.create(config, device, DType.F32, 5);
        EvaluationGraph graph = model.logitsGraph(1, LENGTH);
        Decoder decoder = model.decoder(1, LENGTH)) {
      graph.tokens().put(0, tokens(3));
      float[] whole = new float[LENGTH * VOCABULARY];
      graph.run().get(whole);
      for (int i = 0; i < LENGTH; i++) {
        FloatBuffer next = decoder.logits(new int[] {tokens(3)[i]});
        for (int j = 0; j < VOCABULARY; j++) {
          assertEquals(whole[i * VOCABULARY + j], next.get(j), 1e-5, "place " + i);
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 5, 39})
  void paddingNeverChangesARealTokensOutput(int length) {
    BertConfig config = BertConfig.of(VOCABULARY, LENGTH, 32, 2, 2).withDropout(0);
    try (Device device = Device.cpu();
        TaskModel model = new TaskModel(config, Head.tokens(3), device, DType.F32).initialize(5);
        TaskGraph alone = model.graph(1, length, 0);
        TaskGraph padded = model.graph(2, LENGTH, 0)) {
      alone.tokens().put(0, tokens(4), 0, length);
      padded.lengths().put(0, length);
      for (int i = 0; i < LENGTH; i++) {
        padded.tokens().put(i, i < length ? tokens(4)[i] : VOCABULARY - 1 - i % 7);
        padded.tokens().put(LENGTH + i, tokens(9)[i]);
      }
      alone.run(0, false);
      padded.run(0, false);
      double most = 0;
      for (int i = 0; i < 3 * length; i++) {
        most = Math.max(most, Math.abs(alone.outputs().get(i) - padded.outputs().get(i)));
      }
      assertTrue(most < 1e-5, "off by " + most);
    }
  }

  @Test
  void aLaterTokenDoesChangeWhatBertMakesOfAnEarlierOne() {
    BertConfig config = BertConfig.of(VOCABULARY, LENGTH, 32, 2, 2).withDropout(0);
    try (Device device = Device.cpu();
        TaskModel model = new TaskModel(config, Head.tokens(3), device, DType.F32).initialize(5);
        TaskGraph graph = model.graph(1, LENGTH, 0)) {
      graph.tokens().put(0, tokens(4));
      graph.run(0, false);
      float before = graph.outputs().get(0);
      graph.tokens().put(LENGTH - 1, (tokens(4)[LENGTH - 1] + 1) % VOCABULARY);
      graph.run(0, false);
      assertFalse(before == graph.outputs().get(0));
    }
  }
}
