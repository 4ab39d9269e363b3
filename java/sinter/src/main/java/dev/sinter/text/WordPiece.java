package dev.sinter.text;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * WordPiece as BERT has it (Devlin et al. 2019; Wu et al. 2016): the longest token that fits, again
 * and again; a word with a rest that no token fits is unknown as a whole.
 */
final class WordPiece implements WordModel {
  private final Map<String, Integer> first = new HashMap<>();
  private final Map<String, Integer> following = new HashMap<>();
  private final String prefix;
  private final boolean cleanUp;
  private final int unknown;
  private final int longestWord;
  private int longestToken;

  /**
   * Sorts a vocabulary.
   *
   * @param ids of tokens
   * @param prefix of tokens inside a word
   * @param unknown id of the token for unknown words
   * @param longestWord in code points; longer ones are unknown
   * @param cleanUp whether decoding takes spaces away before punctuation
   */
  WordPiece(
      Map<String, Integer> ids, String prefix, int unknown, int longestWord, boolean cleanUp) {
    this.prefix = prefix;
    this.unknown = unknown;
    this.longestWord = longestWord;
    this.cleanUp = cleanUp;
    ids.forEach(
        (token, id) -> {
          first.put(token, id);
          if (token.startsWith(prefix)) {
            following.put(token.substring(prefix.length()), id);
          }
          longestToken = Math.max(longestToken, token.length());
        });
  }

  @Override
  public void encode(MappedText text, int from, int to, TokenBuffer out) {
    String word = text.substring(from, to);
    int[] ids = new int[word.length()];
    int[] ends = new int[word.length()];
    int count = 0;
    boolean known = word.codePointCount(0, word.length()) <= longestWord;
    for (int at = 0; known && at < word.length(); count++) {
      Map<String, Integer> tokens = at == 0 ? first : following;
      Integer id = null;
      int end = Math.min(word.length(), at + longestToken);
      for (; end > at; end--) {
        id = tokens.get(word.substring(at, end));
        if (id != null) {
          break;
        }
      }
      known = id != null;
      if (known) {
        ids[count] = id;
        ends[count] = end;
        at = end;
      }
    }
    if (!known) {
      out.add(unknown, text.start(from), text.end(to - 1));
      return;
    }
    int start = 0;
    for (int i = 0; i < count; i++) {
      out.add(ids[i], text.start(from + start), text.end(from + ends[i] - 1));
      start = ends[i];
    }
  }

  @Override
  public List<String[]> merges() {
    return null;
  }

  @Override
  public TokenDecoder decoder(Vocabulary vocabulary) {
    return new TokenDecoder() {
      private boolean begun;

      @Override
      public String push(int id) {
        String token = vocabulary.token(id);
        if (begun) {
          token = token.startsWith(prefix) ? token.substring(prefix.length()) : " " + token;
        }
        begun = true;
        return cleanUp ? CleanUp.of(token) : token;
      }

      @Override
      public String flush() {
        begun = false;
        return "";
      }
    };
  }
}
