package dev.sinter.model;

import dev.sinter.graph.Activation;

/**
 * The shape of a BERT (Devlin et al. 2019), with the meanings of Hugging Face's config.json.
 *
 * @param vocabulary number of tokens ({@code vocab_size})
 * @param context the most positions a sequence can have ({@code max_position_embeddings})
 * @param width of the hidden states ({@code hidden_size})
 * @param layers number of blocks ({@code num_hidden_layers})
 * @param heads of attention, a divisor of the width ({@code num_attention_heads})
 * @param inner width of the feed-forward layers ({@code intermediate_size})
 * @param segments kinds of segments ({@code type_vocab_size})
 * @param activation of the feed-forward layers ({@code hidden_act})
 * @param hiddenDropout probability in training ({@code hidden_dropout_prob})
 * @param attentionDropout probability in training ({@code attention_probs_dropout_prob})
 * @param headDropout before a classifier ({@code classifier_dropout})
 * @param epsilon of layer norm ({@code layer_norm_eps})
 * @param padding the token that fills sequences up ({@code pad_token_id})
 */
public record BertConfig(
    int vocabulary,
    int context,
    int width,
    int layers,
    int heads,
    int inner,
    int segments,
    Activation activation,
    float hiddenDropout,
    float attentionDropout,
    float headDropout,
    float epsilon,
    int padding) {

  /** Checks that the sizes fit together. */
  public BertConfig {
    Sizes.check("vocab_size", vocabulary, Sizes.MOST);
    Sizes.check("max_position_embeddings", context, Sizes.MOST);
    Sizes.check("num_hidden_layers", layers, Sizes.MOST_LAYERS);
    Sizes.checkHeads("num_attention_heads", heads, "hidden_size", width);
    Sizes.check("intermediate_size", inner, Sizes.MOST);
    Sizes.check("type_vocab_size", segments, Sizes.MOST);
    Sizes.checkDropout("hidden_dropout_prob", hiddenDropout);
    Sizes.checkDropout("attention_probs_dropout_prob", attentionDropout);
    Sizes.checkDropout("classifier_dropout", headDropout);
    Sizes.checkEpsilon("layer_norm_eps", epsilon);
    if (padding < 0 || padding >= vocabulary) {
      throw new IllegalArgumentException(
          "pad_token_id " + padding + "; the vocabulary has 0 to " + (vocabulary - 1));
    }
  }

  /**
   * A BERT with two segments, GELU by erf, dropout of 0.1 and padding 0.
   *
   * @param vocabulary number of tokens
   * @param context the most positions a sequence can have
   * @param width of the hidden states
   * @param layers number of blocks
   * @param heads of attention
   * @return the configuration
   */
  public static BertConfig of(int vocabulary, int context, int width, int layers, int heads) {
    return new BertConfig(
        vocabulary,
        context,
        width,
        layers,
        heads,
        4 * width,
        2,
        Activation.GELU,
        0.1f,
        0.1f,
        0.1f,
        1e-12f,
        0);
  }

  /**
   * A model by its name.
   *
   * @param name bert-base-uncased, bert-base-cased, bert-large-uncased, bert-large-cased or
   *     bert-base-chinese
   * @return the configuration
   * @throws IllegalArgumentException for a name that is none of these
   */
  public static BertConfig preset(String name) {
    return switch (name) {
      case "bert-base-uncased" -> of(30522, 512, 768, 12, 12);
      case "bert-base-cased" -> of(28996, 512, 768, 12, 12);
      case "bert-large-uncased" -> of(30522, 512, 1024, 24, 16);
      case "bert-large-cased" -> of(28996, 512, 1024, 24, 16);
      case "bert-base-chinese" -> of(21128, 512, 768, 12, 12);
      default ->
          throw new IllegalArgumentException(
              "no BERT is called "
                  + name
                  + "; bert-base-uncased, bert-base-cased, bert-large-uncased, bert-large-cased"
                  + " and bert-base-chinese are");
    };
  }

  /**
   * The same with one dropout probability everywhere.
   *
   * @param p probability
   * @return the configuration
   */
  public BertConfig withDropout(float p) {
    return new BertConfig(
        vocabulary,
        context,
        width,
        layers,
        heads,
        inner,
        segments,
        activation,
        p,
        p,
        p,
        epsilon,
        padding);
  }

  /**
   * The same with another token that fills sequences up.
   *
   * @param token its id
   * @return the configuration
   */
  public BertConfig withPadding(int token) {
    return new BertConfig(
        vocabulary,
        context,
        width,
        layers,
        heads,
        inner,
        segments,
        activation,
        hiddenDropout,
        attentionDropout,
        headDropout,
        epsilon,
        token);
  }
}
