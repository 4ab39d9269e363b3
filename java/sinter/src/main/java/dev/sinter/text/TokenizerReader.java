package dev.sinter.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Makes a tokenizer of a {@code tokenizer.json}. What is not understood is refused by name, never
 * skipped; only the file's truncation and padding, which belong to a call, are left out.
 */
final class TokenizerReader {
  private final Path file;
  private final ObjectNode root;
  private final JsonNode model;

  private TokenizerReader(Path file, JsonNode root) {
    this.file = file;
    this.root = (ObjectNode) root;
    this.model = root.path("model");
  }

  static BaseTokenizer read(Path file, JsonNode root, Map<SpecialToken, String> roles)
      throws IOException {
    TokenizerReader reader = new TokenizerReader(file, root);
    try {
      return reader.read(roles);
    } catch (IllegalArgumentException e) {
      throw new FormatException(file, e.getMessage(), e);
    }
  }

  private BaseTokenizer read(Map<SpecialToken, String> roles) throws IOException {
    String type = type(model);
    if (!type.equals("BPE") && !type.equals("WordPiece")) {
      throw unsupported("model", type, "BPE, WordPiece");
    }
    TextNormalizer normalizer = normalizer(root.path("normalizer"));
    List<AddedToken> added = addedTokens();
    Vocabulary vocabulary = vocabulary(added, roles);
    BaseTokenizer tokenizer =
        type.equals("BPE") ? bpe(vocabulary, normalizer) : wordPiece(vocabulary, normalizer);
    List<AddedToken> always = added.stream().filter(token -> !token.special()).toList();
    return always.isEmpty() ? tokenizer : new ParsingTokenizer(tokenizer, always);
  }

  private BaseTokenizer bpe(Vocabulary vocabulary, TextNormalizer normalizer) throws IOException {
    absent(model, "model", "dropout", "continuing_subword_prefix");
    off(model, "model", "fuse_unk", "byte_fallback", "ignore_merges");
    List<String[]> merges = merges();
    String splitter = type(root.path("pre_tokenizer"));
    String decoder = type(root.path("decoder"));
    if (splitter.equals("null") && decoder.equals("Fuse") && merges.isEmpty()) {
      absent(model, "model", "unk_token", "end_of_word_suffix");
      require("normalizer", type(root.path("normalizer")), "null");
      return characters(vocabulary);
    }
    if (splitter.equals("ByteLevel")) {
      absent(model, "model", "unk_token", "end_of_word_suffix");
      return byteLevel(vocabulary, merges);
    }
    String suffix = model.path("end_of_word_suffix").asText("");
    String unknown = model.path("unk_token").asText("");
    Integer unknownId = vocabulary.id(unknown);
    if (suffix.isEmpty() || model.path("end_of_word_suffix").isNull() || unknownId == null) {
      throw new FormatException(
          file,
          "a BPE model without byte-level pre_tokenizer needs end_of_word_suffix, and an unk_token"
              + " of its vocabulary");
    }
    JsonNode words = root.path("decoder");
    require("decoder", decoder, "BPEDecoder");
    if (!words.path("suffix").asText("</w>").equals(suffix)) {
      throw new FormatException(file, "decoder.suffix is not the model's end_of_word_suffix");
    }
    return words(
        vocabulary, normalizer, new WordBpe(vocabulary.plain(), merges, suffix, unknownId));
  }

  private BaseTokenizer byteLevel(Vocabulary vocabulary, List<String[]> merges) throws IOException {
    require("normalizer", type(root.path("normalizer")), "null");
    require("decoder", type(root.path("decoder")), "ByteLevel");
    JsonNode splitter = root.path("pre_tokenizer");
    off(splitter, "pre_tokenizer", "add_prefix_space");
    if (!splitter.path("use_regex").asBoolean(true)) {
      throw new FormatException(file, "pre_tokenizer without use_regex is not supported");
    }
    JsonNode processor = root.path("post_processor");
    boolean trim =
        type(processor).equals("ByteLevel") && processor.path("trim_offsets").asBoolean(true);
    return new BpeTokenizer(vocabulary, merges, template(vocabulary), trim, layout());
  }

