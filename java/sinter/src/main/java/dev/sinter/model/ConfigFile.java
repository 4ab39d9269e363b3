package dev.sinter.model;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Activation;
import dev.sinter.io.AtomicFiles;
import dev.sinter.io.FormatException;
import dev.sinter.io.GgufFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * A config.json as it is read: what is not there has a default, what is of the wrong kind is
 * refused, and so is what would change what the model computes.
 */
final class ConfigFile {
  /** The file's name. */
  static final String NAME = "config.json";

  private static final long MOST = 1 << 20;
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);
  private static final Map<String, Activation> ACTIVATIONS =
      Map.of(
          "gelu_new", Activation.GELU_TANH,
          "gelu_pytorch_tanh", Activation.GELU_TANH,
          "gelu", Activation.GELU,
          "relu", Activation.RELU,
          "tanh", Activation.TANH);

  private final Path path;
  private final JsonNode json;

  private ConfigFile(Path path, JsonNode json) {
    this.path = path;
    this.json = json;
  }

  static ConfigFile read(Path folder) throws IOException {
    if (GgufFile.isNamed(folder)) {
      return new ConfigFile(folder, GgufModel.config(folder));
    }
    return read(folder, NAME, "a model");
  }

  /**
   * Reads another file of settings.
   *
   * @param what was saved to the folder, for the message
   */
  static ConfigFile read(Path folder, String name, String what) throws IOException {
    Path path = folder.resolve(name);
    if (!Files.isRegularFile(path)) {
      throw new FormatException(
          path, "there is no such file; name a folder that " + what + " was saved to");
    }
    if (Files.size(path) > MOST) {
      throw new FormatException(
          path, "has " + Files.size(path) + " bytes; a configuration has at most " + MOST);
    }
    // A strict decoder: Jackson's own would guess UTF-16.
    ByteBuffer utf8 = ByteBuffer.wrap(Files.readAllBytes(path));
    try (JsonParser parser =
        JSON.createParser(StandardCharsets.UTF_8.newDecoder().decode(utf8).toString())) {
      JsonNode json = JSON.readTree(parser);
      if (json == null || !json.isObject()) {
        throw new FormatException(path, "is no JSON object; it is damaged");
      }
      if (parser.nextToken() != null) {
        throw new FormatException(path, "goes on behind its JSON object; it is damaged");
      }
      return new ConfigFile(path, json);
    } catch (JsonProcessingException e) {
      String problem = e.getOriginalMessage().lines().findFirst().orElse("");
      throw new FormatException(path, "is damaged or not JSON: " + problem, e);
    } catch (CharacterCodingException e) {
      throw new FormatException(path, "is not valid UTF-8; it is damaged", e);
    }
  }

  /** A new configuration for Hugging Face's class of that name. */
  static ObjectNode start(String type, String architecture) {
    ObjectNode json = JSON.createObjectNode();
    json.putArray("architectures").add(architecture);
    json.put("model_type", type);
    json.put("torch_dtype", "float32");
    return json;
  }

  /** A new file of settings of another kind. */
  static ObjectNode start() {
    return JSON.createObjectNode();
  }

  static void write(ObjectNode json, Path folder) throws IOException {
    write(json, folder, NAME);
  }

  static void write(ObjectNode json, Path folder, String name) throws IOException {
    AtomicFiles.write(
        folder.resolve(name), JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(json));
  }

  /** The double that a float's shortest decimal names: 0.1f is written as 0.1. */
  static double decimal(float value) {
    return Double.parseDouble(Float.toString(value));
  }

  /** The name that Hugging Face has for an activation. */
  static String nameOf(Activation activation) {
    return switch (activation) {
      case GELU_TANH -> "gelu_new";
      case GELU -> "gelu";
      case RELU -> "relu";
      case TANH -> "tanh";
    };
  }

  FormatException failure(String message, Exception cause) {
    return new FormatException(path, message, cause);
  }

  FormatException failure(String message) {
    return new FormatException(path, message);
  }

  boolean has(String name) {
    return json.hasNonNull(name);
  }

  /** Settings that stand together under a name; null: there are none. */
  ConfigFile group(String name) throws FormatException {
    JsonNode node = json.path(name);
    if (!has(name)) {
      return null;
    }
    if (!node.isObject()) {
      throw failure(name + " " + shown(node) + " is no group of settings");
    }
    return new ConfigFile(path, node);
  }

  String text(String name, String otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return otherwise;
    }
    if (!node.isTextual()) {
      throw failure(name + " " + shown(node) + " is no text");
    }
    return node.textValue();
  }

  /** A value in a message: a list or an object may be long. */
  private static String shown(JsonNode node) {
    return node.isTextual()
        ? quote(node.textValue())
        : node.isArray() ? "[…]" : node.isObject() ? "{…}" : node.toString();
  }

  /** The first of Hugging Face's classes that the file names, or an empty text. */
  String architecture() throws FormatException {
    JsonNode names = json.path("architectures");
    if (names.isEmpty() && (names.isMissingNode() || names.isNull() || names.isArray())) {
      return "";
    }
    if (!names.path(0).isTextual()) {
      throw failure("architectures is no list of names");
    }
    return names.path(0).textValue();
  }

  int number(String name, int otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return otherwise;
    }
    if (!node.isInt()) {
      throw failure(
          name
              + " "
              + (node.isIntegralNumber()
                  ? "is beyond 32 bits"
                  : shown(node) + " is no whole number"));
    }
    return node.intValue();
  }

  float fraction(String name, double otherwise) throws FormatException {
    return (float) real(name, otherwise);
  }

  double real(String name, double otherwise) throws FormatException {
    JsonNode node = json.path(name);
    return node.isMissingNode() || node.isNull() ? otherwise : real(name, node);
  }

  private double real(String name, JsonNode node) throws FormatException {
    if (!node.isNumber()) {
      throw failure(name + " " + shown(node) + " is no number");
    }
    return node.doubleValue();
  }

  /** The names of all settings. */
  List<String> names() {
    List<String> all = new ArrayList<>();
    json.fieldNames().forEachRemaining(all::add);
    return all;
  }

  /** Whether a setting is a list. */
  boolean isList(String name) {
    return json.path(name).isArray();
  }

  /** Whether a setting says nothing: null, false, an empty text, list or group. */
  boolean isEmpty(String name) {
    JsonNode node = json.path(name);
    return node.isNull()
        || node.isBoolean() && !node.booleanValue()
        || node.isTextual() && node.textValue().isEmpty()
        || node.isContainerNode() && node.isEmpty();
  }

  /** A list of texts; empty where there is none. */
  List<String> texts(String name) throws FormatException {
    List<String> all = new ArrayList<>();
    for (JsonNode item : elements(name)) {
      if (!item.isTextual()) {
        throw failure(name + " is no list of texts");
      }
      all.add(item.textValue());
    }
    return all;
  }

  /** A list of whole numbers; empty where there is none. */
  List<Integer> numbers(String name) throws FormatException {
    List<Integer> all = new ArrayList<>();
    for (JsonNode item : elements(name)) {
      if (!item.isInt()) {
        throw failure(name + " is no list of whole numbers");
      }
      all.add(item.intValue());
    }
    return all;
  }

  private JsonNode elements(String name) throws FormatException {
    JsonNode node = json.path(name);
    if (has(name) && !node.isArray()) {
      throw failure(name + " " + shown(node) + " is no list");
    }
    return node;
  }

  /** Numbers by name, in the file's order; empty where there are none. */
  Map<String, Double> reals(String name) throws FormatException {
    Map<String, Double> all = new LinkedHashMap<>();
    ConfigFile group = group(name);
    for (String each : group == null ? List.<String>of() : group.names()) {
      all.put(each, real(name, group.json.path(each)));
    }
    return all;
  }

  /** Lists of truth values by name, in the file's order; empty where there are none. */
  Map<String, List<Boolean>> flags(String name) throws FormatException {
    Map<String, List<Boolean>> all = new LinkedHashMap<>();
    ConfigFile group = group(name);
    for (String each : group == null ? List.<String>of() : group.names()) {
      List<Boolean> values = new ArrayList<>();
      for (JsonNode value : group.elements(each)) {
        if (!value.isBoolean()) {
          throw failure(name + " has something else than true and false");
        }
        values.add(value.booleanValue());
      }
      all.put(each, values);
    }
    return all;
  }

  boolean flag(String name, boolean otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return otherwise;
    }
    if (!node.isBoolean()) {
      throw failure(name + " " + shown(node) + " is neither true nor false");
    }
    return node.booleanValue();
  }

  Activation activation(String name, Activation otherwise) throws FormatException {
    if (!has(name)) {
      return otherwise;
    }
    String text = text(name, "");
    Activation known = ACTIVATIONS.get(text);
    if (known == null) {
      throw failure(
          name
              + " "
              + quote(text)
              + " is not supported; "
              + String.join(", ", ACTIVATIONS.keySet().stream().sorted().toList())
              + " are");
    }
    return known;
  }

  /** How many labels there are: those that are named, or their number, or two. */
  int labels() throws FormatException {
    JsonNode names = json.path("id2label");
    if (has("id2label") && !names.isObject()) {
      throw failure("id2label " + shown(names) + " does not map numbers to names");
    }
    int labels = names.isEmpty() ? number("num_labels", 2) : names.size();
    if (labels < 1 || labels > Head.MOST_LABELS) {
      throw failure("num_labels " + labels + "; 1 to " + Head.MOST_LABELS);
    }
    return labels;
  }

  /** The labels' names by their numbers; LABEL_0, … where the file names none. */
  List<String> labelNames() throws FormatException {
    JsonNode names = json.path("id2label");
    int count = labels();
    List<String> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      JsonNode name = names.path(Integer.toString(i));
      if (name.isMissingNode() && !names.isEmpty()) {
        throw failure("id2label has no " + i + "; its numbers are 0 to " + (count - 1));
      }
      all.add(name.asText("LABEL_" + i));
    }
    return all;
  }

  /**
   * Refuses a setting that changes what the model computes, unless it is not there or has one of
   * the known values: texts, truth values, doubles, null.
   */
  void refuse(String name, Object... known) throws FormatException {
    JsonNode node = json.path(name);
    Object value =
        node.isTextual()
            ? node.textValue()
            : node.isBoolean() ? node.booleanValue() : node.isNumber() ? node.doubleValue() : null;
    boolean isKnown = !node.isContainerNode() && Arrays.asList(known).contains(value);
    if (!node.isMissingNode() && !isKnown) {
      String others = Arrays.stream(known).map(String::valueOf).collect(Collectors.joining(" or "));
      throw failure(name + " " + shown(node) + " is not supported; " + others + " is");
    }
  }
}
