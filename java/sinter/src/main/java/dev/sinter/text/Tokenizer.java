package dev.sinter.text;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;

/** Turns text into token ids and back. Safe to use from many threads. */
public interface Tokenizer {
  /**
   * Turns text into ids. Special tokens are never parsed out of the text.
   *
   * @param text any
   * @return ids, each from 0 to {@link #size} - 1
   * @throws IllegalArgumentException where the vocabulary cannot express the text
   */
  int[] encode(CharSequence text);

  /**
   * Turns many texts into ids, on the common pool.
   *
   * @param texts any
   * @return the ids of each, in the order of the texts
   * @throws IllegalArgumentException as {@link #encode}
   */
  default List<int[]> encodeAll(List<? extends CharSequence> texts) {
    return encodeAll(texts, ForkJoinPool.commonPool());
  }

  /**
   * Turns many texts into ids, at once.
   *
   * @param texts any
   * @param executor runs one task a text
   * @return the ids of each, in the order of the texts
   * @throws IllegalArgumentException as {@link #encode}
   */
  List<int[]> encodeAll(List<? extends CharSequence> texts, Executor executor);

  /**
   * Turns a text into a model's input, with the template's tokens, as [CLS] and [SEP], around it.
   *
   * @param text any
   * @return the tokens with their types and their places in the text
   * @throws IllegalArgumentException as {@link #encode}
   */
  Encoding encoding(CharSequence text);

  /**
   * Turns a text into a model's input; what is too long is cut off.
   *
   * @param text any
   * @param length the most tokens, the template's included
   * @return the tokens with their types and their places in the text
   * @throws IllegalArgumentException as {@link #encode}, and where the template alone is longer
   */
  Encoding encoding(CharSequence text, int length);

  /**
   * Turns two texts into a model's input: {@code [CLS] A [SEP] B [SEP]} for BERT.
   *
   * @param text any
   * @param second any
   * @return the tokens with their types and their places, each in its own text
   * @throws IllegalArgumentException as {@link #encode}
   */
  Encoding encoding(CharSequence text, CharSequence second);

  /**
   * Turns two texts into a model's input; what is too long is cut off, from the longer one first.
   *
   * @param text any
   * @param second any
   * @param length the most tokens, the template's included
   * @return the tokens with their types and their places, each in its own text
   * @throws IllegalArgumentException as {@link #encode}, and where the template alone is longer
   */
  Encoding encoding(CharSequence text, CharSequence second, int length);

  /**
   * Cuts a context that is too long for a model into windows, each with the question before it.
   *
   * @param question any
   * @param context any; places are in it, whatever the window
   * @param length the most tokens of a window, question and template included
   * @param overlap how many tokens of the context a window has in common with the one before
   * @return at least one window
   * @throws IllegalArgumentException as {@link #encode}, and where no room is left
   */
  List<Encoding> windows(CharSequence question, CharSequence context, int length, int overlap);

  /**
   * Returns a tokenizer that parses special tokens, as [MASK], where they are written in a text.
   * For texts of one's own: others could put control tokens into theirs.
   *
   * @return a view of this tokenizer
   */
  Tokenizer parsingSpecials();

  /**
   * Turns ids into text.
   *
   * @param ids each from 0 to {@link #size} - 1
   * @return the text; bytes that are no UTF-8 become U+FFFD
   */
  default String decode(int... ids) {
    TokenDecoder decoder = decoder();
    StringBuilder text = new StringBuilder();
    for (int id : ids) {
      text.append(decoder.push(id));
    }
    return text.append(decoder.flush()).toString();
  }

  /**
   * Returns the size of the vocabulary.
   *
   * @return the number of ids
   */
  int size();

  /**
   * Returns how a token is written in the tokenizer's file.
   *
   * @param id from 0 to {@link #size} - 1
   * @return for byte-level tokens in GPT-2's alphabet
   */
  String token(int id);

  /**
   * Looks a token up.
   *
   * @param token as {@link #token} writes it
   * @return its id, or empty where the vocabulary has none
   */
  OptionalInt id(String token);

  /**
   * Returns the special token of a role.
   *
   * @param role what it is for
   * @return its id, or empty where the vocabulary has none
   */
  OptionalInt special(SpecialToken role);

  /**
   * Returns the token that ends a text.
   *
   * @return its id, or empty where the vocabulary has none
   */
  default OptionalInt endOfText() {
    return special(SpecialToken.END_OF_TEXT);
  }

  /**
   * Starts decoding a stream of ids.
   *
   * @return a decoder of its own for each stream
   */
  TokenDecoder decoder();

  /**
   * Writes {@code tokenizer.json} and {@code tokenizer_config.json}, as Hugging Face reads them.
   *
   * @param folder that exists
   * @throws IOException where it cannot be written
   */
  void save(Path folder) throws IOException;

  /**
   * Reads a tokenizer: GPT-2's, GPT-1's, BERT's, or one of Sinter's own.
   *
   * @param path a {@code tokenizer.json}, or a folder that holds one, or else {@code vocab.json}
   *     with {@code merges.txt}, or {@code vocab.txt}; {@code tokenizer_config.json} and {@code
   *     special_tokens_map.json} name its special tokens; or a {@code .gguf} file
   * @return the tokenizer
   * @throws IOException where there is none, it is damaged, or it is of a kind that is not known
   */
  static Tokenizer load(Path path) throws IOException {
    return TokenizerFile.load(path);
  }
}
