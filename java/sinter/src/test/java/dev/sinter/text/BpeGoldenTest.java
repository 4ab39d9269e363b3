package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Against Hugging Face's tokenizers: tests/goldens/tokenizers.py makes the files. */
class BpeGoldenTest {
  private static final Path FOLDER = Path.of("src/test/resources/dev/sinter/text/bpe");

  @Test
  void encodesAndDecodesAsTokenizersDoes() throws IOException {
    Tokenizer tokenizer = Tokenizer.load(FOLDER);
    JsonNode golden = new ObjectMapper().readTree(FOLDER.resolve("golden.json").toFile());
    assertTrue(golden.size() > 100);
    for (JsonNode one : golden) {
      String text = one.get("text").textValue();
      int[] ids = new ObjectMapper().convertValue(one.get("ids"), int[].class);
      assertArrayEquals(ids, tokenizer.encode(text), text);
      assertEquals(text, tokenizer.decode(ids));
    }
  }
}
