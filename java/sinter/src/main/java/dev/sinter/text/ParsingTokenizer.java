package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A tokenizer that takes tokens out of the text where they are written. */
final class ParsingTokenizer extends BaseTokenizer {
  private final BaseTokenizer base;

  /** By the first char, the longest first. */
  private final Map<Character, List<AddedToken>> parsed = new HashMap<>();

  ParsingTokenizer(BaseTokenizer base, List<AddedToken> parsed) {
    super(base.vocabulary(), base.template());
    this.base = base;
    for (AddedToken token : parsed) {
      this.parsed.computeIfAbsent(token.content().charAt(0), key -> new ArrayList<>()).add(token);
    }
    this.parsed
        .values()
        .forEach(
            tokens ->
                tokens.sort(Comparator.comparingInt((AddedToken one) -> -one.content().length())));
  }

  @Override
  void append(String text, int from, int to, TokenBuffer out) {
    int done = from;
    for (int at = from; at < to; ) {
      AddedToken token = tokenAt(text, at, to);
      if (token == null) {
        at++;
        continue;
      }
      int start = at;
      int end = at + token.content().length();
      while (token.left() && start > done && Characters.space(text.charAt(start - 1))) {
        start--;
      }
      while (token.right() && end < to && Characters.space(text.charAt(end))) {
        end++;
      }
      base.append(text, done, start, out);
      out.add(token.id(), start, end);
      done = end;
      at = end;
    }
    base.append(text, done, to, out);
  }

  private AddedToken tokenAt(String text, int at, int to) {
    for (AddedToken token : parsed.getOrDefault(text.charAt(at), List.of())) {
      if (at + token.content().length() <= to && text.startsWith(token.content(), at)) {
        return token;
      }
    }
    return null;
  }

  @Override
  public Tokenizer parsingSpecials() {
    return base.parsingSpecials();
  }

  @Override
  public TokenDecoder decoder() {
    return base.decoder();
  }

  @Override
  ObjectNode layout() {
    return base.layout();
  }

  @Override
  List<String[]> merges() {
    return base.merges();
  }
}
