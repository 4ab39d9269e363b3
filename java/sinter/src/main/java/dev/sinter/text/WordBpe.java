package dev.sinter.text;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * GPT-1's byte-pair encoding (Radford et al. 2018; Sennrich et al. 2016): of characters, where the
 * last one of a word carries a suffix.
 */
final class WordBpe implements WordModel {
  private final Map<Integer, Integer> inner = new HashMap<>();
  private final Map<Integer, Integer> last = new HashMap<>();
  private final BpeMerges merges;
  private final String suffix;
  private final int unknown;

  /**
   * Looks the merges up.
   *
   * @param ids of tokens
   * @param merges pairs of tokens, by rank
   * @param suffix of the token that ends a word
   * @param unknown id of the token for unknown characters
   */
  WordBpe(Map<String, Integer> ids, List<String[]> merges, String suffix, int unknown) {
    this.merges = new BpeMerges(ids, merges);
    this.suffix = suffix;
    this.unknown = unknown;
    ids.forEach(
        (token, id) -> {
          put(inner, token, id);
          if (token.endsWith(suffix)) {
            put(last, token.substring(0, token.length() - suffix.length()), id);
          }
        });
  }

  private static void put(Map<Integer, Integer> symbols, String token, int id) {
    if (!token.isEmpty() && token.codePointCount(0, token.length()) == 1) {
      symbols.put(token.codePointAt(0), id);
    }
  }

  @Override
  public void encode(MappedText text, int from, int to, TokenBuffer out) {
    String word = text.substring(from, to);
    int[] characters = word.codePoints().toArray();
    int[] symbols = new int[characters.length];
    int[] places = new int[characters.length + 1];
    places[0] = from;
    for (int i = 0; i < characters.length; i++) {
      Map<Integer, Integer> ids = i + 1 < characters.length ? inner : last;
      symbols[i] = ids.getOrDefault(characters[i], unknown);
      places[i + 1] = places[i] + Character.charCount(characters[i]);
    }
    merges.apply(
        symbols, (id, a, b) -> out.add(id, text.start(places[a]), text.end(places[b] - 1)));
  }

  @Override
  public List<String[]> merges() {
    return merges.merges();
  }

  @Override
  public TokenDecoder decoder(Vocabulary vocabulary) {
    return new TokenDecoder() {
      private boolean space;

      @Override
      public String push(int id) {
        String token = vocabulary.token(id);
        String before = space ? " " : "";
        space = token.endsWith(suffix);
        return before + (space ? token.substring(0, token.length() - suffix.length()) : token);
      }

      @Override
      public String flush() {
        space = false;
        return "";
      }
    };
  }
}
