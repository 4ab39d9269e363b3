package dev.sinter.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** Files older than {@code tokenizer.json}, turned into one. */
final class OldFiles {
  private OldFiles() {}

  /** vocab.json and merges.txt: GPT-2's where the byte alphabet is there, else GPT-1's. */
  static Tokenizer bpe(Path vocabularyFile, Path mergesFile, Map<SpecialToken, String> roles)
      throws IOException {
    JsonNode vocabulary = TokenizerFile.object(vocabularyFile);
    boolean words = false;
    if (!vocabulary.has(String.valueOf(ByteAlphabet.character(0)))) {
      for (var names = vocabulary.fieldNames(); names.hasNext() && !words; ) {
        words = names.next().endsWith("</w>");
      }
    }
    String unknown = roles.getOrDefault(SpecialToken.UNKNOWN, "<unk>");
    ObjectNode root = words ? Layouts.words(unknown) : Layouts.byteLevel();
    ObjectNode model = (ObjectNode) root.get("model");
    model.set("vocab", vocabulary);
    ArrayNode merges = model.putArray("merges");
    int number = 0;
    for (String line : TokenizerFile.lines(mergesFile)) {
      number++;
      if (line.isBlank() || (number == 1 && line.startsWith("#version"))) {
        continue;
      }
      String[] pair = TokenizerReader.pair(mergesFile, "line " + number, line.stripTrailing());
      merges.addArray().add(pair[0]).add(pair[1]);
    }
    String special = words ? unknown : BpeTokenizer.END_OF_TEXT;
    if (vocabulary.path(special).isInt()) {
      Layouts.add(root, AddedToken.special(special, vocabulary.path(special).intValue()));
    }
    addMore(vocabularyFile, root);
    return TokenizerReader.read(vocabularyFile, root, roles);
  }

  /** vocab.txt, one token a line, with the settings of tokenizer_config.json. */
  static Tokenizer wordPiece(Path file, JsonNode config, Map<SpecialToken, String> roles)
      throws IOException {
    Map<SpecialToken, String> names = new EnumMap<>(SpecialToken.class);
    for (SpecialToken role : SpecialToken.values()) {
      role.usual().stream()
          .filter(usual -> usual.startsWith("["))
          .forEach(usual -> names.put(role, usual));
    }
    names.putAll(roles);
    JsonNode strip = config.path("strip_accents");
    ObjectNode root =
        Layouts.wordPiece(
            config.path("do_lower_case").asBoolean(true),
            strip.isBoolean() ? strip.booleanValue() : null,
            config.path("tokenize_chinese_chars").asBoolean(true),
            names.get(SpecialToken.UNKNOWN));
    ObjectNode vocabulary = ((ObjectNode) root.get("model")).putObject("vocab");
    List<String> lines = TokenizerFile.lines(file);
    for (int id = 0; id < lines.size(); id++) {
      if (vocabulary.has(lines.get(id))) {
        throw new FormatException(
            file,
            "lines "
                + (vocabulary.get(lines.get(id)).intValue() + 1)
                + " and "
                + (id + 1)
                + " have the same token: "
                + Quoted.plain(lines.get(id)));
      }
      vocabulary.put(lines.get(id), id);
    }
    List<AddedToken> ends = new ArrayList<>();
    for (SpecialToken role : SpecialToken.values()) {
      String name = names.get(role);
      if (name == null || !vocabulary.has(name)) {
        continue;
      }
      AddedToken token = AddedToken.special(name, vocabulary.get(name).intValue());
      Layouts.add(root, token);
      if (role == SpecialToken.CLASS || role == SpecialToken.SEPARATOR) {
        ends.add(token);
      }
    }
    if (ends.size() == 2) {
      Layouts.template(root, ends.get(0), ends.get(1));
    }
    addMore(file, root);
    return TokenizerReader.read(file, root, names);
  }

  /** added_tokens.json: tokens beyond the vocabulary, parsed out of every text. */
  private static void addMore(Path beside, ObjectNode root) throws IOException {
    Path file = beside.resolveSibling("added_tokens.json");
    if (!Files.exists(file)) {
      return;
    }
    JsonNode vocabulary = root.path("model").path("vocab");
    for (var entries = TokenizerFile.object(file).fields(); entries.hasNext(); ) {
      Map.Entry<String, JsonNode> entry = entries.next();
      if (!entry.getValue().isInt() || entry.getKey().isEmpty()) {
        throw new FormatException(
            file, "token " + Quoted.plain(entry.getKey()) + " has no integer id");
      }
      if (!vocabulary.has(entry.getKey())) {
        int id = entry.getValue().intValue();
        Layouts.add(root, new AddedToken(entry.getKey(), id, false, false, false));
      }
    }
  }
}
