package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * GPT-2's own vocabulary, which is not among our files: {@code -Dsinter.gpt2.vocabulary=DIR} names
 * a folder with vocab.json and merges.txt (encoder.json and vocab.bpe of the release). The ids are
 * those of the reference code.
 */
@EnabledIfSystemProperty(named = "sinter.gpt2.vocabulary", matches = ".+")
class PublishedVocabularyTest {
  private static Tokenizer tokenizer() throws IOException {
    return Tokenizer.load(Path.of(System.getProperty("sinter.gpt2.vocabulary")));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = false,
      value = {
        "Hello, world! It's 2024.|15496 11 995 0 632 338 48609 13",
        "I'LL don't we've|40 6 3069 836 470 356 1053",
        "  leading  and   trailing  |220 3756 220 290 220 220 25462 220 220",
        "line1\\n\\n  line2\\t\\ttab|1370 16 628 220 1627 17 197 197 8658",
        "naïve café 東京 🙂|2616 38776 40304 10545 251 109 12859 105 32485",
        "x\u00a0y|87 1849 88",
        "a\u3000b|64 5099 222 65",
        "1234567 3.14|10163 2231 3134 513 13 1415",
        "don’t|9099 447 247 83",
        "e\u0301|68 136 223",
        "²½ Ⅷ|31185 23141 2343 227 100"
      })
  void idsAreThoseOfTheReferenceCode(String text, String ids) throws IOException {
    int[] expected = Arrays.stream(ids.split(" ")).mapToInt(Integer::parseInt).toArray();
    String plain = text.translateEscapes();
    assertArrayEquals(expected, tokenizer().encode(plain));
    assertEquals(plain, tokenizer().decode(expected));
  }

  @Test
  void theEndOfTextIsNeverParsedFromText() throws IOException {
    Tokenizer tokenizer = tokenizer();
    assertEquals(50257, tokenizer.size());
    assertEquals(OptionalInt.of(50256), tokenizer.endOfText());
    assertArrayEquals(
        new int[] {27, 91, 437, 1659, 5239, 91, 29}, tokenizer.encode("<|endoftext|>"));
  }
}
