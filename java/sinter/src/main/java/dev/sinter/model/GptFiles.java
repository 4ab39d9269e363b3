package dev.sinter.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Activation;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.io.FormatException;
import dev.sinter.model.GptConfig.Family;
import dev.sinter.model.Head.Task;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * GPTs in Hugging Face's layout. GPT-3's banded layers have no class there: its model_type is of
 * our own, so that nothing reads it as a dense GPT-2.
 */
final class GptFiles {
  static final String PREFIX = "transformer.";

  /** Masks, and the output matrix, which is the token table. */
  private static final Pattern BUFFERS =
      Pattern.compile("h\\.\\d+\\.attn\\.(masked_)?bias|lm_head\\.weight|position(s|_ids)?_ids");

  private GptFiles() {}

  static GptConfig read(ConfigFile file) throws FormatException {
    boolean first = file.text("model_type", "").equals("openai-gpt");
    boolean third = file.text("model_type", "").equals("gpt3");
    file.refuse("scale_attn_weights", true);
    file.refuse("scale_attn_by_inverse_layer_idx", false);
    file.refuse("add_cross_attention", false);
    file.refuse("tie_word_embeddings", true);
    if (first) {
      file.refuse("afn", "gelu", "gelu_new", "relu");
    }
    int width = file.number("n_embd", 768);
    Activation activation =
        first
            // GPT-1's "gelu" is the tanh form.
            ? file.text("afn", "gelu").equals("relu") ? Activation.RELU : Activation.GELU_TANH
            : file.activation("activation_function", Activation.GELU_TANH);
    try {
      return new GptConfig(
          first ? Family.GPT1 : third ? Family.GPT3 : Family.GPT2,
          file.number("vocab_size", first ? 40478 : 50257),
          file.number("n_positions", first ? 512 : third ? 2048 : 1024),
          width,
          file.number("n_layer", 12),
          file.number("n_head", 12),
          file.number("n_inner", 4 * width), // a width for which this overflows is refused
          activation,
          third ? file.number("window_size", 256) : 0,
          file.fraction("embd_pdrop", 0.1),
          file.fraction("attn_pdrop", 0.1),
          file.fraction("resid_pdrop", 0.1),
          file.fraction("layer_norm_epsilon", 1e-5));
    } catch (IllegalArgumentException e) {
      throw file.failure(e.getMessage(), e);
    }
  }

  /** The head that the file names; null: that of language models. */
  static Head head(ConfigFile file) throws FormatException {
    String architecture = file.architecture();
    if (architecture.endsWith("ForSequenceClassification")) {
      return BertFiles.sequence(file);
    }
    if (architecture.endsWith("ForTokenClassification")) {
      return Head.tokens(file.labels());
    }
    if (architecture.endsWith("DoubleHeadsModel")) {
      return Head.choice(2);
    }
    return null;
  }

  /** The names that belong to these parameters; others of heads are left out. */
  static WeightFiles weights(List<ParameterSpec> parameters) {
    Set<String> ours = TaskModel.partsOf(parameters);
    return new WeightFiles(
        parameters,
        PREFIX,
        TaskModel.HEADS,
        name ->
            BUFFERS.matcher(name).matches() || TaskModel.isOfHead(name) && !ours.contains(name));
  }

  static ObjectNode json(GptConfig config, OptionalInt endOfText) {
    return json(config, endOfText, "LMHeadModel");
  }

  static ObjectNode json(GptConfig config, Head head, List<String> labels) {
    String kind =
        switch (head.task()) {
          case SEQUENCE -> "ForSequenceClassification";
          case TOKENS -> "ForTokenClassification";
          case CHOICE -> "DoubleHeadsModel";
          default -> "Model";
        };
    ObjectNode json = json(config, OptionalInt.empty(), kind);
    if (head.task() != Task.CHOICE) {
      BertFiles.putLabels(json, head, labels);
    }
    return json;
  }

  /** A family's model_type. */
  static String type(Family family) {
    return switch (family) {
      case GPT1 -> "openai-gpt";
      case GPT2 -> "gpt2";
      case GPT3 -> "gpt3";
    };
  }

  private static ObjectNode json(GptConfig config, OptionalInt endOfText, String kind) {
    String name = config.family() == Family.GPT1 ? "OpenAIGPT" : config.family().name();
    ObjectNode json = ConfigFile.start(type(config.family()), name + kind);
    json.put("vocab_size", config.vocabulary());
    json.put("n_positions", config.context());
    json.put("n_ctx", config.context());
    json.put("n_embd", config.width());
    json.put("n_layer", config.layers());
    json.put("n_head", config.heads());
    if (config.family() == Family.GPT1) {
      json.put("afn", config.activation() == Activation.RELU ? "relu" : "gelu");
    } else {
      if (config.inner() == 4 * config.width()) {
        json.putNull("n_inner");
      } else {
        json.put("n_inner", config.inner());
      }
      json.put("activation_function", ConfigFile.nameOf(config.activation()));
      json.put("scale_attn_weights", true);
      json.put("use_cache", true);
    }
    if (config.family() == Family.GPT3) {
      json.put("window_size", config.window());
    }
    json.put("embd_pdrop", ConfigFile.decimal(config.embeddingDropout()));
    json.put("attn_pdrop", ConfigFile.decimal(config.attentionDropout()));
    json.put("resid_pdrop", ConfigFile.decimal(config.residualDropout()));
    json.put("layer_norm_epsilon", ConfigFile.decimal(config.epsilon()));
    json.put("initializer_range", config.initialDeviation());
    json.put("tie_word_embeddings", true);
    if (endOfText.isPresent()) {
      json.put("bos_token_id", endOfText.getAsInt());
      json.put("eos_token_id", endOfText.getAsInt());
    } else {
      json.putNull("bos_token_id");
      json.putNull("eos_token_id");
    }
    return json;
  }
}
