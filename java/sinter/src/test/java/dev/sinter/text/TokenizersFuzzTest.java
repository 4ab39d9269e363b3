package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.CharSpan;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Every kind of tokenizer gives what Hugging Face's library gives, on texts that no one wrote. */
class TokenizersFuzzTest {
  /** {@code -Dsinter.fuzz=100000} for a longer run. */
  private static final int TEXTS = Integer.getInteger("sinter.fuzz", 5_000);

  enum Kind {
    GPT2,
    GPT1,
    CASED,
    UNCASED;

    Tokenizer train(String text) {
      return switch (this) {
        case GPT2 -> BpeTokenizer.train(text, 600);
        case GPT1 -> WordTokenizer.trainBpe(text, 900);
        case CASED -> WordTokenizer.trainWordPiece(text, 900, false);
        case UNCASED -> WordTokenizer.trainWordPiece(text, 900, true);
      };
    }
  }

  @ParameterizedTest
  @EnumSource
  void encodesAndDecodesAsTokenizersDoes(Kind kind, @TempDir Path folder) throws IOException {
    kind.train(RandomText.corpus(1)).save(folder);
    Tokenizer ours = Tokenizer.load(folder);
    Random random = new Random(7);
    try (HuggingFaceTokenizer theirs =
        HuggingFaceTokenizer.builder()
            .optTokenizerPath(folder.resolve("tokenizer.json"))
            .optTruncation(false)
            .optPadding(false)
            .build()) {
      for (int i = 0; i < TEXTS; i++) {
        String text = RandomText.next(random);
        String pair = RandomText.next(random);
        assertEquals(
            describe(theirs.encode(text, pair), text, pair),
            describe(ours.parsingSpecials().encoding(text, pair)),
            () -> escape(text) + " | " + escape(pair));
        int[] ids = random.ints(random.nextInt(8), 0, ours.size()).toArray();
        // Bytes of half a surrogate pair: Java replaces them once, Rust each.
        assertEquals(
            theirs
                .decode(Arrays.stream(ids).asLongStream().toArray(), false)
                .replaceAll("\ufffd+", "\ufffd"),
            ours.decode(ids).replaceAll("\ufffd+", "\ufffd"));
      }
    }
  }

  private static String describe(Encoding encoding) {
    StringBuilder all = new StringBuilder();
    for (int i = 0; i < encoding.length(); i++) {
      all.append(
          String.format(
              "%d:%d:%d-%d ",
              encoding.ids()[i], encoding.types()[i], encoding.starts()[i], encoding.ends()[i]));
    }
    return all.toString();
  }

  private static String describe(
      ai.djl.huggingface.tokenizers.Encoding encoding, String text, String pair) {
    StringBuilder all = new StringBuilder();
    int[] sequences = new int[encoding.getIds().length];
    for (int i = 0; i < sequences.length; i++) {
      CharSpan span = encoding.getCharTokenSpans()[i];
      int start = span == null ? 0 : span.getStart();
      int end = span == null ? 0 : span.getEnd();
      String from = encoding.getSequenceIds()[i] == 1 ? pair : text;
      all.append(
          String.format(
              "%d:%d:%d-%d ",
              encoding.getIds()[i],
              encoding.getTypeIds()[i],
              from.offsetByCodePoints(0, start),
              from.offsetByCodePoints(0, end)));
    }
    return all.toString();
  }

  private static String escape(String text) {
    StringBuilder escaped = new StringBuilder();
    text.codePoints()
        .forEach(
            c ->
                escaped.append(
                    c > 32 && c < 127 ? Character.toString(c) : String.format("{%X}", c)));
    return escaped.toString();
  }
}
