package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** One token a character (Unicode code point): for small texts and small models. */
public final class CharTokenizer extends BaseTokenizer {
  private final int[] characters;
  private final Map<Integer, Integer> ids = new HashMap<>();

  /** Token i stands for characters[i]. */
  CharTokenizer(int[] characters) {
    super(
        Vocabulary.of(
            Arrays.stream(characters).mapToObj(Character::toString).toArray(String[]::new)),
        Template.PLAIN);
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
  void append(String text, int from, int to, TokenBuffer out) {
    for (int at = from; at < to; ) {
      int character = text.codePointAt(at);
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
      int end = at + Character.charCount(character);
      out.add(id, at, end);
      at = end;
    }
  }

  private static String describe(int character) {
    boolean visible = !Character.isISOControl(character) && Character.isDefined(character);
    return (visible ? "'" + Character.toString(character) + "' " : "")
        + String.format(java.util.Locale.ROOT, "(U+%04X)", character);
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
  ObjectNode layout() {
    return Layouts.characters();
  }

  @Override
  List<String[]> merges() {
    return List.of();
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
