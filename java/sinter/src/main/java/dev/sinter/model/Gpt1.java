package dev.sinter.model;

import dev.sinter.model.Architecture.Norm;

/**
 * GPT-1 (Radford et al. 2018, section 4.1): a decoder with a norm after each sub-layer, learned
 * positions, tanh-GELU, and an output matrix that is the token table.
 */
final class Gpt1 {
  private Gpt1() {}

  static Architecture of(GptConfig c) {
    float deviation = (float) c.initialDeviation();
    return new Architecture(
        c.layers(),
        c.width(),
        c.heads(),
        c.inner(),
        Norm.AFTER,
        c.epsilon(),
        c.activation(),
        true, // causal
        layer -> 0, // no window
        false, // no cross-attention
        c.attentionDropout(),
        c.residualDropout(),
        deviation,
        deviation,
        Gpt2::names);
  }
}
