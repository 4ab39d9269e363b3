package dev.sinter.text;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.OptionalInt;

/** One token a character (Unicode code point): for small texts and small models. */
public final class CharTokenizer implements Tokenizer {
  private final int[] characters;
  private final Map<Integer, Integer> ids = new HashMap<>();

  /** Token i stands for characters[i]. */
  CharTokenizer(int[] characters) {
    this.characters = characters.clone();
    for (int id = 0; id < characters.length; id++) {
      ids.put(characters[id], id);
    }
  }

  /**
   * Collects the characters of a text.
   *
   * @param text not empty
   * @return a tokenizer whose ids follow the order of code points
   */
  public static CharTokenizer train(CharSequence text) {
    int[] characters = text.codePoints().distinct().sorted().toArray();
    if (characters.length == 0) {
      throw new IllegalArgumentException(
          "the text is empty; a character tokenizer needs at least one character");
    }
    return new CharTokenizer(characters);
  }

  @Override
  public int[] encode(CharSequence text) {
    int[] encoded = new int[Math.toIntExact(text.codePoints().count())];
    int count = 0;
    for (int at = 0; at < text.length(); ) {
      int character = Character.codePointAt(text, at);
      Integer id = ids.get(character);
      if (id == null) {
        throw new IllegalArgumentException(
            "character "
                + describe(character)
                + " at offset "
                + at
                + " is not among the "
                + characters.length
                + " that the tokenizer was made from; leave it out, or train with bpe:N, which"
                + " knows every character");
      }
      encoded[count++] = id;
      at += Character.charCount(character);
    }
    return encoded;
  }

  private static String describe(int character) {
    boolean visible = !Character.isISOControl(character) && Character.isDefined(character);
    return (visible ? "'" + Character.toString(character) + "' " : "")
        + String.format(java.util.Locale.ROOT, "(U+%04X)", character);
  }

  @Override
  public int size() {
    return characters.length;
  }

  @Override
  public String token(int id) {
    return Character.toString(characters[id]);
  }

  @Override
  public OptionalInt endOfText() {
    return OptionalInt.empty();
  }

  @Override
  public TokenDecoder decoder() {
    return new TokenDecoder() {
      @Override
      public String push(int id) {
        return token(id);
      }

      @Override
      public String flush() {
        return "";
      }
    };
  }

  @Override
  public void save(Path folder) throws IOException {
    TokenizerFile.save(this, folder);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof CharTokenizer that && Arrays.equals(characters, that.characters);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(characters);
  }
}
