package dev.sinter.model;

import static dev.sinter.graph.GraphBuilder.Layout.IN_OUT;
import static dev.sinter.graph.ParameterSpec.constant;
import static dev.sinter.graph.ParameterSpec.normal;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.KvCache;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Tensor;
import java.util.ArrayList;
import java.util.List;

/**
 * GPT-2 (Radford et al. 2019, section 2.3): a decoder with a norm before each sub-layer and one at
 * the end, learned positions, tanh-GELU, and an output matrix that is the token table. Parameters
 * have their Hugging Face names.
 */
final class Gpt2 {
  private final GptConfig config;

  Gpt2(GptConfig config) {
    this.config = config;
  }

  /**
   * All parameters with their initial values: residual projections are scaled by 1 / sqrt(2 layers)
   * as in the paper.
   */
  List<ParameterSpec> parameters() {
    long d = config.width();
    float deviation = (float) config.initialDeviation();
    float residual = (float) (deviation / Math.sqrt(2.0 * config.layers()));
    List<ParameterSpec> all = new ArrayList<>();
    all.add(normal("wte.weight", deviation, config.vocabulary(), d));
    all.add(normal("wpe.weight", deviation, config.context(), d));
    for (int i = 0; i < config.layers(); i++) {
      String h = "h." + i + ".";
      all.add(constant(h + "ln_1.weight", 1, d));
      all.add(constant(h + "ln_1.bias", 0, d));
      all.add(normal(h + "attn.c_attn.weight", deviation, d, 3 * d));
      all.add(constant(h + "attn.c_attn.bias", 0, 3 * d));
      all.add(normal(h + "attn.c_proj.weight", residual, d, d));
      all.add(constant(h + "attn.c_proj.bias", 0, d));
      all.add(constant(h + "ln_2.weight", 1, d));
      all.add(constant(h + "ln_2.bias", 0, d));
      all.add(normal(h + "mlp.c_fc.weight", deviation, d, 4 * d));
      all.add(constant(h + "mlp.c_fc.bias", 0, 4 * d));
      all.add(normal(h + "mlp.c_proj.weight", residual, 4 * d, d));
      all.add(constant(h + "mlp.c_proj.bias", 0, d));
    }
    all.add(constant("ln_f.weight", 1, d));
    all.add(constant("ln_f.bias", 0, d));
    return all;
  }

  /** How a block attends: over its own tokens, or over a cache as well. */
  @FunctionalInterface
  interface AttentionKind {
    Tensor attend(String name, Tensor qkv, int layer);
  }

  /** Attention over the tokens of the graph alone. */
  AttentionKind causal(GraphBuilder g) {
    return (name, qkv, layer) ->
        g.attention(name, qkv, config.heads(), 0, config.attentionDropout());
  }

  /** Attention over the cache and the tokens of the graph, which are added to it. */
  AttentionKind cached(GraphBuilder g, KvCache cache) {
    return (name, qkv, layer) -> g.cachedAttention(name, qkv, cache, layer, config.heads(), 0);
  }

  /**
   * The hidden states after the last block, before the final norm.
   *
   * @param tokens int32 [batch, length]
   * @param offsets int32 [batch], or null: positions count from 0
   * @return [batch, length, width]
   */
  Tensor blocks(
      GraphBuilder g, Parameters p, Tensor tokens, Tensor offsets, AttentionKind attention) {
    Tensor x = g.embedding(tokens, offsets, p.get("wte.weight"), p.get("wpe.weight"));
    if (g.drops(config.embeddingDropout())) {
      x = g.dropout("embedding dropout", x, config.embeddingDropout(), null);
    }
    for (int i = 0; i < config.layers(); i++) {
      x = block(g, p, g.checkpoint(x), i, attention);
    }
    return g.checkpoint(x);
  }

  private Tensor block(GraphBuilder g, Parameters p, Tensor x, int layer, AttentionKind attention) {
    String h = "h." + layer + ".";
    Tensor n1 = norm(g, p, h + "ln_1", x);
    Tensor qkv =
        g.linear(
            h + "qkv",
            n1,
            p.get(h + "attn.c_attn.weight"),
            IN_OUT,
            p.get(h + "attn.c_attn.bias"),
            null);
    Tensor attended = attention.attend(h + "attention", qkv, layer);
    Tensor y = project(g, p, h + "attn.c_proj", attended, x);
    Tensor n2 = norm(g, p, h + "ln_2", y);
    Tensor f =
        g.linearGelu(
            h + "mlp", n2, p.get(h + "mlp.c_fc.weight"), IN_OUT, p.get(h + "mlp.c_fc.bias"));
    return project(g, p, h + "mlp.c_proj", f, y);
  }

  private Tensor project(GraphBuilder g, Parameters p, String name, Tensor x, Tensor residual) {
    Tensor weight = p.get(name + ".weight");
    Tensor bias = p.get(name + ".bias");
    if (!g.drops(config.residualDropout())) {
      return g.linear(name, x, weight, IN_OUT, bias, residual);
    }
    Tensor projected = g.linear(name, x, weight, IN_OUT, bias, null);
    return g.dropout(name + " dropout", projected, config.residualDropout(), residual);
  }

  private Tensor norm(GraphBuilder g, Parameters p, String name, Tensor x) {
    return g.layerNorm(name, x, p.get(name + ".weight"), p.get(name + ".bias"), config.epsilon());
  }

  /** Logits of hidden states: the final norm, then the token table. */
  Tensor head(GraphBuilder g, Parameters p, Tensor x) {
    return g.logits(g.checkpoint(norm(g, p, "ln_f", x)), p.get("wte.weight"));
  }
}
