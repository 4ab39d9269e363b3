package dev.sinter.graph;

import dev.sinter.natives.global.sinter;

/** A function of one number between two products. */
public enum Activation {
  /** GELU by tanh (Hendrycks and Gimpel 2016): GPT's. */
  GELU_TANH(sinter.SN_GELU_TANH),
  /** GELU by erf, the exact form: BERT's in Hugging Face. */
  GELU(sinter.SN_GELU),
  /** max(x, 0): the Transformer's. */
  RELU(sinter.SN_RELU),
  /** tanh: of BERT's pooler. */
  TANH(sinter.SN_TANH);

  private final int code;

  Activation(int code) {
    this.code = code;
  }

  int code() {
    return code;
  }
}
