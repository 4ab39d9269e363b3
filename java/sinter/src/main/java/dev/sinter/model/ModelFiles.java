package dev.sinter.model;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.io.AtomicFiles;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;

/** Models in Hugging Face's layout: {@code config.json} and {@code model.safetensors}. */
public final class ModelFiles {
  /** The weights' file. */
  public static final String WEIGHTS = "model.safetensors";

  /** The configuration's file. */
  public static final String CONFIG = "config.json";

  private static final String PREFIX = "transformer.";
  private static final long MOST_CONFIG = 1 << 20;
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

  private ModelFiles() {}

  /**
   * Reads a configuration.
   *
   * @param folder that holds config.json
   * @return the shape of the model
   * @throws IOException where there is none, or it asks for what GPT-2 does not have
   */
  public static GptConfig readConfig(Path folder) throws IOException {
    Path file = folder.resolve(CONFIG);
    if (!Files.isRegularFile(file)) {
      throw new FormatException(
          file, "there is no such file; name a folder that a model was saved to");
    }
    if (Files.size(file) > MOST_CONFIG) {
      throw new FormatException(
          file, "has " + Files.size(file) + " bytes; a configuration has at most " + MOST_CONFIG);
    }
    JsonNode json;
    try {
      json = JSON.readTree(Files.readAllBytes(file));
    } catch (JsonProcessingException e) {
      throw new FormatException(file, e.getOriginalMessage() + "; it is damaged or not JSON", e);
    }
    if (json == null || !json.isObject()) {
      throw new FormatException(file, "is no JSON object; it is damaged");
    }
    String type = json.path("model_type").asText("?");
    if (!type.equals("gpt2")) {
      throw new FormatException(file, "model_type " + type + " is not supported; gpt2 is");
    }
    int width = number(file, json, "n_embd", 768);
    refuse(file, json, "activation_function", List.of("gelu_new", "gelu_pytorch_tanh"));
    refuse(file, json, "scale_attn_weights", List.of("true"));
    refuse(file, json, "scale_attn_by_inverse_layer_idx", List.of("false"));
    refuse(file, json, "add_cross_attention", List.of("false"));
    refuse(file, json, "tie_word_embeddings", List.of("true"));
    refuse(file, json, "n_inner", List.of("null", Long.toString(4L * width)));
    try {
      return new GptConfig(
          number(file, json, "vocab_size", 50257),
          number(file, json, "n_positions", 1024),
          width,
          number(file, json, "n_layer", 12),
          number(file, json, "n_head", 12),
          (float) json.path("embd_pdrop").asDouble(0.1),
          (float) json.path("attn_pdrop").asDouble(0.1),
          (float) json.path("resid_pdrop").asDouble(0.1),
          (float) json.path("layer_norm_epsilon").asDouble(1e-5));
    } catch (IllegalArgumentException e) {
      throw new FormatException(file, e.getMessage(), e);
    }
  }

  private static int number(Path file, JsonNode json, String name, int otherwise)
      throws FormatException {
    JsonNode node = json.path(name);
    if (node.isMissingNode()) {
      return otherwise;
    }
    if (!node.isInt()) {
      throw new FormatException(file, name + " " + node + " is no whole number");
    }
    return node.intValue();
  }

  /**
   * Refuses a setting that changes what the model computes, unless it has one of the known values
   * or is not there.
   */
  private static void refuse(Path file, JsonNode json, String name, List<String> known)
      throws FormatException {
    JsonNode node = json.path(name);
    if (!node.isMissingNode() && !known.contains(node.asText())) {
      throw new FormatException(
          file,
          name + " " + node.asText() + " is not supported; " + String.join(" or ", known) + " is");
    }
  }

