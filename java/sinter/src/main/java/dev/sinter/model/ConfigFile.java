package dev.sinter.model;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Activation;
import dev.sinter.io.AtomicFiles;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

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
    Path path = folder.resolve(NAME);
    if (!Files.isRegularFile(path)) {
      throw new FormatException(
          path, "there is no such file; name a folder that a model was saved to");
    }
    if (Files.size(path) > MOST) {
      throw new FormatException(
          path, "has " + Files.size(path) + " bytes; a configuration has at most " + MOST);
    }
    JsonNode json;
    try {
      json = JSON.readTree(Files.readAllBytes(path));
    } catch (JsonProcessingException e) {
      throw new FormatException(path, e.getOriginalMessage() + "; it is damaged or not JSON", e);
    }
    if (json == null || !json.isObject()) {
      throw new FormatException(path, "is no JSON object; it is damaged");
    }
    return new ConfigFile(path, json);
  }

  /** A new configuration for Hugging Face's class of that name. */
  static ObjectNode start(String type, String architecture) {
    ObjectNode json = JSON.createObjectNode();
    json.putArray("architectures").add(architecture);
    json.put("model_type", type);
    json.put("torch_dtype", "float32");
    return json;
  }

  static void write(ObjectNode json, Path folder) throws IOException {
    AtomicFiles.write(
        folder.resolve(NAME), JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(json));
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

  String text(String name, String otherwise) {
    return json.path(name).asText(otherwise);
  }

  /** The first of Hugging Face's classes that the file names, or an empty text. */
  String architecture() {
    return json.path("architectures").path(0).asText("");
  }

  int number(String name, int otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return otherwise;
    }
    if (!node.isInt()) {
      throw failure(name + " " + node + " is no whole number");
    }
    return node.intValue();
  }

  float fraction(String name, double otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return (float) otherwise;
    }
    if (!node.isNumber()) {
      throw failure(name + " " + node + " is no number");
    }
    return (float) node.doubleValue();
  }

  boolean flag(String name, boolean otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return otherwise;
    }
    if (!node.isBoolean()) {
      throw failure(name + " " + node + " is neither true nor false");
    }
    return node.booleanValue();
  }

  Activation activation(String name, Activation otherwise) throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode() || node.isNull()) {
      return otherwise;
    }
    Activation known = ACTIVATIONS.get(node.asText());
    if (known == null) {
      throw failure(
          name
              + " "
              + node.asText()
              + " is not supported; "
              + String.join(", ", ACTIVATIONS.keySet().stream().sorted().toList())
              + " are");
    }
    return known;
  }

  /** How many labels there are: those that are named, or their number, or two. */
  int labels() throws FormatException {
    JsonNode names = json.path("id2label");
    return names.isObject() && !names.isEmpty() ? names.size() : number("num_labels", 2);
  }

  /** The labels' names by their numbers; LABEL_0, … where the file names none. */
  List<String> labelNames() throws FormatException {
    JsonNode names = json.path("id2label");
    int count = labels();
    if (count < 1 || count > MOST) {
      throw failure("num_labels " + count + "; 1 to " + MOST);
    }
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
   * Refuses a setting that changes what the model computes, unless it has one of the known values
   * or is not there.
   */
  void refuse(String name, String... known) throws FormatException {
    JsonNode node = json.path(name);
    if (!node.isMissingNode() && !List.of(known).contains(node.asText())) {
      throw failure(
          name + " " + node.asText() + " is not supported; " + String.join(" or ", known) + " is");
    }
  }
}
