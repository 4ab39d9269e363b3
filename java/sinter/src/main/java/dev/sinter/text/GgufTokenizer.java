package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.FormatException;
import dev.sinter.io.GgufFile;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;

/** The tokenizer inside llama.cpp's files, turned into a {@code tokenizer.json}. */
final class GgufTokenizer {
  private static final String SETTINGS = "tokenizer.ggml.";

  /** Where the file names a special token; the format spells it so. */
  private static final Map<SpecialToken, String> ROLES =
      Map.of(
          SpecialToken.BEGIN_OF_TEXT, "bos_token_id",
          SpecialToken.END_OF_TEXT, "eos_token_id",
          SpecialToken.UNKNOWN, "unknown_token_id",
          SpecialToken.PADDING, "padding_token_id",
          SpecialToken.CLASS, "cls_token_id",
          SpecialToken.SEPARATOR, "seperator_token_id",
          SpecialToken.MASK, "mask_token_id");

  /** Kinds of tokens that are parsed, not made of text. */
  private static final int CONTROL = 3;

  private static final int USER_DEFINED = 4;

  /** Stands before a token that begins a word. */
  private static final String WORD = "\u2581";

  private GgufTokenizer() {}

  static Tokenizer load(Path path) throws IOException {
    try (GgufFile file = GgufFile.open(path)) {
      String model = file.text(SETTINGS + "model", "");
      return switch (model) {
        case "gpt2" -> byteLevel(path, file);
        case "bert" -> wordPiece(path, file);
        default ->
            throw new FormatException(
                path,
                "its tokenizer "
                    + FormatException.quote(model)
                    + " is not supported; gpt2 and bert are");
      };
    }
  }

  private static Tokenizer byteLevel(Path path, GgufFile file) throws IOException {
    String splitter = file.text(SETTINGS + "pre", "gpt-2");
    if (!Set.of("gpt-2", "default").contains(splitter)) {
      throw new FormatException(
          path,
          "it splits text as "
              + FormatException.quote(splitter)
              + "; only gpt-2's way is supported");
    }
    List<String> tokens = file.texts(SETTINGS + "tokens");
    ObjectNode root = Layouts.byteLevel();
    ObjectNode model = (ObjectNode) root.get("model");
    model.set("vocab", vocabulary(path, tokens));
    ArrayNode merges = model.putArray("merges");
    file.texts(SETTINGS + "merges").forEach(merges::add);
    Map<SpecialToken, String> roles = roles(path, file, tokens);
    List<Integer> kinds = kinds(path, file, tokens.size());
    added(tokens, kinds, roles).values().forEach(token -> Layouts.add(root, token));
    return TokenizerReader.read(path, root, roles);
  }

  private static Tokenizer wordPiece(Path path, GgufFile file) throws IOException {
    List<String> stored = file.texts(SETTINGS + "tokens");
    List<Integer> kinds = kinds(path, file, stored.size());
    List<String> tokens =
        IntStream.range(0, stored.size())
            .mapToObj(id -> kinds.get(id) == CONTROL ? stored.get(id) : piece(stored.get(id)))
            .toList();
    Map<SpecialToken, String> roles = roles(path, file, tokens);
    for (SpecialToken role : SpecialToken.values()) {
      role.usual().stream()
          .filter(usual -> usual.startsWith("[") && tokens.contains(usual))
          .forEach(usual -> roles.putIfAbsent(role, usual));
    }
    Map<String, AddedToken> added = added(tokens, kinds, roles);
    // The format does not say whether case is dropped; a vocabulary that has none does.
    boolean lowercase =
        tokens.stream()
            .filter(token -> !added.containsKey(token) && !bracketed(token))
            .noneMatch(token -> token.codePoints().anyMatch(c -> Character.toLowerCase(c) != c));
    ObjectNode root =
        Layouts.wordPiece(lowercase, null, true, roles.getOrDefault(SpecialToken.UNKNOWN, "[UNK]"));
    ((ObjectNode) root.get("model")).set("vocab", vocabulary(path, tokens));
    added.values().forEach(token -> Layouts.add(root, token));
    AddedToken first = added.get(roles.getOrDefault(SpecialToken.CLASS, ""));
    AddedToken end = added.get(roles.getOrDefault(SpecialToken.SEPARATOR, ""));
    if (first != null && end != null) {
      Layouts.template(root, first, end);
    }
    return TokenizerReader.read(path, root, roles);
  }

  /** A token as BERT writes it: what goes on within a word has the mark, not what begins one. */
  private static String piece(String token) {
    if (bracketed(token)) {
      return token; // older files keep all of them as they are
    }
    // No word is empty: the character alone is one that goes on.
    boolean begins = token.startsWith(WORD) && token.length() > WORD.length();
    return begins ? token.substring(WORD.length()) : "##" + token;
  }

  private static boolean bracketed(String token) {
    return token.startsWith("[") && token.endsWith("]");
  }

  private static ObjectNode vocabulary(Path path, List<String> tokens) throws FormatException {
    ObjectNode vocabulary = TokenizerFile.JSON.createObjectNode();
    for (int id = 0; id < tokens.size(); id++) {
      if (vocabulary.has(tokens.get(id))) {
        throw new FormatException(
            path,
            "tokens "
                + vocabulary.get(tokens.get(id))
                + " and "
                + id
                + " are the same: "
                + Quoted.plain(tokens.get(id)));
      }
      vocabulary.put(tokens.get(id), id);
    }
    return vocabulary;
  }

  /** The kind of each token; zeros where the file does not say. */
  private static List<Integer> kinds(Path path, GgufFile file, int tokens) throws FormatException {
    List<Integer> kinds = file.numbers(SETTINGS + "token_type");
    if (kinds.isEmpty()) {
      return Collections.nCopies(tokens, 0);
    }
    if (kinds.size() != tokens) {
      throw new FormatException(path, "has " + tokens + " tokens, and kinds of " + kinds.size());
    }
    return kinds;
  }

  private static Map<SpecialToken, String> roles(Path path, GgufFile file, List<String> tokens)
      throws FormatException {
    Map<SpecialToken, String> roles = new EnumMap<>(SpecialToken.class);
    for (Map.Entry<SpecialToken, String> role : ROLES.entrySet()) {
      int id = file.number(SETTINGS + role.getValue(), -1);
      if (id < -1 || id >= tokens.size()) {
        throw new FormatException(
            path, role.getValue() + " is " + id + "; there are " + tokens.size() + " tokens");
      }
      if (id >= 0) {
        roles.put(role.getKey(), tokens.get(id));
      }
    }
    return roles;
  }

  /** Tokens that stand for themselves: special ones, and those that users defined. */
  private static Map<String, AddedToken> added(
      List<String> tokens, List<Integer> kinds, Map<SpecialToken, String> roles) {
    Map<String, AddedToken> added = new LinkedHashMap<>();
    Set<String> special = Set.copyOf(roles.values());
    for (int id = 0; id < tokens.size(); id++) {
      String token = tokens.get(id);
      int kind = kinds.get(id);
      if (kind == CONTROL || special.contains(token)) {
        added.put(token, AddedToken.special(token, id));
      } else if (kind == USER_DEFINED) {
        added.put(token, new AddedToken(token, id, false, false, false));
      }
    }
    return added;
  }
}
