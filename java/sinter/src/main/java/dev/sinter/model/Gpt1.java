package dev.sinter.model;

import dev.sinter.model.Architecture.Norm;

/**
 * GPT-1 (Radford et al. 2018, section 4.1): a decoder with a norm after each sub-layer and none at
 * the end, learned positions, tanh-GELU, and an output matrix that is the token table.
 */
final class Gpt1 {
  private Gpt1() {}

  static Architecture of(GptConfig c) {
    return Gpt2.of(c)
        .norm(Norm.AFTER, c.epsilon())
        .initial(c.initialDeviation(), c.initialDeviation());
  }
}
