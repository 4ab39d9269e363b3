package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BpeTokenizerTest {
  private static final String SPACE =
      "\\t\\n\\x0b\\f\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
  private static final Pattern GPT2 =
      Pattern.compile(
          "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^"
              + SPACE
              + "\\p{L}\\p{N}]+|["
              + SPACE
              + "]+(?!["
              + "^"
              + SPACE
              + "])|["
              + SPACE
              + "]+");
  private static final String TEXT =
      "The quick brown fox, the lazy dog's day: they'll see 123 naïve cafés in 東京 🙂.\n\n  the end";

  @Test
  void piecesAreThoseOfTheRegularExpression() {
    String[] parts = {
      "a", "Z", "é", "東", "5", "²", "Ⅷ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u0085", "'",
      "'s", "'ll", "'LL", "'r", "'re", ".", "!", "🙂", "\u0301", "-", "_"
    };
    Random random = new Random(1);
    for (int round = 0; round < 20_000; round++) {
      StringBuilder text = new StringBuilder();
      for (int i = random.nextInt(8); i >= 0; i--) {
        text.append(parts[random.nextInt(parts.length)]);
      }
      List<String> expected = new ArrayList<>();
      for (Matcher matcher = GPT2.matcher(text); matcher.find(); ) {
        expected.add(matcher.group());
      }
      List<String> actual = new ArrayList<>();
      for (int at = 0; at < text.length(); ) {
        int end = PreTokenizer.end(text.toString(), at, text.length());
        actual.add(text.substring(at, end));
        at = end;
      }
      assertEquals(expected, actual);
    }
  }

  @Test
  void decodingGivesTheTextBack() {
    BpeTokenizer tokenizer = BpeTokenizer.train(TEXT.repeat(3), 300);
    for (String text : List.of(TEXT, "", " ", "\u0000\uffff", "other words ’ 🙃 e\u0301")) {
      assertEquals(text, tokenizer.decode(tokenizer.encode(text)));
    }
  }

  @Test
  void aStreamNeverSplitsACharacter() {
    BpeTokenizer tokenizer = BpeTokenizer.train("abc", 257);
    TokenDecoder decoder = tokenizer.decoder();
    StringBuilder text = new StringBuilder();
    for (int id : tokenizer.encode("é東🙂")) {
      String piece = decoder.push(id);
      assertEquals(-1, piece.indexOf('\ufffd'));
      text.append(piece);
    }
    assertEquals("é東🙂", text + decoder.flush());
    int[] cut = tokenizer.encode("🙂");
    assertEquals("", decoder.push(cut[0]) + decoder.push(cut[1]));
    assertEquals("\ufffd", decoder.flush());
  }

  @Test
  void mergesAreTheMostFrequentPairsFirst() {
    BpeTokenizer tokenizer = BpeTokenizer.train("abab abab cd cd cd abab", 262);
    // "ab" 4 + 2 times, then "abab"; " " + "cd" and so on.
    assertArrayEquals(new String[] {"a", "b"}, tokenizer.merges().get(0));
    assertEquals(262, tokenizer.size());
    assertEquals(261, tokenizer.endOfText().orElseThrow());
  }

  @Test
  void specialsAreNotParsedOutOfText() {
    BpeTokenizer tokenizer = BpeTokenizer.train(TEXT, 280);
    for (int id : tokenizer.encode("<|endoftext|>")) {
      assertEquals(false, id == tokenizer.endOfText().orElseThrow());
    }
  }

  @Test
  void savedTokenizersAreReadBack(@TempDir Path folder) throws IOException {
    BpeTokenizer tokenizer = BpeTokenizer.train(TEXT, 300);
    tokenizer.save(folder);
    Tokenizer read = Tokenizer.load(folder);
    assertArrayEquals(tokenizer.encode(TEXT), read.encode(TEXT));
    assertEquals(tokenizer.endOfText(), read.endOfText());

    CharTokenizer characters = CharTokenizer.train(TEXT);
    characters.save(folder);
    assertEquals(characters, Tokenizer.load(folder));
  }

  @Test
  void anUnknownCharacterIsNamedWithItsPlace() {
    CharTokenizer tokenizer = CharTokenizer.train("abc");
    String message =
        assertThrows(IllegalArgumentException.class, () -> tokenizer.encode("abé")).getMessage();
    assertEquals(
        "character 'é' (U+00E9) at offset 2 is not among the 3 that the tokenizer was made from;"
            + " leave it out, or train with bpe:N, which knows every character",
        message);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{|Unexpected end-of-input",
        "[]|is no JSON object",
        "{\"model\":{\"type\":\"Unigram\"}}|model of type Unigram is not supported",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}|both have id 0",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":7},\"merges\":[]}}|has id 7",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}|the vocabulary is empty",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}|merge 0 is no pair"
            + " of tokens",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a"
            + " b\"]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}}|no"
            + " token for byte 0",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":{\"type\":\"NFC\"}}|normalizer"
            + " of type NFC"
      })
  void damagedFilesAreRefusedInOneLine(String json, String expected, @TempDir Path folder)
      throws IOException {
    Path file = folder.resolve("tokenizer.json");
    Files.writeString(file, json);
    IOException e = assertThrows(IOException.class, () -> Tokenizer.load(folder));
    assertEquals(
        true,
        e.getMessage().startsWith(file + ": ") && e.getMessage().contains(expected),
        e.getMessage());
    assertEquals(1, e.getMessage().lines().count());
  }
}
