package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.io.FormatException;
import dev.sinter.io.GgufWriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A tokenizer in a GGUF file is that of the tokenizer.json of which it was made. */
class GgufTokenizerTest {
  private static final Path FOLDER = Path.of("src/test/resources/dev/sinter/text");

  @TempDir Path temporary;

  /** As llama.cpp's converter writes it. */
  private static GgufWriter convert(String name) throws IOException {
    Path path = FOLDER.resolve(name + "/tokenizer.json");
    JsonNode model = new ObjectMapper().readTree(path.toFile()).get("model");
    Tokenizer tokenizer = Tokenizer.load(path);
    boolean bytes = model.get("type").textValue().equals("BPE");
    List<String> tokens = new ArrayList<>();
    List<Integer> kinds = new ArrayList<>();
    for (int id = 0; id < tokenizer.size(); id++) {
      String token = tokenizer.token(id);
      boolean special = token.matches("\\[(PAD|UNK|CLS|SEP|MASK)]|<\\|endoftext\\|>");
      kinds.add(special ? 3 : 1);
      tokens.add(
          bytes || special
              ? token
              : token.startsWith("##") ? token.substring(2) : "\u2581" + token);
    }
    GgufWriter writer =
        new GgufWriter()
            .set("tokenizer.ggml.model", bytes ? "gpt2" : "bert")
            .set("tokenizer.ggml.tokens", tokens)
            .set("tokenizer.ggml.token_type", kinds);
    if (bytes) {
      List<String> merges = new ArrayList<>();
      model
          .get("merges")
          .forEach(pair -> merges.add(pair.get(0).textValue() + " " + pair.get(1).textValue()));
      writer.set("tokenizer.ggml.pre", "gpt-2").set("tokenizer.ggml.merges", merges);
    }
    return writer;
  }

  @ParameterizedTest
  @ValueSource(strings = {"bpe", "uncased", "cased"})
  void encodesAsTheOneThatItWasMadeOf(String name) throws IOException {
    Tokenizer expected = Tokenizer.load(FOLDER.resolve(name));
    Tokenizer actual = Tokenizer.load(convert(name).write(temporary.resolve("a.gguf")));
    assertEquals(expected.size(), actual.size());
    IntStream.range(0, expected.size())
        .forEach(id -> assertEquals(expected.token(id), actual.token(id)));
    for (SpecialToken role : SpecialToken.values()) {
      assertEquals(expected.special(role), actual.special(role));
    }
    Random random = new Random(1);
    for (int i = 0; i < 300; i++) {
      String text = RandomText.next(random);
      int[] ids = expected.encode(text);
      assertArrayEquals(ids, actual.encode(text), text);
      assertEquals(expected.decode(ids), actual.decode(ids));
      assertArrayEquals(expected.encoding(text, "a b").ids(), actual.encoding(text, "a b").ids());
      assertArrayEquals(
          expected.encoding(text, "a b").types(), actual.encoding(text, "a b").types());
    }
  }

  @Test
  void tokensAreWrittenAsBertDoes() throws IOException {
    List<String> tokens =
        List.of(
            "[UNK]",
            "<s>",
            "[unused]",
            "\u2581[x]",
            "\u2581",
            "\u2581\u2581",
            "\u2581a",
            "b",
            "\u2581\u211d");
    Tokenizer tokenizer =
        Tokenizer.load(
            new GgufWriter()
                .set("tokenizer.ggml.model", "bert")
                .set("tokenizer.ggml.tokens", tokens)
                .set("tokenizer.ggml.token_type", List.of(3, 3, 5, 5, 1, 1, 1, 1, 1))
                .set("tokenizer.ggml.bos_token_id", 1)
                .write(temporary.resolve("a.gguf")));
    assertEquals(
        List.of("[UNK]", "<s>", "[unused]", "[x]", "##\u2581", "\u2581", "a", "##b", "\u211d"),
        IntStream.range(0, tokens.size()).mapToObj(tokenizer::token).toList());
    assertEquals(1, tokenizer.special(SpecialToken.BEGIN_OF_TEXT).getAsInt());
    // No token has a capital that could be dropped.
    assertArrayEquals(new int[] {6, 7}, tokenizer.encode("AB"));
  }

  private void assertRefused(String words, GgufWriter writer) throws IOException {
    Path path = writer.write(temporary.resolve("broken.gguf"));
    String line = assertThrows(FormatException.class, () -> Tokenizer.load(path)).getMessage();
    assertTrue(line.contains(words), line);
    assertEquals(1, line.lines().count());
  }

  @Test
  void whatIsNotUnderstoodIsRefused() throws IOException {
    String key = "tokenizer.ggml.";
    assertRefused("\"llama\" is not supported", convert("bpe").set(key + "model", "llama"));
    assertRefused("its tokenizer \"\"", new GgufWriter());
    assertRefused("only gpt-2's way", convert("bpe").set(key + "pre", "llama-bpe"));
    assertRefused("lacks setting", convert("bpe").unset(key + "merges"));
    assertRefused("no pair of tokens", convert("bpe").set(key + "merges", List.of("a")));
    assertRefused("kinds of 1", convert("bpe").set(key + "token_type", List.of(1)));
    assertRefused("eos_token_id is 500", convert("bpe").set(key + "eos_token_id", 500));
    assertRefused(
        "are the same",
        convert("cased").set(key + "tokens", List.of("a", "a")).unset(key + "token_type"));
    assertRefused(
        "token for byte",
        convert("bpe").set(key + "tokens", List.of("a")).unset(key + "token_type"));
    assertRefused(
        "empty", convert("uncased").set(key + "tokens", List.of()).unset(key + "token_type"));
  }
}
