package dev.sinter.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.io.FormatException;
import dev.sinter.io.GgufFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** Finds the tokenizer of a folder: {@code tokenizer.json}, or else the older files. */
final class TokenizerFile {
  // Names are tokens here, tens of thousands that never come again.
  static final ObjectMapper JSON =
      new ObjectMapper(
              JsonFactory.builder()
                  .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                  .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
                  .build())
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(com.fasterxml.jackson.databind.DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
  private static final long MOST_BYTES = 256L << 20;

  private TokenizerFile() {}

  static Tokenizer load(Path path) throws IOException {
    if (GgufFile.isNamed(path)) {
      return GgufTokenizer.load(path);
    }
    if (!Files.isDirectory(path)) {
      return TokenizerReader.read(path, object(path), Map.of());
    }
    Map<SpecialToken, String> roles = roles(path);
    Path file = path.resolve("tokenizer.json");
    if (Files.exists(file)) {
      return TokenizerReader.read(file, object(file), roles);
    }
    Path vocabulary = path.resolve("vocab.json");
    Path merges = path.resolve("merges.txt");
    if (Files.exists(vocabulary) && Files.exists(merges)) {
      return OldFiles.bpe(vocabulary, merges, roles);
    }
    Path words = path.resolve("vocab.txt");
    if (Files.exists(words)) {
      return OldFiles.wordPiece(words, config(path), roles);
    }
    throw new NoSuchFileException(
        path
            + ": no tokenizer.json, nor vocab.json with merges.txt, nor vocab.txt; name a folder"
            + " that has one");
  }

  private static byte[] bytes(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      throw new NoSuchFileException(
          file + ": there is no such file; name a tokenizer.json or its folder");
    }
    long size = Files.size(file);
    if (size > MOST_BYTES) {
      throw new FormatException(
          file, "has " + size + " bytes; a tokenizer file has at most " + MOST_BYTES);
    }
    return Files.readAllBytes(file);
  }

  static JsonNode object(Path file) throws IOException {
    byte[] bytes = bytes(file);
    try {
      JsonNode root = JSON.readTree(bytes);
      if (root == null || !root.isObject()) {
        throw new FormatException(file, "is no JSON object; it is damaged or not a tokenizer file");
      }
      return root;
    } catch (JsonProcessingException e) {
      String problem = e.getOriginalMessage().lines().findFirst().orElse("malformed");
      throw new FormatException(file, Quoted.message(problem) + "; it is damaged or not JSON", e);
    } catch (CharacterCodingException e) {
      throw new FormatException(file, "is not UTF-8; it is damaged or not JSON", e);
    }
  }

  /** The lines of a text file, as Python splits them. */
  static List<String> lines(Path file) throws IOException {
    try {
      String text =
          StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes(file))).toString();
      List<String> lines = List.of(text.split("\r\n|\n|\r", -1));
      boolean ended = lines.get(lines.size() - 1).isEmpty();
      return ended ? lines.subList(0, lines.size() - 1) : lines;
    } catch (CharacterCodingException e) {
      throw new FormatException(file, "is not UTF-8; it is damaged or not a vocabulary", e);
    }
  }

  private static JsonNode config(Path folder) throws IOException {
    Path file = folder.resolve("tokenizer_config.json");
    return Files.exists(file) ? object(file) : JSON.createObjectNode();
  }

  /** What tokenizer_config.json and special_tokens_map.json call the special tokens. */
  private static Map<SpecialToken, String> roles(Path folder) throws IOException {
    Map<SpecialToken, String> roles = new EnumMap<>(SpecialToken.class);
    Path map = folder.resolve("special_tokens_map.json");
    for (JsonNode node :
        List.of(Files.exists(map) ? object(map) : config(folder), config(folder))) {
      for (SpecialToken role : SpecialToken.values()) {
        JsonNode token = node.path(role.key);
        String content = token.isObject() ? token.path("content").textValue() : token.textValue();
        if (content != null) {
          roles.put(role, content);
        }
      }
    }
    return roles;
  }
}
