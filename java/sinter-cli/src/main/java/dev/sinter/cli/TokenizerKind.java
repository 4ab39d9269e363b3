package dev.sinter.cli;

import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.CharTokenizer;
import dev.sinter.text.Tokenizer;
import dev.sinter.text.WordTokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What {@code --tokenizer} says: a kind that is learned from the text, or a file. */
final class TokenizerKind {
  private static final Pattern LEARNED =
      Pattern.compile("(bpe|gpt1|wordpiece)(:(\\d{1,7}))?(:.*)?");

  private TokenizerKind() {}

  static Tokenizer make(String kind, String text) throws IOException {
    if (kind.equals("char")) {
      return CharTokenizer.train(text);
    }
    Matcher learned = LEARNED.matcher(kind);
    if (!learned.matches()) {
      return Tokenizer.load(Path.of(kind));
    }
    if (learned.group(3) == null || learned.group(4) != null) {
      throw new IllegalArgumentException(
          "--tokenizer "
              + kind
              + "; "
              + learned.group(1)
              + ":N with the size of the vocabulary, for example "
              + learned.group(1)
              + ":2048");
    }
    int size = Integer.parseInt(learned.group(3));
    return switch (learned.group(1)) {
      case "bpe" -> BpeTokenizer.train(text, size);
      case "gpt1" -> WordTokenizer.trainBpe(text, size);
      default -> WordTokenizer.trainWordPiece(text, size, true);
    };
  }
}