  private BaseTokenizer wordPiece(Vocabulary vocabulary, TextNormalizer normalizer)
      throws IOException {
    Integer unknown = vocabulary.id(model.path("unk_token").asText("[UNK]"));
    if (unknown == null) {
      throw new FormatException(
          file,
          "the vocabulary does not have the token for unknown words, "
              + Quoted.plain(model.path("unk_token").asText("[UNK]")));
    }
    String prefix = model.path("continuing_subword_prefix").asText("##");
    JsonNode longest = model.path("max_input_chars_per_word");
    if (prefix.isEmpty() || !(longest.isMissingNode() || longest.isInt())) {
      throw new FormatException(
          file, "model needs a continuing_subword_prefix and a whole max_input_chars_per_word");
    }
    JsonNode decoder = root.path("decoder");
    require("decoder", type(decoder), "WordPiece");
    if (!decoder.path("prefix").asText("##").equals(prefix)) {
      throw new FormatException(
          file, "decoder.prefix is not the model's continuing_subword_prefix");
    }
    return words(
        vocabulary,
        normalizer,
        new WordPiece(
            vocabulary.plain(),
            prefix,
            unknown,
            longest.asInt(100),
            decoder.path("cleanup").asBoolean(true)));
  }

  private BaseTokenizer words(Vocabulary vocabulary, TextNormalizer normalizer, WordModel words)
      throws IOException {
    String type = type(root.path("pre_tokenizer"));
    for (WordSplitter splitter : WordSplitter.values()) {
      if (splitter.type.equals(type)) {
        return new WordTokenizer(
            vocabulary, normalizer, splitter, words, template(vocabulary), layout());
      }
    }
    throw unsupported("pre_tokenizer", type, "BertPreTokenizer, Whitespace, WhitespaceSplit");
  }

  private TextNormalizer normalizer(JsonNode node) throws IOException {
    return switch (type(node)) {
      case "null" -> text -> text;
      case "Lowercase" -> TextNormalizer::lower;
      case "NFD" -> TextNormalizer::decompose;
      case "StripAccents" -> TextNormalizer::stripAccents;
      case "BertNormalizer" -> bertNormalizer(node);
      case "Sequence" -> {
        List<TextNormalizer> steps = new ArrayList<>();
        for (JsonNode step : node.path("normalizers")) {
          steps.add(normalizer(step));
        }
        yield TextNormalizer.sequence(steps);
      }
      default ->
          throw unsupported(
              "normalizer", type(node), "BertNormalizer, Lowercase, NFD, StripAccents, Sequence");
    };
  }

  private static TextNormalizer bertNormalizer(JsonNode node) {
    boolean lower = node.path("lowercase").asBoolean(true);
    return TextNormalizer.bert(
        node.path("clean_text").asBoolean(true),
        node.path("handle_chinese_chars").asBoolean(true),
        node.path("strip_accents").asBoolean(lower),
        lower);
  }

  private Template template(Vocabulary vocabulary) throws IOException {
    JsonNode node = root.path("post_processor");
    return switch (type(node)) {
      case "null", "ByteLevel" -> Template.PLAIN;
      case "BertProcessing" -> bertProcessing(vocabulary, node);
      case "TemplateProcessing" ->
          new Template(parts(vocabulary, node, "single", 1), parts(vocabulary, node, "pair", 2));
      default ->
          throw unsupported(
              "post_processor", type(node), "BertProcessing, ByteLevel, TemplateProcessing");
    };
  }

  private Template bertProcessing(Vocabulary vocabulary, JsonNode node) throws IOException {
    Template.Part first = special(vocabulary, node.path("cls"), 0);
    Template.Part end = special(vocabulary, node.path("sep"), 0);
    Template.Part secondEnd = special(vocabulary, node.path("sep"), 1);
    Template.Part a = new Template.Part(0, null, 0);
    Template.Part b = new Template.Part(1, null, 1);
    return new Template(List.of(first, a, end), List.of(first, a, end, b, secondEnd));
  }

  private Template.Part special(Vocabulary vocabulary, JsonNode pair, int type) throws IOException {
    if (!pair.isArray() || pair.size() != 2) {
      throw new FormatException(file, "post_processor without cls and sep");
    }
    return new Template.Part(Template.SPECIAL, new int[] {id(vocabulary, pair.get(1))}, type);
  }

