package dev.sinter.text;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.AtomicFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

/**
 * Reads and writes tokenizers in Hugging Face's files. What is not understood is refused by name,
 * never skipped.
 */
final class TokenizerFile {
  private static final long MOST_BYTES = 256L << 20;
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

  private TokenizerFile() {}

  static Tokenizer load(Path path) throws IOException {
    if (!Files.isDirectory(path)) {
      return read(path);
    }
    Path file = path.resolve("tokenizer.json");
    if (Files.exists(file)) {
      return read(file);
    }
    Path vocabulary = path.resolve("vocab.json");
    Path merges = path.resolve("merges.txt");
    if (Files.exists(vocabulary) && Files.exists(merges)) {
      return readOld(vocabulary, merges);
    }
    throw new NoSuchFileException(
        path + ": no tokenizer.json, nor vocab.json with merges.txt; name a folder that has one");
  }

  private static JsonNode parse(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      throw new NoSuchFileException(
          file + ": there is no such file; name a tokenizer.json or its folder");
    }
    long size = Files.size(file);
    if (size > MOST_BYTES) {
      throw new IOException(
          file + ": has " + size + " bytes; a tokenizer file has at most " + MOST_BYTES);
    }
    try {
      JsonNode root = JSON.readTree(Files.readAllBytes(file));
      if (root == null || !root.isObject()) {
        throw new IOException(file + ": is no JSON object; it is damaged or not a tokenizer file");
      }
      return root;
    } catch (JsonProcessingException e) {
      throw new IOException(
          file + ": " + e.getOriginalMessage() + "; it is damaged or not JSON", e);
    }
  }

  private static Tokenizer read(Path file) throws IOException {
    JsonNode root = parse(file);
    JsonNode model = root.path("model");
    require(file, "model", type(model), "BPE");
    require(file, "normalizer", type(root.path("normalizer")), "null");
    for (String option : List.of("dropout", "unk_token")) {
      if (!model.path(option).isMissingNode() && !model.path(option).isNull()) {
        throw new IOException(
            file + ": model." + option + " " + model.path(option) + " is not supported");
      }
    }
    for (String option : List.of("continuing_subword_prefix", "end_of_word_suffix")) {
      if (!model.path(option).asText("").isEmpty() && !model.path(option).isNull()) {
        throw new IOException(
            file + ": model." + option + " " + model.path(option) + " is not supported");
      }
    }
    for (String option : List.of("byte_fallback", "ignore_merges")) {
      if (model.path(option).asBoolean(false)) {
        throw new IOException(file + ": model." + option + " is not supported");
      }
    }
    List<String[]> merges = merges(file, model.path("merges"));
    Map<String, Integer> specials = addedTokens(file, root.path("added_tokens"));
    String[] tokens = tokens(file, model.path("vocab"), specials);
    String preTokenizer = type(root.path("pre_tokenizer"));
    String decoder = type(root.path("decoder"));
    if (preTokenizer.equals("null") && decoder.equals("Fuse") && merges.isEmpty()) {
      return characters(file, tokens);
    }
    require(file, "pre_tokenizer", preTokenizer, "ByteLevel");
    require(file, "decoder", decoder, "ByteLevel");
    String postProcessor = type(root.path("post_processor"));
    if (!postProcessor.equals("null")) {
      require(file, "post_processor", postProcessor, "ByteLevel");
    }
    if (root.path("pre_tokenizer").path("add_prefix_space").asBoolean(false)) {
      throw new IOException(file + ": pre_tokenizer.add_prefix_space is not supported");
    }
    if (!root.path("pre_tokenizer").path("use_regex").asBoolean(true)) {
      throw new IOException(file + ": pre_tokenizer without use_regex is not supported");
    }
    return build(file, tokens, merges, specials);
  }

  private static Tokenizer readOld(Path vocabularyFile, Path mergesFile) throws IOException {
    List<String[]> merges = new ArrayList<>();
    int number = 0;
    for (String line : Files.readAllLines(mergesFile, StandardCharsets.UTF_8)) {
      number++;
      if (line.isEmpty() || (number == 1 && line.startsWith("#version"))) {
        continue;
      }
      merges.add(pair(mergesFile, "line " + number, line));
    }
    JsonNode vocabulary = parse(vocabularyFile);
    JsonNode end = vocabulary.path(BpeTokenizer.END_OF_TEXT);
    Map<String, Integer> specials =
        end.isInt() ? Map.of(BpeTokenizer.END_OF_TEXT, end.intValue()) : Map.of();
    return build(vocabularyFile, tokens(vocabularyFile, vocabulary, specials), merges, specials);
  }

  private static Tokenizer build(
      Path file, String[] tokens, List<String[]> merges, Map<String, Integer> specials)
      throws IOException {
    try {
      return new BpeTokenizer(tokens, merges, specials);
    } catch (IllegalArgumentException e) {
      throw new IOException(file + ": " + e.getMessage(), e);
    }
  }

  private static String type(JsonNode node) {
    return node.isMissingNode() || node.isNull() ? "null" : node.path("type").asText("?");
  }

  private static void require(Path file, String part, String actual, String known)
      throws IOException {
    if (!actual.equals(known)) {
      throw new IOException(
          file + ": " + part + " of type " + actual + " is not supported; " + known + " is");
    }
  }

  private static List<String[]> merges(Path file, JsonNode node) throws IOException {
    List<String[]> merges = new ArrayList<>();
    for (JsonNode merge : node) {
      String where = "merge " + merges.size();
      if (merge.isTextual()) {
        merges.add(pair(file, where, merge.textValue()));
      } else if (merge.size() == 2 && merge.get(0).isTextual() && merge.get(1).isTextual()) {
        merges.add(new String[] {merge.get(0).textValue(), merge.get(1).textValue()});
      } else {
        throw new IOException(file + ": " + where + " is no pair of tokens: " + merge);
      }
    }
    return merges;
  }

  private static String[] pair(Path file, String where, String text) throws IOException {
    int space = text.indexOf(' ');
    if (space < 1 || space == text.length() - 1 || text.indexOf(' ', space + 1) >= 0) {
      throw new IOException(file + ": " + where + " is no pair of tokens: " + text);
    }
    return new String[] {text.substring(0, space), text.substring(space + 1)};
  }

  private static Map<String, Integer> addedTokens(Path file, JsonNode node) throws IOException {
    Map<String, Integer> specials = new HashMap<>();
    for (JsonNode token : node) {
      if (!token.path("content").isTextual() || !token.path("id").isInt()) {
        throw new IOException(file + ": added token without content and id: " + token);
      }
      specials.put(token.path("content").textValue(), token.path("id").intValue());
    }
    return specials;
  }

  private static String[] tokens(Path file, JsonNode vocabulary, Map<String, Integer> specials)
      throws IOException {
    Map<String, Integer> all = new HashMap<>();
    for (Iterator<Map.Entry<String, JsonNode>> entries = vocabulary.fields(); entries.hasNext(); ) {
      Map.Entry<String, JsonNode> entry = entries.next();
      if (!entry.getValue().isInt()) {
        throw new IOException(
            file + ": token " + entry.getKey() + " has no integer id: " + entry.getValue());
      }
      all.put(entry.getKey(), entry.getValue().intValue());
    }
    all.putAll(specials);
    if (all.isEmpty()) {
      throw new IOException(
          file + ": the vocabulary is empty; it is damaged or not a tokenizer file");
    }
    String[] tokens = new String[all.size()];
    for (Map.Entry<String, Integer> entry : all.entrySet()) {
      int id = entry.getValue();
      if (id < 0 || id >= tokens.length) {
        throw new IOException(
            file
                + ": token "
                + entry.getKey()
                + " has id "
                + id
                + ", but ids of "
                + tokens.length
                + " tokens end at "
                + (tokens.length - 1));
      }
      if (tokens[id] != null) {
        throw new IOException(
            file + ": tokens " + tokens[id] + " and " + entry.getKey() + " both have id " + id);
      }
      tokens[id] = entry.getKey();
    }
    return tokens;
  }

  private static Tokenizer characters(Path file, String[] tokens) throws IOException {
    int[] characters = new int[tokens.length];
    for (int id = 0; id < tokens.length; id++) {
      characters[id] = tokens[id].codePointAt(0);
      if (tokens[id].codePointCount(0, tokens[id].length()) != 1) {
        throw new IOException(
            file + ": token " + id + " (" + tokens[id] + ") is not one character");
      }
    }
    return new CharTokenizer(characters);
  }

  static void save(CharTokenizer tokenizer, Path folder) throws IOException {
    ObjectNode root = root();
    root.putNull("pre_tokenizer");
    root.putNull("post_processor");
    root.putObject("decoder").put("type", "Fuse");
    vocabulary(tokenizer, model(root), Map.of()).putArray("merges");
    write(folder, root, tokenizer);
  }

  static void save(BpeTokenizer tokenizer, Path folder) throws IOException {
    ObjectNode root = root();
    tokenizer.specials().entrySet().stream()
        .sorted(Map.Entry.comparingByValue())
        .forEach(
            special ->
                ((ArrayNode) root.get("added_tokens"))
                    .addObject()
                    .put("id", special.getValue())
                    .put("content", special.getKey())
                    .put("single_word", false)
                    .put("lstrip", false)
                    .put("rstrip", false)
                    .put("normalized", false)
                    .put("special", true));
    for (String part : List.of("pre_tokenizer", "post_processor", "decoder")) {
      root.putObject(part)
          .put("type", "ByteLevel")
          .put("add_prefix_space", false)
          .put("trim_offsets", true)
          .put("use_regex", true);
    }
    ArrayNode merges = vocabulary(tokenizer, model(root), tokenizer.specials()).putArray("merges");
    tokenizer.merges().forEach(pair -> merges.add(pair[0] + " " + pair[1]));
    write(folder, root, tokenizer);
  }

  private static ObjectNode root() {
    ObjectNode root = JSON.createObjectNode();
    root.put("version", "1.0");
    root.putNull("truncation");
    root.putNull("padding");
    root.putArray("added_tokens");
    root.putNull("normalizer");
    return root;
  }

  private static ObjectNode model(ObjectNode root) {
    ObjectNode model = root.putObject("model");
    model.put("type", "BPE");
    model.putNull("dropout");
    model.putNull("unk_token");
    model.putNull("continuing_subword_prefix");
    model.putNull("end_of_word_suffix");
    model.put("fuse_unk", false);
    model.put("byte_fallback", false);
    return model;
  }

  private static ObjectNode vocabulary(
      Tokenizer tokenizer, ObjectNode model, Map<String, Integer> specials) {
    ObjectNode vocabulary = model.putObject("vocab");
    for (int id = 0; id < tokenizer.size(); id++) {
      if (!Integer.valueOf(id).equals(specials.get(tokenizer.token(id)))) {
        vocabulary.put(tokenizer.token(id), id);
      }
    }
    return model;
  }

  private static void write(Path folder, ObjectNode root, Tokenizer tokenizer) throws IOException {
    ObjectNode config = JSON.createObjectNode();
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    config.put("clean_up_tokenization_spaces", false);
    tokenizer
        .endOfText()
        .ifPresent(
            id -> {
              config.put("eos_token", tokenizer.token(id));
              config.put("bos_token", tokenizer.token(id));
            });
    AtomicFiles.write(folder.resolve("tokenizer.json"), JSON.writeValueAsBytes(root));
    AtomicFiles.write(
        folder.resolve("tokenizer_config.json"),
        JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(config));
  }
}
