package dev.sinter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.sinter.generate.Completion;
import dev.sinter.generate.Engine;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.FinishReason;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Token;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig;
import dev.sinter.text.CharTokenizer;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Texts in, texts out, for many callers. */
class GeneratorTest {
  private static final Sampling SAMPLING = Sampling.defaults().withSeed(4).withMaxNewTokens(25);

  @TempDir static Path folder;

  private static Device device;
  private static Gpt gpt;

  @BeforeAll
  static void makeAModel() throws IOException {
    device = Device.cpu(2);
    CharTokenizer tokenizer = CharTokenizer.train("the quick brown fox jumps over the lazy dog. ");
    GptConfig config = GptConfig.of(tokenizer.size(), 40, 24, 2, 3);
    gpt = Gpt.create(config, tokenizer, device, DType.F32, 11);
    gpt.save(folder);
  }

  @AfterAll
  static void closeIt() {
    gpt.close();
    device.close();
  }

  @Test
  void aLoadedModelWritesWhatItsCopyWrites() throws IOException {
    try (Generator loaded = Generator.load(folder);
        Generator small =
            Generator.load(folder, device, WeightFormat.Q8, EngineSettings.defaults());
        Generator copy = gpt.generator(WeightFormat.F32, EngineSettings.defaults());
        Generator smallCopy = gpt.generator(WeightFormat.Q8, EngineSettings.defaults())) {
      assertEquals(
          copy.generate("the ", SAMPLING).text(), loaded.generate("the ", SAMPLING).text());
      assertEquals(
          smallCopy.generate("the ", SAMPLING).tokens(), small.generate("the ", SAMPLING).tokens());
      assertEquals(WeightFormat.F32, loaded.model().format());
      assertEquals(loaded.tokenizer(), copy.tokenizer());
    }
  }

  @Test
  void severalTextsAreEachWhatTheyAreAloneWithTheNextSeed() {
    List<String> prompts = List.of("the ", "a", "jumps over the lazy");
    try (Generator generator = gpt.generator(WeightFormat.F32, EngineSettings.defaults())) {
      List<Completion> together = generator.generate(prompts, SAMPLING);
      for (int i = 0; i < prompts.size(); i++) {
        List<Token> tokens = new ArrayList<>();
        Completion alone =
            generator.generate(prompts.get(i), SAMPLING.withSeed(4 + i), tokens::add);
        assertEquals(alone.text(), together.get(i).text());
        assertEquals(alone.tokens(), tokens);
      }
    }
  }

  @Test
  void theModelStaysOpenAsLongAsItsCopyAndNoLonger() {
    CharTokenizer tokenizer = CharTokenizer.train("abc");
    GptConfig config = GptConfig.of(tokenizer.size(), 8, 16, 1, 2);
    Gpt other = Gpt.create(config, tokenizer, device, DType.F32, 1);
    Generator generator = other.generator(WeightFormat.BF16, EngineSettings.defaults());
    other.close();
    assertEquals(FinishReason.CONTEXT, generator.generate("abc", Sampling.greedy()).finishReason());
    generator.close();
    generator.close();
    assertThrows(
        IllegalStateException.class,
        () -> generator.engine().submit(Request.of("abc", Sampling.greedy())));
    assertThrows(
        IllegalStateException.class,
        () -> other.generator(WeightFormat.F32, EngineSettings.defaults()));
  }

  @Test
  void aTokenizerOfAnotherModelIsRefused() {
    Tokenizer large = CharTokenizer.train("abcdefghijklmnopqrstuvwxyz0123456789,;:!?+-*/=()[]{}");
    try (Generator generator = gpt.generator(WeightFormat.F32, EngineSettings.defaults())) {
      assertThrows(
          IllegalArgumentException.class,
          () -> Engine.of(generator.model(), large, EngineSettings.defaults()));
    }
  }
}