  private int id(Vocabulary vocabulary, JsonNode id) throws IOException {
    if (!id.isInt() || id.intValue() < 0 || id.intValue() >= vocabulary.size()) {
      throw new FormatException(
          file,
          "post_processor: "
              + Quoted.plain(id.toString())
              + " is no id of the "
              + vocabulary.size()
              + " tokens");
    }
    return id.intValue();
  }

  private List<Template.Part> parts(
      Vocabulary vocabulary, JsonNode processor, String name, int sequences) throws IOException {
    List<Template.Part> parts = new ArrayList<>();
    Set<Integer> seen = new LinkedHashSet<>();
    for (JsonNode part : processor.path(name)) {
      JsonNode sequence = part.path("Sequence");
      JsonNode special = part.path("SpecialToken");
      int type = (sequence.isObject() ? sequence : special).path("type_id").asInt(-1);
      if (sequence.isObject() && type >= 0) {
        int number = List.of("A", "B").indexOf(sequence.path("id").asText());
        seen.add(number);
        parts.add(new Template.Part(number, null, type));
      } else if (special.isObject() && type >= 0) {
        JsonNode ids =
            processor.path("special_tokens").path(special.path("id").asText()).path("ids");
        if (!ids.isArray() || ids.isEmpty()) {
          throw new FormatException(
              file,
              "post_processor.special_tokens has no ids of "
                  + Quoted.plain(special.path("id").asText()));
        }
        int[] all = new int[ids.size()];
        for (int i = 0; i < all.length; i++) {
          all[i] = id(vocabulary, ids.get(i));
        }
        parts.add(new Template.Part(Template.SPECIAL, all, type));
      } else {
        throw new FormatException(
            file, "post_processor: " + Quoted.plain(part.toString()) + " is no part of a template");
      }
    }
    if (seen.size() != sequences || seen.contains(-1) || (sequences == 1 && !seen.contains(0))) {
      throw new FormatException(
          file, "post_processor." + name + " is no template of " + sequences + " texts");
    }
    return parts;
  }

  private static String type(JsonNode node) {
    return node.isMissingNode() || node.isNull() ? "null" : node.path("type").asText("?");
  }

  private void require(String part, String actual, String known) throws IOException {
    if (!actual.equals(known)) {
      throw unsupported(part, actual, known);
    }
  }

  private FormatException unsupported(String part, String actual, String known) {
    return new FormatException(
        file,
        part + " of type " + Quoted.plain(actual) + " is not supported; known here: " + known);
  }

  private void absent(JsonNode node, String part, String... options) throws IOException {
    for (String option : options) {
      JsonNode value = node.path(option);
      boolean empty = value.isMissingNode() || value.isNull() || value.asText("?").isEmpty();
      if (!empty) {
        throw unsupportedOption(part, option, value);
      }
    }
  }

  private void off(JsonNode node, String part, String... options) throws IOException {
    for (String option : options) {
      if (node.path(option).asBoolean(false)) {
        throw unsupportedOption(part, option, node.path(option));
      }
    }
  }

  private FormatException unsupportedOption(String part, String option, JsonNode value) {
    return new FormatException(
        file,
        part + "." + option + " " + Quoted.plain(value.toString()) + " is not supported here");
  }

  private List<String[]> merges() throws IOException {
    List<String[]> merges = new ArrayList<>();
    for (JsonNode merge : model.path("merges")) {
      String where = "merge " + merges.size();
      if (merge.isTextual()) {
        merges.add(pair(file, where, merge.textValue()));
      } else if (merge.size() == 2 && merge.path(0).isTextual() && merge.path(1).isTextual()) {
        merges.add(new String[] {merge.get(0).textValue(), merge.get(1).textValue()});
      } else {
        throw new FormatException(
            file, where + " is no pair of tokens: " + Quoted.plain(merge.toString()));
      }
    }
    return merges;
  }

  static String[] pair(Path file, String where, String text) throws IOException {
    int space = text.indexOf(' ');
    if (space < 1 || space == text.length() - 1 || text.indexOf(' ', space + 1) >= 0) {
      throw new FormatException(file, where + " is no pair of tokens: " + Quoted.plain(text));
    }
    return new String[] {text.substring(0, space), text.substring(space + 1)};
  }

