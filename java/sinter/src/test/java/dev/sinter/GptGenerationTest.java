package dev.sinter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.generate.Beams;
import dev.sinter.generate.Completion;
import dev.sinter.generate.FinishReason;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Token;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.text.CharTokenizer;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Texts in, texts out: batches, beams and stop texts by way of the facade. */
class GptGenerationTest {
  private static Device device;
  private static Gpt gpt;

  @BeforeAll
  static void makeAModel() {
    device = Device.cpu(2);
    CharTokenizer tokenizer = CharTokenizer.train("the quick brown fox jumps over the lazy dog. ");
    GptConfig config = GptConfig.of(tokenizer.size(), 40, 24, 2, 3);
    gpt = Gpt.create(config, tokenizer, device, DType.F32, 11);
  }

  @AfterAll
  static void closeIt() {
    gpt.close();
    device.close();
  }

  private static String joined(Completion completion) {
    return completion.tokens().stream().map(Token::text).collect(Collectors.joining());
  }

  @Test
  void aBatchWritesWhatEachWouldAlone() {
    Sampling sampling = Sampling.defaults().withSeed(4).withMaxNewTokens(25);
    List<String> prompts = List.of("the ", "a", "jumps over the lazy");
    List<Completion> together = gpt.generate(prompts, sampling);
    for (int i = 0; i < prompts.size(); i++) {
      Completion alone = gpt.generate(prompts.get(i), sampling.withSeed(4 + i));
      assertEquals(alone.text(), together.get(i).text());
      assertEquals(alone.text(), joined(together.get(i)));
    }
  }

  @Test
  void stopTextsAcrossTokensEndRowsAndBeams() {
    Sampling sampling = Sampling.greedy().withMaxNewTokens(20);
    String whole = gpt.generate("the ", sampling).text();
    String stop = whole.substring(3, 6);
    Completion one = gpt.generate(List.of("the "), sampling.withStop(stop)).get(0);
    assertEquals(FinishReason.STOP, one.finishReason());
    assertEquals(whole.substring(0, whole.indexOf(stop)), one.text());

    Beams beams = Beams.of(3).withReturned(3).withEarlyStopping(Beams.EarlyStopping.TRUE);
    String likely = gpt.generate("the ", sampling, beams).get(0).text().substring(2, 4);
    List<Completion> stopped = gpt.generate("the ", sampling.withStop(likely), beams);
    assertTrue(
        stopped.stream().anyMatch(each -> each.finishReason() == FinishReason.STOP),
        stopped.toString());
    for (Completion each : stopped) {
      assertFalse(each.text().contains(likely));
      assertEquals(each.text(), joined(each));
    }
  }
}
