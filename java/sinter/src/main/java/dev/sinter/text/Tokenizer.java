package dev.sinter.text;

import java.io.IOException;
import java.nio.file.Path;
import java.util.OptionalInt;

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
   * Returns the token that ends a text.
   *
   * @return its id, or empty where the vocabulary has none
   */
  OptionalInt endOfText();

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
   * Reads a tokenizer.
   *
   * @param path a {@code tokenizer.json}, or a folder that holds one
   * @return the tokenizer
   * @throws IOException where there is none, or it is of a kind that is not known
   */
  static Tokenizer load(Path path) throws IOException {
    return TokenizerFile.load(path);
  }
}
