package dev.sinter.text;

import java.util.List;

/** Cuts one word into tokens. */
interface WordModel {
  /** Appends the tokens of a word, each with its place in the original. */
  void encode(MappedText text, int from, int to, TokenBuffer out);

  /** The merges by rank, or null where there are none. */
  List<String[]> merges();

  /** Starts decoding. */
  TokenDecoder decoder(Vocabulary vocabulary);
}
