package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;

/**
 * Tokenizers that normalise a text, cut it into words and encode each: BERT's WordPiece (Devlin et
 * al. 2019) and GPT-1's byte-pair encoding (Radford et al. 2018). White space is lost, and so is
 * what the normaliser takes away.
 *
 * <p>GPT-1 here is that of Hugging Face's {@code tokenizer.json}, with BERT's normaliser (which
 * strips accents) and BERT's way of cutting words. The original cut words with spaCy, and kept
 * accents: {@code don't} and {@code café} have other ids there.
 */
public final class WordTokenizer extends BaseTokenizer {
  private final ObjectNode layout;
  private final TextNormalizer normalizer;
  private final WordSplitter splitter;
  private final WordModel model;
  private final PieceCache cache = new PieceCache();

  WordTokenizer(
      Vocabulary vocabulary,
      TextNormalizer normalizer,
      WordSplitter splitter,
      WordModel model,
      Template template,
      ObjectNode layout) {
    super(vocabulary, template);
    this.normalizer = normalizer;
    this.splitter = splitter;
    this.model = model;
    this.layout = layout;
  }

  /**
   * Learns a WordPiece vocabulary for BERT from a text.
   *
   * @param text not empty
   * @param size of the vocabulary, with [PAD], [UNK], [CLS], [SEP] and [MASK]; fewer where the text
   *     has no more
   * @param lowercase whether case and accents are dropped, as in BERT's uncased models
   * @return the tokenizer
   */
  public static WordTokenizer trainWordPiece(CharSequence text, int size, boolean lowercase) {
    return Training.wordPiece(text, size, lowercase);
  }

  /**
   * Learns GPT-1's merges from a text.
   *
   * @param text not empty
   * @param size of the vocabulary, with the token for unknown characters; fewer where the text has
   *     no more pairs
   * @return the tokenizer
   */
  public static WordTokenizer trainBpe(CharSequence text, int size) {
    return Training.endOfWord(text, size);
  }

  /** What is between two cuts is independent of the rest: it can be remembered. */
  @Override
  void append(String text, int from, int to, TokenBuffer out) {
    for (int at = from; at < to; ) {
      if (Characters.cut(text.charAt(at))) {
        at++;
        continue;
      }
      int end = at + 1;
      while (end < to && !Characters.cut(text.charAt(end))) {
        end++;
      }
      out.add(cache.get(text, at, end, this::encodePiece), at);
      at = end;
    }
  }

  private Piece encodePiece(String piece) {
    MappedText text = normalizer.apply(MappedText.of(piece));
    TokenBuffer tokens = new TokenBuffer(8, true);
    forEachWord(text, splitter, (from, to) -> model.encode(text, from, to, tokens));
    return tokens.piece();
  }

  /** Takes the place of a word. */
  interface Words {
    void word(int from, int to);
  }

  static void forEachWord(MappedText text, WordSplitter splitter, Words words) {
    for (int at = 0; at < text.length(); ) {
      int c = text.codePoint(at);
      if (Characters.space(c)) {
        at += Character.charCount(c);
        continue;
      }
      int end = splitter.end(text, at);
      words.word(at, end);
      at = end;
    }
  }

  @Override
  public TokenDecoder decoder() {
    return model.decoder(vocabulary());
  }

  @Override
  ObjectNode layout() {
    return layout;
  }

  @Override
  List<String[]> merges() {
    return model.merges();
  }
}
