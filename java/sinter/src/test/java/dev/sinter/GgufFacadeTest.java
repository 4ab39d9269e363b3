package dev.sinter;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import dev.sinter.Encoder.Pooling;
import dev.sinter.generate.Sampling;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** One file of llama.cpp's is a whole model, and what is saved of it is the same model. */
class GgufFacadeTest {
  private static final Path FOLDER = Path.of("src/test/resources/dev/sinter/gguf");

  @TempDir Path temporary;

  @Test
  void aGptCompletesFromOneFile() throws IOException {
    Sampling sampling = Sampling.greedy().withMaxNewTokens(8);
    try (Gpt gpt = Gpt.load(FOLDER.resolve("gpt2-q8_0.gguf"))) {
      String text = gpt.generate("the ", sampling).text();
      assertFalse(text.isEmpty());
      gpt.save(temporary);
      try (Gpt saved = Gpt.load(temporary)) {
        assertEquals(text, saved.generate("the ", sampling).text());
      }
    }
  }

  @Test
  void anEncoderEmbedsFromOneFile() throws IOException {
    try (Encoder encoder = Encoder.load(FOLDER.resolve("bert-f16.gguf"))) {
      List<String> texts = List.of("cab", "dj z");
      float[][] vectors = encoder.embed(texts, Pooling.MEAN, true);
      encoder.save(temporary);
      try (Encoder saved = Encoder.load(temporary)) {
        float[][] again = saved.embed(texts, Pooling.MEAN, true);
        assertArrayEquals(vectors[0], again[0]);
        assertArrayEquals(vectors[1], again[1]);
      }
    }
  }
}
