package dev.sinter.model;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Activation;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head.Loss;
import dev.sinter.model.Head.Task;
import java.util.List;
import java.util.Set;

/** BERTs in Hugging Face's layout. */
final class BertFiles {
  static final String PREFIX = "bert.";

  /** A buffer, and the words' output matrix and bias, which are the embeddings and another name. */
  private static final Set<String> BUFFERS =
      Set.of(
          "embeddings.position_ids",
          "embeddings.token_type_ids",
          "cls.predictions.decoder.weight",
          "cls.predictions.decoder.bias");

  private BertFiles() {}

  static BertConfig read(ConfigFile file) throws FormatException {
    file.refuse("position_embedding_type", "absolute", null);
    file.refuse("is_decoder", false);
    file.refuse("add_cross_attention", false);
    file.refuse("tie_word_embeddings", true);
    int width = file.number("hidden_size", 768);
    float dropout = file.fraction("hidden_dropout_prob", 0.1);
    try {
      return new BertConfig(
          file.number("vocab_size", 30522),
          file.number("max_position_embeddings", 512),
          width,
          file.number("num_hidden_layers", 12),
          file.number("num_attention_heads", 12),
          file.number("intermediate_size", 3072),
          file.number("type_vocab_size", 2),
          file.activation("hidden_act", Activation.GELU),
          dropout,
          file.fraction("attention_probs_dropout_prob", 0.1),
          file.fraction("classifier_dropout", dropout),
          file.fraction("layer_norm_eps", 1e-12),
          file.number("pad_token_id", 0));
    } catch (IllegalArgumentException e) {
      throw file.failure(e.getMessage(), e);
    }
  }

  /** The head that the file names; sentence embeddings where it names none. */
  static Head head(ConfigFile file) throws FormatException {
    return switch (file.architecture()) {
      case "BertForPreTraining" -> Head.pretraining();
      case "BertForMaskedLM" -> Head.masked();
      case "BertForSequenceClassification" -> sequence(file);
      case "BertForTokenClassification" -> Head.tokens(file.labels());
      case "BertForQuestionAnswering" -> Head.span();
      case "BertForMultipleChoice" -> Head.choice(2);
      case "", "BertModel" -> Head.mean();
      default ->
          throw file.failure(
              "architecture "
                  + quote(file.architecture())
                  + " is not supported; BertModel and BertFor PreTraining, MaskedLM,"
                  + " SequenceClassification, TokenClassification, QuestionAnswering and"
                  + " MultipleChoice are");
    };
  }

  static Head sequence(ConfigFile file) throws FormatException {
    int labels = file.labels();
    String kind = file.text("problem_type", labels == 1 ? "regression" : "");
    Head head = Head.sequence(labels);
    return switch (kind) {
      case "regression" -> head.withLoss(Loss.SQUARED_ERROR);
      case "multi_label_classification" -> head.withLoss(Loss.BINARY_CROSS_ENTROPY);
      case "single_label_classification", "" -> head;
      default ->
          throw file.failure(
              "problem_type "
                  + quote(kind)
                  + " is not supported; regression, single_label_classification and"
                  + " multi_label_classification are");
    };
  }

  static void putLabels(ObjectNode json, Head head, List<String> labels) {
    if (head.task() != Task.SEQUENCE && head.task() != Task.TOKENS) {
      return;
    }
    ObjectNode names = json.putObject("id2label");
    ObjectNode numbers = json.putObject("label2id");
    for (int i = 0; i < head.labels(); i++) {
      String name = labels.isEmpty() ? "LABEL_" + i : labels.get(i);
      names.put(Integer.toString(i), name);
      numbers.put(name, i);
    }
    if (head.task() == Task.SEQUENCE) {
      json.put(
          "problem_type",
          switch (head.loss()) {
            case CROSS_ENTROPY -> "single_label_classification";
            case BINARY_CROSS_ENTROPY -> "multi_label_classification";
            case SQUARED_ERROR -> "regression";
          });
    }
  }

  /** The names that belong to these parameters; others of heads are left out. */
  static WeightFiles weights(List<ParameterSpec> parameters) {
    Set<String> ours = TaskModel.partsOf(parameters);
    return new WeightFiles(
        parameters,
        PREFIX,
        TaskModel.HEADS,
        name -> BUFFERS.contains(name) || TaskModel.isOfHead(name) && !ours.contains(name));
  }

  static ObjectNode json(BertConfig config, Head head, List<String> labels) {
    String kind =
        switch (head.task()) {
          case PRETRAINING -> "BertForPreTraining";
          case MASKED -> "BertForMaskedLM";
          case SEQUENCE -> "BertForSequenceClassification";
          case TOKENS -> "BertForTokenClassification";
          case SPAN -> "BertForQuestionAnswering";
          case CHOICE -> "BertForMultipleChoice";
          case MEAN, FIRST -> "BertModel";
        };
    ObjectNode json = ConfigFile.start("bert", kind);
    json.put("vocab_size", config.vocabulary());
    json.put("max_position_embeddings", config.context());
    json.put("hidden_size", config.width());
    json.put("num_hidden_layers", config.layers());
    json.put("num_attention_heads", config.heads());
    json.put("intermediate_size", config.inner());
    json.put("type_vocab_size", config.segments());
    json.put("hidden_act", ConfigFile.nameOf(config.activation()));
    json.put("hidden_dropout_prob", ConfigFile.decimal(config.hiddenDropout()));
    json.put("attention_probs_dropout_prob", ConfigFile.decimal(config.attentionDropout()));
    json.put("classifier_dropout", ConfigFile.decimal(config.headDropout()));
    json.put("layer_norm_eps", ConfigFile.decimal(config.epsilon()));
    json.put("pad_token_id", config.padding());
    json.put("initializer_range", Sizes.deviation(config.width()));
    json.put("position_embedding_type", "absolute");
    json.put("tie_word_embeddings", true);
    putLabels(json, head, labels);
    return json;
  }
}
