package dev.sinter.model;

import dev.sinter.model.Architecture.Names;
import dev.sinter.model.Architecture.Norm;
import java.util.List;

/**
 * GPT-2 (Radford et al. 2019, section 2.3): a decoder with a norm before each sub-layer and one at
 * the end, learned positions, tanh-GELU, and an output matrix that is the token table. Weights that
 * write to the residual stream start smaller by the square root of their number.
 */
final class Gpt2 {
  private Gpt2() {}

  static Architecture of(GptConfig c) {
    return Architecture.decoder(c.layers(), c.width(), c.heads())
        .norm(Norm.BEFORE, c.epsilon())
        .feedForward(c.inner(), c.activation())
        .dropout(c.attentionDropout(), c.residualDropout())
        .initial(c.initialDeviation(), c.initialDeviation() / Math.sqrt(2.0 * c.layers()))
        .names(Gpt2::names);
  }

  /** All GPTs': Conv1D's layout, queries, keys and values in one. */
  static Names names(int layer) {
    String h = "h." + layer + ".";
    return new Names(
        true,
        List.of(h + "attn.c_attn"),
        h + "attn.c_proj",
        h + "ln_1",
        null,
        null,
        null,
        null,
        h + "mlp.c_fc",
        h + "mlp.c_proj",
        h + "ln_2");
  }
}
