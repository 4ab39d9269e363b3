package dev.sinter.model;

/**
 * GPT-3 (Brown et al. 2020, section 2.1): GPT-2 with dense and locally banded attention in turn
 * (Child et al. 2019), the first layer dense.
 */
final class Gpt3 {
  private Gpt3() {}

  static Architecture of(GptConfig c) {
    return Gpt2.of(c).window(layer -> layer % 2 == 0 ? 0 : c.window());
  }
}
