package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Rows that decode together get what each would get alone. */
class BatchTest {
  private static final int VOCABULARY = 61;

  private static Device device;
  private static LanguageModel model;

  @BeforeAll
  static void makeAModel() {
    device = Device.cpu(2);
    model = model(device, DType.F32, 48);
  }

  @AfterAll
  static void closeIt() {
    model.close();
    device.close();
  }

  static LanguageModel model(Device device, DType dtype, int context) {
    return LanguageModel.create(GptConfig.of(VOCABULARY, context, 24, 2, 3), device, dtype, 7);
  }

  private static List<int[]> prompts(int... lengths) {
    Random random = new Random(3);
    List<int[]> all = new ArrayList<>();
    for (int length : lengths) {
      all.add(random.ints(length, 0, VOCABULARY).toArray());
    }
    return all;
  }

  private static List<Integer> ids(Completion completion) {
    return completion.tokens().stream().map(Token::id).toList();
  }

  private static Completion alone(LanguageModel model, int[] prompt, Sampling sampling) {
    try (TokenStream stream = new TokenStream(model, null, prompt, sampling, () -> {})) {
      stream.forEach(token -> {});
      return stream.completion();
    }
  }

  private static void assertEachIsAsAlone(
      LanguageModel model, List<int[]> prompts, Sampling sampling) {
    List<Completion> together = Batch.complete(model, null, prompts, sampling);
    for (int row = 0; row < prompts.size(); row++) {
      Completion alone = alone(model, prompts.get(row), sampling.withSeed(sampling.seed() + row));
      Completion one = together.get(row);
      assertEquals(ids(alone), ids(one), "row " + row);
      assertEquals(alone.finishReason(), one.finishReason(), "row " + row);
      assertEquals(alone.promptTokens(), one.promptTokens());
      assertEquals(alone.score(), one.score(), 1e-4 * Math.abs(alone.score()));
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.8})
  void promptsOfSeveralLengthsGetWhatTheyGetAlone(double temperature) {
    Sampling sampling =
        Sampling.defaults()
            .withTemperature(temperature)
            .withRepetitionPenalty(1.2)
            .withSeed(5)
            .withEndTokens(Set.of(1, 2, 3, 4, 5, 6, 7, 8))
            .withMaxNewTokens(20);
    List<int[]> prompts = prompts(1, 7, 47, 3, 30);
    assertEachIsAsAlone(model, prompts, sampling);
    assertEachIsAsAlone(model, prompts, sampling.with(Processors.noRepeatNgram(2)));
    Set<FinishReason> reasons = new HashSet<>();
    Batch.complete(model, null, prompts, sampling).forEach(one -> reasons.add(one.finishReason()));
    assertTrue(reasons.contains(FinishReason.CONTEXT), reasons.toString());
    assertTrue(reasons.contains(FinishReason.END_OF_TEXT), reasons.toString());
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void promptsOfSeveralChunksEachGetTheirOwnLastRow(DType dtype) {
    try (LanguageModel large = model(device, dtype, 1100)) {
      Sampling sampling = Sampling.greedy().withMaxNewTokens(4);
      assertEachIsAsAlone(large, prompts(3, 512, 513, 600, 1024, 1090), sampling);
    }
  }

  @Test
  void hostAndDeviceChooseTheSame() {
    Processor nothing = (scores, sequence) -> {};
    for (int seed = 0; seed < 20; seed++) {
      Sampling sampling =
          Sampling.defaults()
              .withSeed(seed + (1L << 40))
              .withTemperature(seed % 4 * 0.4)
              .withTopK(seed % 3 * 9)
              .withTopP(seed % 2 == 0 ? 1 : 0.85)
              .withMinP(seed % 5 == 0 ? 0.05 : 0)
              .withRepetitionPenalty(seed % 7 == 0 ? 1 : 1.3)
              .withMaxNewTokens(40);
      Completion device = alone(model, new int[] {3, 1, 4}, sampling);
      Completion host = alone(model, new int[] {3, 1, 4}, sampling.with(nothing));
      assertEquals(ids(device), ids(host), sampling.toString());
      for (int i = 0; i < device.tokens().size(); i++) {
        assertEquals(device.tokens().get(i).logprob(), host.tokens().get(i).logprob(), 1e-4);
      }
    }
  }

  @Test
  void aCustomProcessorActsBeforeThoseOfSampling() {
    Sampling sampling =
        Sampling.defaults()
            .withTopK(1)
            .withMaxNewTokens(5)
            .with((scores, sequence) -> scores[sequence.length()] = 1e4f);
    assertEquals(List.of(2, 3, 4, 5, 6), ids(alone(model, new int[] {9, 9}, sampling)));
  }

  @Test
  void maxLengthCountsThePrompt() {
    Sampling sampling = Sampling.greedy().withMaxLength(9);
    Completion completion = alone(model, new int[] {1, 2, 3}, sampling);
    assertEquals(6, completion.tokens().size());
    assertEquals(FinishReason.LENGTH, completion.finishReason());
    int[] nine = new int[9];
    assertThrows(IllegalArgumentException.class, () -> alone(model, nine, sampling));
    Ending both = new Ending(2, 9, Set.of(), List.of());
    assertEquals(2, alone(model, new int[] {1, 2, 3}, sampling.withEnding(both)).tokens().size());
  }
}
