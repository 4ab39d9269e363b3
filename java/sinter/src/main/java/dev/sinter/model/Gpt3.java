package dev.sinter.model;

import dev.sinter.model.Architecture.Norm;

/**
 * GPT-3 (Brown et al. 2020, section 2.1): GPT-2 with dense and locally banded attention in turn
 * (Child et al. 2019), the first layer dense.
 */
final class Gpt3 {
  private Gpt3() {}

  static Architecture of(GptConfig c) {
    float deviation = (float) c.initialDeviation();
    return new Architecture(
        c.layers(),
        c.width(),
        c.heads(),
        c.inner(),
        Norm.BEFORE,
        c.epsilon(),
        c.activation(),
        true, // causal
        layer -> layer % 2 == 0 ? 0 : c.window(),
        false, // no cross-attention
        c.attentionDropout(),
        c.residualDropout(),
        deviation,
        (float) (deviation / Math.sqrt(2.0 * c.layers())),
        Gpt2::names);
  }
}