  /**
   * Reads a model.
   *
   * @param folder that holds config.json and model.safetensors
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static LanguageModel load(Path folder, Device device, DType dtype) throws IOException {
    GptConfig config = readConfig(folder);
    try (SafetensorsFile file = SafetensorsFile.open(folder.resolve(WEIGHTS))) {
      List<ParameterSpec> specs = new Gpt2(config).parameters();
      String prefix = file.info(PREFIX + "wte.weight") != null ? PREFIX : "";
      Map<String, long[]> expected = new LinkedHashMap<>();
      specs.forEach(spec -> expected.put(prefix + spec.name(), spec.shape()));
      file.requireTensors(expected, buffers(config, prefix));
      LanguageModel model = new LanguageModel(config, device, dtype);
      try {
        for (ParameterSpec spec : specs) {
          SafetensorsFile.FloatReader reader = file.floats(prefix + spec.name());
          model.parameters().write(Parameters.Part.WEIGHT, spec.name(), reader::fill);
        }
        return model;
      } catch (IOException | RuntimeException e) {
        model.close();
        throw e;
      }
    }
  }

  /**
   * Tensors that files of this family may hold and that are no weights: masks, and the tied output
   * matrix.
   */
  private static Set<String> buffers(GptConfig config, String prefix) {
    Set<String> names = new HashSet<>();
    names.add("lm_head.weight");
    for (int i = 0; i < config.layers(); i++) {
      names.add(prefix + "h." + i + ".attn.bias");
      names.add(prefix + "h." + i + ".attn.masked_bias");
    }
    return names;
  }

  /**
   * Writes a configuration.
   *
   * @param config to write
   * @param endOfText the token that ends a text, if there is one
   * @param folder that exists
   * @throws IOException where it cannot be written
   */
  public static void writeConfig(GptConfig config, OptionalInt endOfText, Path folder)
      throws IOException {
    ObjectNode json = JSON.createObjectNode();
    json.putArray("architectures").add("GPT2LMHeadModel");
    json.put("model_type", "gpt2");
    json.put("vocab_size", config.vocabulary());
    json.put("n_positions", config.context());
    json.put("n_ctx", config.context());
    json.put("n_embd", config.width());
    json.put("n_layer", config.layers());
    json.put("n_head", config.heads());
    json.putNull("n_inner");
    json.put("activation_function", "gelu_new");
    json.put("embd_pdrop", decimal(config.embeddingDropout()));
    json.put("attn_pdrop", decimal(config.attentionDropout()));
    json.put("resid_pdrop", decimal(config.residualDropout()));
    json.put("layer_norm_epsilon", decimal(config.epsilon()));
    json.put("initializer_range", config.initialDeviation());
    json.put("scale_attn_weights", true);
    json.put("tie_word_embeddings", true);
    json.put("use_cache", true);
    json.put("torch_dtype", "float32");
    if (endOfText.isPresent()) {
      json.put("bos_token_id", endOfText.getAsInt());
      json.put("eos_token_id", endOfText.getAsInt());
    } else {
      json.putNull("bos_token_id");
      json.putNull("eos_token_id");
    }
    AtomicFiles.write(
        folder.resolve(CONFIG), JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(json));
  }

  /** The double that a float's shortest decimal names: 0.1f is written as 0.1. */
  private static double decimal(float value) {
    return Double.parseDouble(Float.toString(value));
  }

  /**
   * Writes the weights, in fp32.
   *
   * @param model whose weights
   * @param folder that exists
   * @throws IOException where they cannot be written; an old file stays as it was
   */
  public static void writeWeights(LanguageModel model, Path folder) throws IOException {
    SafetensorsWriter writer = new SafetensorsWriter();
    add(writer, PREFIX, model, Parameters.Part.WEIGHT);
    writer.write(folder.resolve(WEIGHTS));
  }

  /**
   * Adds one of a model's arrays to a file.
   *
   * @param writer of the file
   * @param prefix put before each parameter's name
   * @param model whose array
   * @param part which array
   */
  public static void add(
      SafetensorsWriter writer, String prefix, LanguageModel model, Parameters.Part part) {
    Parameters parameters = model.parameters();
    for (ParameterSpec spec : parameters.specs()) {
      writer.add(
          prefix + spec.name(),
          spec.shape(),
          sink -> parameters.read(part, spec.name(), sink::accept));
    }
  }
}
