package dev.sinter.model;

import dev.sinter.graph.Activation;

/**
 * The shape of an encoder-decoder Transformer (Vaswani et al. 2017), with the meanings of Hugging
 * Face's config.json for Marian.
 *
 * @param vocabulary number of tokens, of source and target alike ({@code vocab_size})
 * @param context the most positions a sequence can have ({@code max_position_embeddings})
 * @param width of the hidden states ({@code d_model})
 * @param encoderLayers number of blocks ({@code encoder_layers})
 * @param decoderLayers number of blocks ({@code decoder_layers})
 * @param heads of attention, a divisor of the width ({@code encoder_attention_heads} and {@code
 *     decoder_attention_heads})
 * @param inner width of the feed-forward layers ({@code encoder_ffn_dim} and {@code
 *     decoder_ffn_dim})
 * @param activation of the feed-forward layers ({@code activation_function})
 * @param dropout probability in training ({@code dropout})
 * @param attentionDropout probability in training ({@code attention_dropout})
 * @param scalesEmbedding whether token embeddings are multiplied by the root of the width ({@code
 *     scale_embedding})
 * @param start the token that a target begins with ({@code decoder_start_token_id})
 * @param end the token that a target ends with ({@code eos_token_id})
 * @param padding the token that fills sequences up ({@code pad_token_id})
 */
public record TransformerConfig(
    int vocabulary,
    int context,
    int width,
    int encoderLayers,
    int decoderLayers,
    int heads,
    int inner,
    Activation activation,
    float dropout,
    float attentionDropout,
    boolean scalesEmbedding,
    int start,
    int end,
    int padding) {

  /** Checks that the sizes fit together. */
  public TransformerConfig {
    Sizes.check("vocab_size", vocabulary, Sizes.MOST);
    Sizes.check("max_position_embeddings", context, Sizes.MOST);
    Sizes.check("encoder_layers", encoderLayers, Sizes.MOST_LAYERS);
    Sizes.check("decoder_layers", decoderLayers, Sizes.MOST_LAYERS);
    Sizes.checkHeads("encoder_attention_heads", heads, "d_model", width);
    Sizes.check("encoder_ffn_dim", inner, Sizes.MOST);
    Sizes.checkDropout("dropout", dropout);
    Sizes.checkDropout("attention_dropout", attentionDropout);
    checkToken("decoder_start_token_id", start, vocabulary);
    checkToken("eos_token_id", end, vocabulary);
    checkToken("pad_token_id", padding, vocabulary);
    if (width % 2 != 0) {
      throw new IllegalArgumentException(
          "d_model " + width + " is odd; sines and cosines of positions share it");
    }
  }

  private static void checkToken(String name, int token, int vocabulary) {
    if (token < 0 || token >= vocabulary) {
      throw new IllegalArgumentException(
          name + " " + token + "; the vocabulary has 0 to " + (vocabulary - 1));
    }
  }

  /**
   * A Transformer with ReLU, dropout of 0.1, scaled embeddings; padding, which also starts targets,
   * is the last token and the end 0, as in Marian.
   *
   * @param vocabulary number of tokens
   * @param context the most positions a sequence can have
   * @param width of the hidden states
   * @param layers number of blocks of encoder and decoder each
   * @param heads of attention
   * @return the configuration
   */
  public static TransformerConfig of(
      int vocabulary, int context, int width, int layers, int heads) {
    return new TransformerConfig(
        vocabulary,
        context,
        width,
        layers,
        layers,
        heads,
        4 * width,
        Activation.RELU,
        0.1f,
        0,
        true,
        vocabulary - 1,
        0,
        vocabulary - 1);
  }

  /**
   * A model by its name, as in table 3 of the paper.
   *
   * @param name transformer-base or transformer-big
   * @return the configuration, with the paper's vocabulary of about 37,000
   * @throws IllegalArgumentException for a name that is none of these
   */
  public static TransformerConfig preset(String name) {
    return switch (name) {
      case "transformer-base" -> of(37000, 512, 512, 6, 8);
      case "transformer-big" -> of(37000, 512, 1024, 6, 16).withDropout(0.3f);
      default ->
          throw new IllegalArgumentException(
              "no Transformer is called " + name + "; transformer-base and transformer-big are");
    };
  }

  /**
   * The same with another dropout probability; attention's stays.
   *
   * @param p probability
   * @return the configuration
   */
  public TransformerConfig withDropout(float p) {
    return new TransformerConfig(
        vocabulary,
        context,
        width,
        encoderLayers,
        decoderLayers,
        heads,
        inner,
        activation,
        p,
        attentionDropout,
        scalesEmbedding,
        start,
        end,
        padding);
  }

  /**
   * The same with other tokens of its own.
   *
   * @param startToken that a target begins with
   * @param endToken that a target ends with
   * @param paddingToken that fills sequences up
   * @return the configuration
   */
  public TransformerConfig withTokens(int startToken, int endToken, int paddingToken) {
    return new TransformerConfig(
        vocabulary,
        context,
        width,
        encoderLayers,
        decoderLayers,
        heads,
        inner,
        activation,
        dropout,
        attentionDropout,
        scalesEmbedding,
        startToken,
        endToken,
        paddingToken);
  }
}
