package dev.sinter.text;

import java.util.function.IntPredicate;

/** Cuts a normalised text into words: Hugging Face's pre-tokenizers of the same names. */
enum WordSplitter {
  /** At white space, and around every punctuation mark. */
  BERT_PRE_TOKENIZER("BertPreTokenizer") {
    @Override
    int end(MappedText text, int at) {
      return Characters.punctuation(text.codePoint(at))
          ? at + Character.charCount(text.codePoint(at))
          : run(text, at, c -> !Characters.space(c) && !Characters.punctuation(c));
    }
  },
  /** At white space. */
  WHITESPACE_SPLIT("WhitespaceSplit") {
    @Override
    int end(MappedText text, int at) {
      return run(text, at, c -> !Characters.space(c));
    }
  },
  /** Into runs of letters, digits and underscores, and runs of others. */
  WHITESPACE("Whitespace") {
    @Override
    int end(MappedText text, int at) {
      return word(text.codePoint(at))
          ? run(text, at, WordSplitter::word)
          : run(text, at, c -> !word(c) && !Characters.space(c));
    }
  };

  final String type;

  WordSplitter(String type) {
    this.type = type;
  }

  /** The end of the word that starts at a place that is no white space. */
  abstract int end(MappedText text, int at);

  private static int run(MappedText text, int at, IntPredicate inside) {
    while (at < text.length() && inside.test(text.codePoint(at))) {
      at += Character.charCount(text.codePoint(at));
    }
    return at;
  }

  private static boolean word(int c) {
    return switch (Character.getType(c)) {
      case Character.NON_SPACING_MARK,
          Character.COMBINING_SPACING_MARK,
          Character.ENCLOSING_MARK,
          Character.DECIMAL_DIGIT_NUMBER,
          Character.CONNECTOR_PUNCTUATION ->
          true;
      default -> Character.isAlphabetic(c) || c == 0x200C || c == 0x200D;
    };
  }
}
