package dev.sinter.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Activation;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.io.FormatException;
import java.util.List;
import java.util.Set;

/** Encoder-decoder Transformers in the layout that Hugging Face has for Marian. */
final class TransformerFiles {
  /** Other names of the one table. */
  private static final Set<String> TIED =
      Set.of(
          "model.encoder.embed_tokens.weight",
          "model.decoder.embed_tokens.weight",
          "lm_head.weight");

  private TransformerFiles() {}

  static TransformerConfig read(ConfigFile file) throws FormatException {
    file.refuse("tie_word_embeddings", true);
    file.refuse("share_encoder_decoder_embeddings", true);
    file.refuse("static_position_embeddings", true);
    file.refuse("normalize_before", false);
    file.refuse("normalize_embedding", false);
    file.refuse("add_final_layer_norm", false);
    file.refuse("activation_dropout", 0.0);
    file.refuse("encoder_layerdrop", 0.0);
    file.refuse("decoder_layerdrop", 0.0);
    TransformerConfig config = sizes(file);
    same(file, "decoder_vocab_size", config.vocabulary());
    same(file, "decoder_attention_heads", config.heads());
    same(file, "decoder_ffn_dim", config.inner());
    return config;
  }

  private static TransformerConfig sizes(ConfigFile file) throws FormatException {
    int padding = file.number("pad_token_id", 58100);
    try {
      return new TransformerConfig(
          file.number("vocab_size", 58101),
          file.number("max_position_embeddings", 1024),
          file.number("d_model", 1024),
          file.number("encoder_layers", 12),
          file.number("decoder_layers", 12),
          file.number("encoder_attention_heads", 16),
          file.number("encoder_ffn_dim", 4096),
          file.activation("activation_function", Activation.GELU),
          file.fraction("dropout", 0.1),
          file.fraction("attention_dropout", 0),
          file.flag("scale_embedding", false),
          file.number("decoder_start_token_id", padding),
          file.number("eos_token_id", 0),
          padding);
    } catch (IllegalArgumentException e) {
      throw file.failure(e.getMessage(), e);
    }
  }

  private static void same(ConfigFile file, String name, int value) throws FormatException {
    int other = file.number(name, value);
    if (other != value) {
      throw file.failure(
          name + " " + other + " is not supported; only " + value + ", as the encoder has, is");
    }
  }

  static WeightFiles weights(List<ParameterSpec> parameters) {
    return new WeightFiles(parameters, "", List.of(), TIED::contains);
  }

  /** What is computed where a file does not hold it. */
  static boolean isTable(String name) {
    return name.endsWith("embed_positions.weight") || name.equals("final_logits_bias");
  }

  static ObjectNode json(TransformerConfig config) {
    ObjectNode json = ConfigFile.start("marian", "MarianMTModel");
    json.put("vocab_size", config.vocabulary());
    json.put("decoder_vocab_size", config.vocabulary());
    json.put("max_position_embeddings", config.context());
    json.put("d_model", config.width());
    json.put("encoder_layers", config.encoderLayers());
    json.put("decoder_layers", config.decoderLayers());
    json.put("num_hidden_layers", config.encoderLayers());
    json.put("encoder_attention_heads", config.heads());
    json.put("decoder_attention_heads", config.heads());
    json.put("encoder_ffn_dim", config.inner());
    json.put("decoder_ffn_dim", config.inner());
    json.put("activation_function", ConfigFile.nameOf(config.activation()));
    json.put("dropout", ConfigFile.decimal(config.dropout()));
    json.put("attention_dropout", ConfigFile.decimal(config.attentionDropout()));
    json.put("activation_dropout", 0.0);
    json.put("scale_embedding", config.scalesEmbedding());
    json.put("decoder_start_token_id", config.start());
    json.put("eos_token_id", config.end());
    json.put("forced_eos_token_id", config.end());
    json.put("pad_token_id", config.padding());
    json.put("share_encoder_decoder_embeddings", true);
    json.put("static_position_embeddings", true);
    json.put("tie_word_embeddings", true);
    json.put("is_encoder_decoder", true);
    return json;
  }
}
