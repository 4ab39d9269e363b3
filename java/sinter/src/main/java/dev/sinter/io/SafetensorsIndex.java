package dev.sinter.io;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** {@code model.safetensors.index.json}: which file of a sharded model holds which tensor. */
final class SafetensorsIndex {
  private static final int MAX_SHARDS = 1_000;

  private SafetensorsIndex() {}

  /**
   * Reads an index.
   *
   * @return the name of the file by the name of the tensor; a file name is never a path
   */
  static Map<String, String> read(Path index) throws IOException {
    if (!Files.isRegularFile(index)) { // reading a pipe would wait forever
      throw new FormatException(index, "is no regular file");
    }
    if (Files.size(index) > SafetensorsHeader.MAX_BYTES) {
      throw new FormatException(
          index, "more than " + SafetensorsHeader.MAX_BYTES + " bytes; not an index of tensors");
    }
    Map<String, String> files = null;
    try (var utf8 =
            new InputStreamReader(
                Files.newInputStream(index), StandardCharsets.UTF_8.newDecoder());
        JsonParser parser = Json.FACTORY.createParser(utf8)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new FormatException(index, "not a JSON object");
      }
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        boolean map = parser.currentName().equals("weight_map");
        parser.nextToken();
        if (!map) {
          parser.skipChildren();
        } else if (files != null) {
          throw new FormatException(index, "weight_map stands twice");
        } else {
          files = readMap(index, parser);
        }
      }
      if (parser.nextToken() != null) {
        throw new FormatException(index, "goes on after the JSON object");
      }
    } catch (JsonProcessingException e) {
      throw new FormatException(index, "not valid JSON: " + Json.problem(e));
    } catch (CharacterCodingException e) {
      throw new FormatException(index, "not valid UTF-8");
    }
    if (files == null) {
      throw new FormatException(index, "has no weight_map");
    }
    return files;
  }

  private static Map<String, String> readMap(Path index, JsonParser parser) throws IOException {
    if (parser.currentToken() != JsonToken.START_OBJECT) {
      throw new FormatException(index, "weight_map is not an object");
    }
    Map<String, String> files = new LinkedHashMap<>();
    Set<String> shards = new HashSet<>();
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String tensor = parser.currentName();
      if (parser.nextToken() != JsonToken.VALUE_STRING) {
        throw new FormatException(index, quote(tensor) + " is not mapped to a file name");
      }
      String shard = parser.getText();
      if (!isPlainName(shard)) {
        throw new FormatException(
            index, quote(tensor) + " is mapped to " + quote(shard) + ", not a plain file name");
      }
      if (files.put(tensor, shard) != null) {
        throw new FormatException(index, quote(tensor) + " stands twice in weight_map");
      }
      if (shards.add(shard) && shards.size() > MAX_SHARDS) {
        throw new FormatException(index, "more than " + MAX_SHARDS + " files");
      }
      if (files.size() > SafetensorsHeader.MAX_TENSORS) {
        throw new FormatException(index, "more than " + SafetensorsHeader.MAX_TENSORS + " tensors");
      }
    }
    return files;
  }

  /**
   * A name that stays in the index's folder on every system, ':' being Windows' drives and streams.
   * Beyond ASCII it depends on the system's locale whether a name can be that of a file.
   */
  private static boolean isPlainName(String name) {
    return name.endsWith(".safetensors")
        && name.length() <= 255
        && name.chars().noneMatch(c -> c == '/' || c == '\\' || c == ':' || c < ' ' || c > '~');
  }
}
