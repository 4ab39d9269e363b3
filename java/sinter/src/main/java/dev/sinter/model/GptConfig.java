package dev.sinter.model;

/**
 * The shape of a GPT-2 model (Radford et al. 2019, section 2.3), with the meanings of Hugging
 * Face's config.json.
 *
 * @param vocabulary number of tokens ({@code vocab_size})
 * @param context the most positions a sequence can have ({@code n_positions})
 * @param width of the hidden states ({@code n_embd})
 * @param layers number of blocks ({@code n_layer})
 * @param heads of attention, a divisor of the width ({@code n_head})
 * @param embeddingDropout probability in training ({@code embd_pdrop})
 * @param attentionDropout probability in training ({@code attn_pdrop})
 * @param residualDropout probability in training ({@code resid_pdrop})
 * @param epsilon of layer norm ({@code layer_norm_epsilon})
 */
public record GptConfig(
    int vocabulary,
    int context,
    int width,
    int layers,
    int heads,
    float embeddingDropout,
    float attentionDropout,
    float residualDropout,
    float epsilon) {
  private static final int MOST = 1 << 24;

  /** Checks that the sizes fit together. */
  public GptConfig {
    range("vocab_size", vocabulary, MOST);
    range("n_positions", context, MOST);
    range("n_embd", width, 1 << 20);
    range("n_layer", layers, 4096);
    range("n_head", heads, width);
    if (width % heads != 0) {
      int below = width / heads * heads;
      throw new IllegalArgumentException(
          "n_head "
              + heads
              + " does not divide n_embd "
              + width
              + "; a width of "
              + (below == 0 ? "" : below + " or ")
              + (below + heads)
              + " would do");
    }
    if (width / heads > 256) {
      throw new IllegalArgumentException(
          "n_embd "
              + width
              + " over n_head "
              + heads
              + " gives heads of "
              + width / heads
              + "; at most 256");
    }
    dropout("embd_pdrop", embeddingDropout);
    dropout("attn_pdrop", attentionDropout);
    dropout("resid_pdrop", residualDropout);
    if (!(epsilon > 0 && epsilon < 1)) {
      throw new IllegalArgumentException(
          "layer_norm_epsilon " + epsilon + "; more than 0, for example 1e-5");
    }
  }

  private static void range(String name, int value, int most) {
    if (value < 1 || value > most) {
      throw new IllegalArgumentException(name + " " + value + "; 1 to " + most);
    }
  }

  private static void dropout(String name, float p) {
    if (!(p >= 0 && p < 1)) {
      throw new IllegalArgumentException(name + " " + p + "; 0 or more and less than 1");
    }
  }

  /**
   * A model without dropout and with GPT-2's epsilon.
   *
   * @param vocabulary number of tokens
   * @param context the most positions a sequence can have
   * @param width of the hidden states
   * @param layers number of blocks
   * @param heads of attention
   * @return the configuration
   */
  public static GptConfig of(int vocabulary, int context, int width, int layers, int heads) {
    return new GptConfig(vocabulary, context, width, layers, heads, 0, 0, 0, 1e-5f);
  }

  /**
   * GPT-2 small: 124,439,808 parameters.
   *
   * @return the configuration, without dropout
   */
  public static GptConfig gpt2Small() {
    return of(50257, 1024, 768, 12, 12);
  }

  /**
   * The same with one dropout probability everywhere.
   *
   * @param p probability
   * @return the configuration
   */
  public GptConfig withDropout(float p) {
    return new GptConfig(vocabulary, context, width, layers, heads, p, p, p, epsilon);
  }

  /**
   * The same with another context.
   *
   * @param positions the most a sequence can have
   * @return the configuration
   */
  public GptConfig withContext(int positions) {
    return new GptConfig(
        vocabulary,
        positions,
        width,
        layers,
        heads,
        embeddingDropout,
        attentionDropout,
        residualDropout,
        epsilon);
  }

  /**
   * The same with another vocabulary.
   *
   * @param tokens number of tokens
   * @return the configuration
   */
  public GptConfig withVocabulary(int tokens) {
    return new GptConfig(
        tokens,
        context,
        width,
        layers,
        heads,
        embeddingDropout,
        attentionDropout,
        residualDropout,
        epsilon);
  }

  /**
   * The same with another number of blocks.
   *
   * @param blocks at least 1
   * @return the configuration
   */
  public GptConfig withLayers(int blocks) {
    return new GptConfig(
        vocabulary,
        context,
        width,
        blocks,
        heads,
        embeddingDropout,
        attentionDropout,
        residualDropout,
        epsilon);
  }

  /**
   * The standard deviation that new weights are drawn with ({@code initializer_range}): GPT-2's
   * 0.02 at its width of 768, and as {@code 1 / sqrt(width)} at others, so that a product of
   * weights and normalized hidden states starts with the same variance at every width.
   *
   * @return {@code 0.02 sqrt(768 / width)}
   */
  public double initialDeviation() {
    return 0.02 * Math.sqrt(768.0 / width);
  }

  /**
   * Counts the parameters: {@code layers (12 width² + 13 width) + (vocabulary + context + 2)
   * width}.
   *
   * @return the number that {@code info} prints
   */
  public long parameters() {
    long d = width;
    return layers * (12 * d * d + 13 * d) + (vocabulary + (long) context + 2) * d;
  }
}
