package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/** Makes tokenizers from texts: what {@link BpeTrainer} is fed with, and what its tokens become. */
final class Training {
  private static final int BYTES = 256;

  /** Rarer characters are unknown: each would cost two tokens. */
  private static final int MOST_CHARACTERS = 1000;

  private static final List<String> BERT_SPECIALS =
      List.of("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]");
  private static final String UNKNOWN = "<unk>";
  private static final String SUFFIX = "</w>";
  private static final String PREFIX = "##";

  private Training() {}

  static BpeTokenizer byteLevel(CharSequence text, int size) {
    requireText(text);
    if (size <= BYTES) {
      throw new IllegalArgumentException(
          "a byte-level vocabulary of "
              + size
              + "; at least "
              + (BYTES + 1)
              + ": 256 bytes and the end-of-text token");
    }
    BpeTrainer trainer = new BpeTrainer("");
    TreeSet<Character> alphabet = new TreeSet<>();
    for (int value = 0; value < BYTES; value++) {
      alphabet.add(ByteAlphabet.character(value));
    }
    int[] byteIds = new int[BYTES];
    for (char letter : alphabet) {
      byteIds[ByteAlphabet.value(letter)] = trainer.token(String.valueOf(letter));
    }
    String whole = text.toString();
    Map<String, Long> pieces = new HashMap<>();
    for (int at = 0; at < whole.length(); ) {
      int end = PreTokenizer.end(whole, at, whole.length());
      pieces.merge(whole.substring(at, end), 1L, Long::sum);
      at = end;
    }
    pieces.forEach(
        (piece, count) -> {
          byte[] bytes = piece.getBytes(StandardCharsets.UTF_8);
          int[] symbols = new int[bytes.length];
          for (int i = 0; i < bytes.length; i++) {
            symbols[i] = byteIds[bytes[i] & 0xff];
          }
          trainer.word(symbols, count);
        });
    trainer.learn(size - 1);
    ObjectNode root = Layouts.byteLevel();
    // Outside the model's vocabulary: no merge can make it.
    int end = trainer.tokens().size();
    Layouts.add(root, AddedToken.special(BpeTokenizer.END_OF_TEXT, end));
    return (BpeTokenizer) tokenizer(root, trainer, true);
  }

  static WordTokenizer wordPiece(CharSequence text, int size, boolean lowercase) {
    requireText(text);
    BpeTrainer trainer = new BpeTrainer(PREFIX);
    BERT_SPECIALS.forEach(trainer::token);
    words(text, TextNormalizer.bert(true, true, lowercase, lowercase), trainer, PREFIX, "");
    requireRoom(trainer, size);
    trainer.learn(size);
    ObjectNode root = Layouts.wordPiece(lowercase, null, true, "[UNK]");
    List<AddedToken> specials = new ArrayList<>();
    BERT_SPECIALS.forEach(name -> specials.add(AddedToken.special(name, specials.size())));
    specials.forEach(token -> Layouts.add(root, token));
    Layouts.template(root, specials.get(2), specials.get(3));
    return (WordTokenizer) tokenizer(root, trainer, false);
  }

  static WordTokenizer endOfWord(CharSequence text, int size) {
    requireText(text);
    BpeTrainer trainer = new BpeTrainer("");
    trainer.token(UNKNOWN);
    words(text, TextNormalizer.bert(true, true, true, true), trainer, "", SUFFIX);
    requireRoom(trainer, size);
    trainer.learn(size);
    ObjectNode root = Layouts.words(UNKNOWN);
    Layouts.add(root, AddedToken.special(UNKNOWN, 0));
    return (WordTokenizer) tokenizer(root, trainer, true);
  }

  private static void requireText(CharSequence text) {
    if (text.length() == 0) {
      throw new IllegalArgumentException(
          "the text is empty; a vocabulary needs a text to be learned from");
    }
  }

  private static void requireRoom(BpeTrainer trainer, int size) {
    if (size < trainer.tokens().size()) {
      throw new IllegalArgumentException(
          "a vocabulary of "
              + size
              + "; the text's characters and the special tokens alone are "
              + trainer.tokens().size());
    }
  }

  /** Feeds the words of a text, each character with its mark. */
  private static void words(
      CharSequence text,
      TextNormalizer normalizer,
      BpeTrainer trainer,
      String prefix,
      String suffix) {
    Map<String, Long> words = count(text.toString(), normalizer);
    Set<Integer> alphabet = alphabet(words);
    words.keySet().removeIf(word -> !word.codePoints().allMatch(alphabet::contains));
    alphabet.stream().sorted().map(Character::toString).forEach(trainer::token);
    words.forEach(
        (word, count) -> {
          int[] characters = word.codePoints().toArray();
          int[] symbols = new int[characters.length];
          for (int i = 0; i < symbols.length; i++) {
            String before = i > 0 ? prefix : "";
            String after = i == symbols.length - 1 ? suffix : "";
            symbols[i] = trainer.token(before + Character.toString(characters[i]) + after);
          }
          trainer.word(symbols, count);
        });
  }

  private static Map<String, Long> count(String text, TextNormalizer normalizer) {
    Map<String, Long> chunks = new HashMap<>();
    for (String chunk : text.split("[ \t\r\n]+", -1)) {
      chunks.merge(chunk, 1L, Long::sum);
    }
    Map<String, Long> words = new TreeMap<>();
    chunks.forEach(
        (chunk, times) -> {
          MappedText normal = normalizer.apply(MappedText.of(chunk));
          WordTokenizer.forEachWord(
              normal,
              WordSplitter.BERT_PRE_TOKENIZER,
              (from, to) -> words.merge(normal.substring(from, to), times, Long::sum));
        });
    return words;
  }

  /** The most frequent characters. */
  private static Set<Integer> alphabet(Map<String, Long> words) {
    Map<Integer, Long> counts = new TreeMap<>();
    words.forEach(
        (word, count) -> word.codePoints().forEach(c -> counts.merge(c, count, Long::sum)));
    Comparator<Integer> frequency = Comparator.comparing(counts::get);
    return new HashSet<>(
        counts.keySet().stream().sorted(frequency.reversed()).limit(MOST_CHARACTERS).toList());
  }

  private static BaseTokenizer tokenizer(ObjectNode root, BpeTrainer trainer, boolean withMerges) {
    ObjectNode model = (ObjectNode) root.get("model");
    ObjectNode vocabulary = model.putObject("vocab");
    for (String token : trainer.tokens()) {
      vocabulary.put(token, vocabulary.size());
    }
    if (withMerges) {
      ArrayNode merges = model.putArray("merges");
      trainer.merges().forEach(pair -> merges.addArray().add(pair[0]).add(pair[1]));
    }
    try {
      return TokenizerReader.read(Path.of("trained"), root, Map.of());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
