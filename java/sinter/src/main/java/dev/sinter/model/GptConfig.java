package dev.sinter.model;

import dev.sinter.graph.Activation;

/**
 * The shape of a GPT, with the meanings of Hugging Face's config.json.
 *
 * @param family which GPT
 * @param vocabulary number of tokens ({@code vocab_size})
 * @param context the most positions a sequence can have ({@code n_positions})
 * @param width of the hidden states ({@code n_embd})
 * @param layers number of blocks ({@code n_layer})
 * @param heads of attention, a divisor of the width ({@code n_head})
 * @param inner width of the feed-forward layers ({@code n_inner})
 * @param activation of the feed-forward layers ({@code activation_function})
 * @param window how many positions GPT-3's banded layers see, their own included; the other
 *     families have none: 0
 * @param embeddingDropout probability in training ({@code embd_pdrop})
 * @param attentionDropout probability in training ({@code attn_pdrop})
 * @param residualDropout probability in training ({@code resid_pdrop})
 * @param epsilon of layer norm ({@code layer_norm_epsilon})
 */
public record GptConfig(
    Family family,
    int vocabulary,
    int context,
    int width,
    int layers,
    int heads,
    int inner,
    Activation activation,
    int window,
    float embeddingDropout,
    float attentionDropout,
    float residualDropout,
    float epsilon) {

  /** The GPTs that differ in their blocks. */
  public enum Family {
    /** Radford et al. 2018: norms after the sub-layers, none at the end. */
    GPT1,
    /** Radford et al. 2019: norms before the sub-layers and at the end. */
    GPT2,
    /** Brown et al. 2020: GPT-2 with every other layer banded. */
    GPT3
  }

  /** Checks that the sizes fit together. */
  public GptConfig {
    Sizes.check("vocab_size", vocabulary, Sizes.MOST);
    Sizes.check("n_positions", context, Sizes.MOST);
    Sizes.check("n_layer", layers, Sizes.MOST_LAYERS);
    Sizes.checkHeads("n_head", heads, "n_embd", width);
    Sizes.check("n_inner", inner, Sizes.MOST);
    Sizes.checkDropout("embd_pdrop", embeddingDropout);
    Sizes.checkDropout("attn_pdrop", attentionDropout);
    Sizes.checkDropout("resid_pdrop", residualDropout);
    Sizes.checkEpsilon("layer_norm_epsilon", epsilon);
    if (family == Family.GPT3) {
      Sizes.check("window_size", window, Sizes.MOST);
    } else if (window != 0) {
      throw new IllegalArgumentException(
          "window_size " + window + "; only GPT-3 has banded layers");
    }
  }

  /**
   * A GPT-2 without dropout.
   *
   * @param vocabulary number of tokens
   * @param context the most positions a sequence can have
   * @param width of the hidden states
   * @param layers number of blocks
   * @param heads of attention
   * @return the configuration
   */
  public static GptConfig of(int vocabulary, int context, int width, int layers, int heads) {
    return new GptConfig(
        Family.GPT2,
        vocabulary,
        context,
        width,
        layers,
        heads,
        4 * width,
        Activation.GELU_TANH,
        0,
        0,
        0,
        0,
        1e-5f);
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
   * A model by its name.
   *
   * @param name openai-gpt; gpt2, gpt2-medium, gpt2-large, gpt2-xl; gpt3-small (or gpt3-125m),
   *     gpt3-medium (350m), gpt3-large (760m), gpt3-xl (1.3b), gpt3-2.7b, gpt3-6.7b, gpt3-13b,
   *     gpt3-175b
   * @return the configuration, without dropout
   * @throws IllegalArgumentException for a name that is none of these
   */
  public static GptConfig preset(String name) {
    return switch (name) {
      case "openai-gpt" -> of(40478, 512, 768, 12, 12).withFamily(Family.GPT1, 0);
      case "gpt2" -> gpt2Small();
      case "gpt2-medium" -> of(50257, 1024, 1024, 24, 16);
      case "gpt2-large" -> of(50257, 1024, 1280, 36, 20);
      case "gpt2-xl" -> of(50257, 1024, 1600, 48, 25);
      case "gpt3-small", "gpt3-125m" -> gpt3(768, 12, 12);
      case "gpt3-medium", "gpt3-350m" -> gpt3(1024, 24, 16);
      case "gpt3-large", "gpt3-760m" -> gpt3(1536, 24, 16);
      // The paper's table prints 24 heads of 128 for a width of 2048: 16 of them make it.
      case "gpt3-xl", "gpt3-1.3b" -> gpt3(2048, 24, 16);
      case "gpt3-2.7b" -> gpt3(2560, 32, 32);
      case "gpt3-6.7b" -> gpt3(4096, 32, 32);
      // The paper prints a width of 5140, which 40 heads do not divide.
      case "gpt3-13b" -> gpt3(5120, 40, 40);
      case "gpt3-175b" -> gpt3(12288, 96, 96);
      default ->
          throw new IllegalArgumentException(
              "no GPT is called "
                  + name
                  + "; openai-gpt, gpt2, gpt2-medium, gpt2-large, gpt2-xl, gpt3-small,"
                  + " gpt3-medium, gpt3-large, gpt3-xl, gpt3-2.7b, gpt3-6.7b, gpt3-13b and"
                  + " gpt3-175b are");
    };
  }

  /** The band's width is unpublished; 256 is that of openly trained models of the kind. */
  private static GptConfig gpt3(int width, int layers, int heads) {
    return of(50257, 2048, width, layers, heads).withFamily(Family.GPT3, 256);
  }

  /**
   * The same shape as another family.
   *
   * @param other which GPT
   * @param band how many positions GPT-3's banded layers see; 0 for the others
   * @return the configuration
   */
  public GptConfig withFamily(Family other, int band) {
    return new GptConfig(
        other,
        vocabulary,
        context,
        width,
        layers,
        heads,
        inner,
        activation,
        band,
        embeddingDropout,
        attentionDropout,
        residualDropout,
        epsilon);
  }

  /**
   * The same with one dropout probability everywhere.
   *
   * @param p probability
   * @return the configuration
   */
  public GptConfig withDropout(float p) {
    return new GptConfig(
        family,
        vocabulary,
        context,
        width,
        layers,
        heads,
        inner,
        activation,
        window,
        p,
        p,
        p,
        epsilon);
  }

  /**
   * The same with another context.
   *
   * @param positions the most a sequence can have
   * @return the configuration
   */
  public GptConfig withContext(int positions) {
    return with(vocabulary, positions);
  }

  /**
   * The same with another vocabulary.
   *
   * @param tokens number of tokens
   * @return the configuration
   */
  public GptConfig withVocabulary(int tokens) {
    return with(tokens, context);
  }

  private GptConfig with(int tokens, int positions) {
    return new GptConfig(
        family,
        tokens,
        positions,
        width,
        layers,
        heads,
        inner,
        activation,
        window,
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
        family,
        vocabulary,
        context,
        width,
        blocks,
        heads,
        inner,
        activation,
        window,
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
    return Sizes.deviation(width);
  }

  /**
   * Counts the parameters: {@code layers (12 width² + 13 width) + (vocabulary + context + 2)
   * width}, where the feed-forward layers are four times as wide; without the last norm's 2 width
   * for GPT-1.
   *
   * @return the number that {@code info} prints
   */
  public long parameters() {
    long d = width;
    long block = 4 * d * d + 2 * d * inner + 9 * d + inner;
    long norm = family == Family.GPT1 ? 0 : 2 * d;
    return layers * block + (vocabulary + (long) context) * d + norm;
  }
}
