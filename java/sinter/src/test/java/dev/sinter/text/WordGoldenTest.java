package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Against Hugging Face's tokenizers: tests/goldens/tokenizers.py makes the files. */
class WordGoldenTest {
  private static final Path FOLDER = Path.of("src/test/resources/dev/sinter/text");
  private static final ObjectMapper JSON = new ObjectMapper();

  @ParameterizedTest
  @ValueSource(strings = {"cased", "uncased", "gpt1"})
  void encodesAndDecodesAsTokenizersDoes(String kind) throws IOException {
    compare(kind, Tokenizer.load(FOLDER.resolve(kind)));
  }

  @ParameterizedTest
  @ValueSource(strings = {"cased", "uncased", "gpt1"})
  void olderFilesGiveTheSame(String kind) throws IOException {
    compare(kind, Tokenizer.load(FOLDER.resolve(kind + "/old")));
  }

  @ParameterizedTest
  @ValueSource(strings = {"cased", "uncased", "gpt1"})
  void savedTokenizersGiveTheSame(String kind, @TempDir Path folder) throws IOException {
    Tokenizer.load(FOLDER.resolve(kind + "/old")).save(folder);
    compare(kind, Tokenizer.load(folder));
  }

  private static void compare(String kind, Tokenizer tokenizer) throws IOException {
    JsonNode golden = JSON.readTree(FOLDER.resolve(kind + "/golden.json").toFile());
    assertTrue(golden.size() > 100);
    for (JsonNode one : golden) {
      Encoding encoding =
          tokenizer.encoding(one.get("text").textValue(), one.get("pair").textValue());
      assertArrayEquals(ints(one, "ids"), encoding.ids(), one::toString);
      assertArrayEquals(ints(one, "types"), encoding.types());
      assertArrayEquals(ints(one, "starts"), encoding.starts(), one::toString);
      assertArrayEquals(ints(one, "ends"), encoding.ends(), one::toString);
      assertEquals(one.get("decoded").textValue(), tokenizer.decode(encoding.ids()));
    }
  }

  private static int[] ints(JsonNode node, String name) {
    return JSON.convertValue(node.get(name), int[].class);
  }
}
