package dev.sinter.search;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * The options that a search varies, and what each is drawn from.
 *
 * <p>In a file it is a JSON object, whose names are options. A value is a constant, a list to
 * choose from, or one of three ranges:
 *
 * <pre>{@code
 * {
 *   "lr":      {"log_uniform": [1e-5, 1e-3]},
 *   "dropout": {"uniform": [0, 0.3]},
 *   "warmup":  {"integers": [0, 200]},
 *   "batch":   [8, 16, 32],
 *   "seed":    7
 * }
 * }</pre>
 *
 * @param choices by option, in their order
 */
public record Space(Map<String, Choice> choices) {
  private static final long MOST_BYTES = 1 << 20;
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);
  private static final Pattern NAME = Pattern.compile("[A-Za-z][A-Za-z0-9_-]{0,99}");

  /** Checks the names. */
  public Space {
    choices = Collections.unmodifiableMap(new LinkedHashMap<>(choices));
    if (choices.isEmpty()) {
      throw new IllegalArgumentException("names no option");
    }
    for (String name : choices.keySet()) {
      if (!NAME.matcher(name).matches()) {
        throw new IllegalArgumentException(
            quote(name) + " is no name of an option; letters, digits and dashes, a letter first");
      }
    }
  }

  /**
   * Reads a space.
   *
   * @param file JSON, as above
   * @return the space
   * @throws FormatException where it is none: the message has the path of what is wrong, as {@code
   *     lr.log_uniform[0]}
   * @throws IOException where it cannot be read
   */
  public static Space read(Path file) throws IOException {
    JsonNode json = parse(file);
    if (!json.isObject()) {
      throw new FormatException(file, "is no JSON object of options");
    }
    Map<String, Choice> choices = new LinkedHashMap<>();
    for (Map.Entry<String, JsonNode> option : json.properties()) {
      choices.put(option.getKey(), new Reader(file).choice(option.getKey(), option.getValue()));
    }
    try {
      return new Space(choices);
    } catch (IllegalArgumentException e) {
      throw new FormatException(file, e.getMessage(), e);
    }
  }

  /**
   * Draws trials. Those of a seed are always the same, and fewer are the first of more.
   *
   * @param count how many
   * @param seed of the draws
   * @return trials, numbered from 1
   */
  public List<Trial> draw(int count, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    List<Trial> trials = new ArrayList<>();
    for (int number = 1; number <= count; number++) {
      Map<String, String> options = new LinkedHashMap<>();
      choices.forEach((name, choice) -> options.put(name, choice.draw(random)));
      trials.add(new Trial(number, options));
    }
    return trials;
  }

  /** As {@link #read} reads it. */
  ObjectNode json() {
    ObjectNode json = JSON.createObjectNode();
    choices.forEach(
        (name, choice) -> {
          if (choice instanceof Choice.OneOf some) {
            ArrayNode values = json.putArray(name);
            some.values().forEach(values::add);
          } else if (choice instanceof Choice.Uniform range) {
            json.putObject(name).putArray("uniform").add(range.from()).add(range.to());
          } else if (choice instanceof Choice.LogUniform range) {
            json.putObject(name).putArray("log_uniform").add(range.from()).add(range.to());
          } else if (choice instanceof Choice.Integers range) {
            json.putObject(name).putArray("integers").add(range.from()).add(range.to());
          }
        });
    return json;
  }

  private static JsonNode parse(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      throw new NoSuchFileException(file + ": there is no such file");
    }
    if (Files.size(file) > MOST_BYTES) {
      throw new FormatException(
          file, "has " + Files.size(file) + " bytes; a space has at most " + MOST_BYTES);
    }
    // A strict decoder: Jackson's own would guess UTF-16.
    ByteBuffer utf8 = ByteBuffer.wrap(Files.readAllBytes(file));
    try (JsonParser parser =
        JSON.createParser(StandardCharsets.UTF_8.newDecoder().decode(utf8).toString())) {
      JsonNode json = JSON.readTree(parser);
      if (json == null) {
        throw new FormatException(file, "is empty");
      }
      if (parser.nextToken() != null) {
        throw new FormatException(file, "goes on behind its JSON object");
      }
      return json;
    } catch (JsonProcessingException e) {
      JsonLocation where = e.getLocation(); // none, where a limit of the parser is passed
      String place =
          where == null
              ? ""
              : "line " + where.getLineNr() + ", column " + where.getColumnNr() + ": ";
      String problem = e.getOriginalMessage().lines().findFirst().orElse("");
      throw new FormatException(file, place + "is not JSON: " + problem, e);
    } catch (CharacterCodingException e) {
      throw new FormatException(file, "is not valid UTF-8", e);
    }
  }

  /** Turns JSON into choices, and names the place of what is none. */
  private record Reader(Path file) {
    Choice choice(String path, JsonNode node) throws FormatException {
      if (node.isArray()) {
        List<String> values = new ArrayList<>();
        for (JsonNode value : node) {
          values.add(scalar(path + "[" + values.size() + "]", value));
        }
        return checked(path, () -> new Choice.OneOf(values));
      }
      if (!node.isObject()) {
        return Choice.OneOf.constant(scalar(path, node));
      }
      if (node.size() != 1) {
        throw failure(path, "has " + node.size() + " ranges; one");
      }
      String kind = node.fieldNames().next();
      String inner = path + "." + kind;
      JsonNode range = node.get(kind);
      return switch (kind) {
        case "uniform" -> {
          double[] ends = ends(inner, range);
          yield checked(inner, () -> new Choice.Uniform(ends[0], ends[1]));
        }
        case "log_uniform" -> {
          double[] ends = ends(inner, range);
          yield checked(inner, () -> new Choice.LogUniform(ends[0], ends[1]));
        }
        case "integers" -> {
          ends(inner, range);
          int from = integer(inner + "[0]", range.get(0));
          int to = integer(inner + "[1]", range.get(1));
          yield checked(inner, () -> new Choice.Integers(from, to));
        }
        default ->
            throw failure(
                path, quote(kind) + " is no range; uniform, log_uniform or integers, or a list");
      };
    }

    private String scalar(String path, JsonNode node) throws FormatException {
      if (!node.isValueNode() || node.isNull()) {
        throw failure(path, "is no text, number or truth value: " + quote(node.toString()));
      }
      return node.isFloatingPointNumber() ? Trial.text(node.doubleValue()) : node.asText();
    }

    private double[] ends(String path, JsonNode range) throws FormatException {
      if (!range.isArray() || range.size() != 2) {
        throw failure(path, "is no pair of numbers: " + quote(range.toString()));
      }
      double[] ends = new double[2];
      for (int i = 0; i < 2; i++) {
        if (!range.get(i).isNumber()) {
          throw failure(path + "[" + i + "]", "is no number: " + quote(range.get(i).toString()));
        }
        ends[i] = range.get(i).doubleValue();
      }
      return ends;
    }

    private int integer(String path, JsonNode node) throws FormatException {
      if (!node.canConvertToExactIntegral() || !node.canConvertToInt()) {
        throw failure(path, "is no whole number of 32 bits: " + quote(node.toString()));
      }
      return node.intValue();
    }

    private Choice checked(String path, Supplier<Choice> make) throws FormatException {
      try {
        return make.get();
      } catch (IllegalArgumentException e) {
        throw failure(path, e.getMessage());
      }
    }

    private FormatException failure(String path, String problem) {
      return new FormatException(file, path + ": " + problem);
    }
  }
}