  private List<AddedToken> addedTokens() throws IOException {
    boolean normalizes = !type(root.path("normalizer")).equals("null");
    List<AddedToken> tokens = new ArrayList<>();
    for (JsonNode node : root.path("added_tokens")) {
      String content = node.path("content").asText("");
      if (content.isEmpty() || !node.path("id").isInt()) {
        throw new FormatException(
            file, "added token without content and id: " + Quoted.plain(node.toString()));
      }
      boolean special = node.path("special").asBoolean(false);
      off(node, "added token " + Quoted.plain(content), "single_word");
      // A special token is looked for in the text as it is, which finds it as it is written.
      if (normalizes && !special) {
        off(node, "added token " + Quoted.plain(content), "normalized");
      }
      tokens.add(
          new AddedToken(
              content,
              node.path("id").intValue(),
              special,
              node.path("lstrip").asBoolean(false),
              node.path("rstrip").asBoolean(false)));
    }
    return tokens;
  }

  private Vocabulary vocabulary(List<AddedToken> added, Map<SpecialToken, String> roles)
      throws IOException {
    Map<String, Integer> all = new LinkedHashMap<>();
    for (Iterator<Map.Entry<String, JsonNode>> entries = model.path("vocab").fields();
        entries.hasNext(); ) {
      Map.Entry<String, JsonNode> entry = entries.next();
      if (!entry.getValue().isInt()) {
        throw new FormatException(
            file,
            "token "
                + Quoted.plain(entry.getKey())
                + " has no integer id: "
                + Quoted.plain(entry.getValue().toString()));
      }
      all.put(entry.getKey(), entry.getValue().intValue());
    }
    Set<String> outside = new LinkedHashSet<>();
    for (AddedToken token : added) {
      Integer before = all.put(token.content(), token.id());
      if (before == null) {
        outside.add(token.content());
      } else if (before != token.id()) {
        throw new FormatException(
            file,
            "token "
                + Quoted.plain(token.content())
                + " has two ids, "
                + before
                + " and "
                + token.id());
      }
    }
    return new Vocabulary(byId(all), added, outside, roles);
  }

  private String[] byId(Map<String, Integer> all) throws IOException {
    if (all.isEmpty()) {
      throw new FormatException(
          file, "the vocabulary is empty; it is damaged or not a tokenizer file");
    }
    String[] tokens = new String[all.size()];
    for (Map.Entry<String, Integer> entry : all.entrySet()) {
      int id = entry.getValue();
      if (id < 0 || id >= tokens.length) {
        throw new FormatException(
            file,
            "token "
                + Quoted.plain(entry.getKey())
                + " has id "
                + id
                + ", but ids of "
                + tokens.length
                + " tokens end at "
                + (tokens.length - 1));
      }
      if (tokens[id] != null) {
        throw new FormatException(
            file,
            "tokens "
                + Quoted.plain(tokens[id])
                + " and "
                + Quoted.plain(entry.getKey())
                + " both have id "
                + id);
      }
      tokens[id] = entry.getKey();
    }
    return tokens;
  }

  private BaseTokenizer characters(Vocabulary vocabulary) throws IOException {
    int[] characters = new int[vocabulary.size()];
    for (int id = 0; id < characters.length; id++) {
      String token = vocabulary.token(id);
      if (token.isEmpty() || token.codePointCount(0, token.length()) != 1) {
        throw new FormatException(
            file, "token " + id + " (" + Quoted.plain(token) + ") is not one character");
      }
      characters[id] = token.codePointAt(0);
    }
    return new CharTokenizer(characters);
  }

  /** The file without what the tokenizer itself knows. */
  private ObjectNode layout() {
    ObjectNode layout = root.objectNode();
    layout.put("version", "1.0");
    layout.putNull("truncation");
    layout.putNull("padding");
    layout.putNull("added_tokens");
    for (String part : List.of("normalizer", "pre_tokenizer", "post_processor", "decoder")) {
      layout.set(part, root.get(part));
    }
    ObjectNode settings = layout.putObject("model");
    model
        .fields()
        .forEachRemaining(
            field -> {
              if (!field.getKey().equals("vocab") && !field.getKey().equals("merges")) {
                settings.set(field.getKey(), field.getValue());
              }
            });
    return layout;
  }
}
