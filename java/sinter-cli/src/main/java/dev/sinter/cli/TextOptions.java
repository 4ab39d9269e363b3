package dev.sinter.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.data.TextFiles;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import picocli.CommandLine.Option;

/** What a command reads: texts, the lines of a file, or ids. */
final class TextOptions {
  private static final ObjectMapper JSON = new ObjectMapper();

  @Option(
      names = "--text",
      paramLabel = "TEXT",
      description = "A text; -: the lines of standard input. May be given several times.")
  private List<String> texts;

  @Option(names = "--file", paramLabel = "FILE", description = "The lines of a file.")
  private Path file;

  @Option(
      names = "--ids",
      paramLabel = "ID,ID…",
      description =
          "Token ids instead of a text, special tokens included; needs no tokenizer. May be given"
              + " several times.")
  private List<String> ids;

  /** Not a group of options: the help would list what is in a group of a mixin twice. */
  void check() {
    if (Stream.of(texts, file, ids).filter(Objects::nonNull).count() > 1) {
      throw new IllegalArgumentException("--text, --file and --ids; one of them");
    }
  }

  boolean given() {
    return texts != null || file != null || ids != null;
  }

  boolean areIds() {
    return ids != null;
  }

  List<String> lines() throws IOException {
    List<String> lines = new ArrayList<>();
    if (file != null) {
      TextFiles.read(List.of(file)).lines().forEach(lines::add);
    } else if (texts != null) {
      for (String text : texts) {
        if (text.equals("-")) {
          new String(System.in.readAllBytes(), StandardCharsets.UTF_8).lines().forEach(lines::add);
        } else {
          lines.add(text);
        }
      }
    } else {
      throw new IllegalArgumentException("there is nothing to read; give --text, --file or --ids");
    }
    return lines;
  }

  /** The lines as JSON objects that have these fields. */
  List<JsonNode> objects(String... fields) throws IOException {
    List<JsonNode> all = new ArrayList<>();
    for (String line : lines()) {
      JsonNode node = parsed(line);
      for (String field : fields) {
        if (node == null || !node.hasNonNull(field)) {
          throw new IllegalArgumentException(
              "line "
                  + (all.size() + 1)
                  + " is no JSON object with "
                  + String.join(" and ", fields));
        }
      }
      all.add(node);
    }
    return all;
  }

  private static JsonNode parsed(String line) {
    try {
      return JSON.readTree(line);
    } catch (JsonProcessingException e) {
      return null; // said with its line's number
    }
  }

  /** The ids of each sequence. */
  List<int[]> ids() {
    return ids.stream().map(TextOptions::parse).toList();
  }

  /**
   * The sequences of ids with the segments of their tokens.
   *
   * @param types one for each sequence; none: zeros
   */
  List<Encoding> encodings(List<String> types) {
    List<int[]> ids = ids();
    if (!types.isEmpty() && types.size() != ids.size()) {
      throw new IllegalArgumentException(
          types.size() + " --types and " + ids.size() + " --ids; as many, or no --types");
    }
    List<Encoding> all = new ArrayList<>();
    for (int i = 0; i < ids.size(); i++) {
      all.add(
          types.isEmpty() ? Encoding.of(ids.get(i)) : Encoding.of(ids.get(i), parse(types.get(i))));
    }
    return all;
  }

  private static int[] parse(String ids) {
    return ProcessorOptions.ids(ids).stream().mapToInt(Integer::intValue).toArray();
  }
}
