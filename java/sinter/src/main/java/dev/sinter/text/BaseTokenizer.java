package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;

/** What all tokenizers share: everything but the way from a text to its tokens. */
abstract class BaseTokenizer implements Tokenizer {
  /** The average token is about this long; short of it, buffers grow. */
  private static final int CHARACTERS_PER_TOKEN = 3;

  private final Vocabulary vocabulary;
  private final Template template;

  BaseTokenizer(Vocabulary vocabulary, Template template) {
    this.vocabulary = vocabulary;
    this.template = template;
  }

  /** Encodes a part of a text as if nothing were around it. */
  abstract void append(String text, int from, int to, TokenBuffer out);

  /** tokenizer.json without vocabulary and merges. */
  abstract ObjectNode layout();

  /** The merges by rank, or null where the model has none. */
  abstract List<String[]> merges();

  Vocabulary vocabulary() {
    return vocabulary;
  }

  Template template() {
    return template;
  }

  @Override
  public int[] encode(CharSequence text) {
    return tokens(text, false).ids();
  }

  private TokenBuffer tokens(CharSequence text, boolean placed) {
    String whole = text.toString();
    TokenBuffer tokens = new TokenBuffer(whole.length() / CHARACTERS_PER_TOKEN, placed);
    append(whole, 0, whole.length(), tokens);
    return tokens;
  }

  private Piece placed(CharSequence text) {
    return tokens(text, true).piece();
  }

  @Override
  public List<int[]> encodeAll(List<? extends CharSequence> texts, Executor executor) {
    List<CompletableFuture<int[]>> parts = new ArrayList<>(texts.size());
    for (CharSequence text : texts) {
      parts.add(CompletableFuture.supplyAsync(() -> encode(text), executor));
    }
    try {
      return parts.stream().map(CompletableFuture::join).toList();
    } catch (CompletionException e) {
      throw e.getCause() instanceof RuntimeException cause ? cause : e;
    }
  }

  @Override
  public Encoding encoding(CharSequence text) {
    return template.apply(placed(text), null);
  }

  @Override
  public Encoding encoding(CharSequence text, int length) {
    Piece tokens = placed(text);
    int room = room(length, false);
    return template.apply(tokens.part(0, Math.min(room, tokens.ids().length)), null);
  }

  @Override
  public Encoding encoding(CharSequence text, CharSequence second) {
    return template.apply(placed(text), placed(second));
  }

  @Override
  public Encoding encoding(CharSequence text, CharSequence second, int length) {
    Piece first = placed(text);
    Piece other = placed(second);
    int room = room(length, true);
    int a = first.ids().length;
    int b = other.ids().length;
    if (a + b > room) {
      // The longer one gives way; only where both have more than half, both do.
      if (a <= b) {
        a = Math.min(a, room / 2);
        b = room - a;
      } else {
        b = Math.min(b, room / 2);
        a = room - b;
      }
    }
    return template.apply(first.part(0, a), other.part(0, b));
  }

  private int room(int length, boolean two) {
    int room = length - template.added(two);
    if (room < 0) {
      throw new IllegalArgumentException(
          "length " + length + "; the template alone has " + template.added(two) + " tokens");
    }
    return room;
  }

  @Override
  public List<Encoding> windows(
      CharSequence question, CharSequence context, int length, int overlap) {
    Piece first = placed(question);
    Piece whole = placed(context);
    int room = room(length, true) - first.ids().length;
    if (overlap < 0 || room <= overlap) {
      throw new IllegalArgumentException(
          "a length of "
              + length
              + " leaves "
              + room
              + " tokens beside the question, which is not more than the overlap of "
              + overlap
              + "; take a shorter question, a greater length or a smaller overlap");
    }
    List<Encoding> windows = new ArrayList<>();
    int count = whole.ids().length;
    for (int from = 0; ; from += room - overlap) {
      int to = Math.min(count, from + room);
      windows.add(template.apply(first, whole.part(from, to)));
      if (to == count) {
        return windows;
      }
    }
  }

  @Override
  public Tokenizer parsingSpecials() {
    return new ParsingTokenizer(this, vocabulary.added());
  }

  @Override
  public int size() {
    return vocabulary.size();
  }

  @Override
  public String token(int id) {
    return vocabulary.token(id);
  }

  @Override
  public OptionalInt id(String token) {
    return optional(vocabulary.id(token));
  }

  @Override
  public OptionalInt special(SpecialToken role) {
    return optional(vocabulary.id(role));
  }

  private static OptionalInt optional(Integer id) {
    return id == null ? OptionalInt.empty() : OptionalInt.of(id);
  }

  @Override
  public void save(Path folder) throws IOException {
    TokenizerWriter.save(this, folder);
  }
}
