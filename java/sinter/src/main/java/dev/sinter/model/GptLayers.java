package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.normal;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.KvCache;
import dev.sinter.graph.PagedCache;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import dev.sinter.model.Architecture.Norm;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What all GPTs are: token and position tables, blocks, a final norm where the norms stand before
 * the sub-layers, and the token table again as output. Parameters have their Hugging Face names.
 */
final class GptLayers implements Backbone {
  private static final String FINAL_NORM = "ln_f";

  private final GptConfig config;
  private final Architecture architecture;
  private final Blocks blocks;
  private final String tokenTable;
  private final String positionTable;

  GptLayers(GptConfig config) {
    this.config = config;
    this.architecture =
        switch (config.family()) {
          case GPT1 -> Gpt1.of(config);
          case GPT2 -> Gpt2.of(config);
          case GPT3 -> Gpt3.of(config);
        };
    this.blocks = new Blocks(architecture);
    boolean first = config.family() == GptConfig.Family.GPT1;
    this.tokenTable = first ? "tokens_embed.weight" : "wte.weight";
    this.positionTable = first ? "positions_embed.weight" : "wpe.weight";
  }

  @Override
  public List<ParameterSpec> parameters() {
    List<ParameterSpec> all = new ArrayList<>();
    all.add(normal(tokenTable, architecture.deviation(), config.vocabulary(), config.width()));
    all.add(normal(positionTable, architecture.deviation(), config.context(), config.width()));
    blocks.addTo(all);
    if (hasFinalNorm()) {
      Blocks.addNorm(all, FINAL_NORM, config.width());
    }
    return all;
  }

  /** The parameters that products alone read, and their layout: those that can be packed. */
  Map<String, Layout> matrices() {
    Map<String, Layout> all = blocks.matrices();
    all.put(tokenTable, Layout.OUT_IN);
    return all;
  }

  private boolean hasFinalNorm() {
    return architecture.norm() == Norm.BEFORE;
  }

  /** Attention over the tokens of the graph alone. */
  Blocks.SelfAttention within(GraphBuilder g) {
    return blocks.within(g, null);
  }

  /** Attention over the cache and the tokens of the graph, which are added to it. */
  Blocks.SelfAttention cached(GraphBuilder g, KvCache cache) {
    return blocks.cached(g, cache);
  }

  /** Attention of rows of several sequences, each over the pages of its own. */
  Blocks.SelfAttention paged(GraphBuilder g, PagedCache cache, Tensor slots, Tensor positions) {
    return blocks.paged(g, cache, slots, positions);
  }

  /**
   * The hidden states after the last block, before the final norm.
   *
   * @param tokens int32 [batch, length]
   * @param offsets int32 [batch], or null: positions count from 0
   * @return [batch, length, width]
   */
  Tensor blocks(
      GraphBuilder g, Weights p, Tensor tokens, Tensor offsets, Blocks.SelfAttention attention) {
    Tensor x =
        g.embedding("embedding", tokens, offsets, p.get(tokenTable), p.get(positionTable), 1, -1);
    return blocks(g, p, x, attention);
  }

  /**
   * The hidden states after the last block of sequences that are packed one after the other and do
   * not see each other.
   *
   * @param tokens int32 [batch, length]
   * @param positions int32 [batch, length], of each token in its own sequence
   * @param starts int32 [batch, length], the place in the row at which its sequence starts
   * @return [batch, length, width]
   */
  Tensor packed(GraphBuilder g, Weights p, Tensor tokens, Tensor positions, Tensor starts) {
    Tensor words = g.embedding("token embedding", tokens, null, p.get(tokenTable), null, 1, -1);
    Tensor places =
        g.embedding("position embedding", positions, null, p.get(positionTable), null, 1, -1);
    return blocks(g, p, g.add("embedding", words, places), blocks.packed(g, starts));
  }

  private Tensor blocks(GraphBuilder g, Weights p, Tensor x, Blocks.SelfAttention attention) {
    if (g.drops(config.embeddingDropout())) {
      x = g.dropout("embedding dropout", x, config.embeddingDropout(), null);
    }
    return blocks.forward(g, p, x, attention, null);
  }

  private Tensor finalNorm(GraphBuilder g, Weights p, Tensor x) {
    return hasFinalNorm() ? g.checkpoint(blocks.norm(g, p, FINAL_NORM, x)) : x;
  }

  /** Logits of hidden states: the final norm, then the token table. */
  Tensor head(GraphBuilder g, Weights p, Tensor x) {
    return head(g, p, x, 1);
  }

  /** The same divided by a temperature. */
  Tensor head(GraphBuilder g, Weights p, Tensor x, float temperature) {
    Tensor normed = finalNorm(g, p, x);
    // The product is linear: to scale its input costs less than to scale all logits.
    return logits(g, p, temperature == 1 ? normed : g.scale("cooled", normed, 1 / temperature));
  }

  /** Logits of hidden states behind the final norm. */
  Tensor logits(GraphBuilder g, Weights p, Tensor hidden) {
    return g.lossLogits(hidden, p.get(tokenTable), null);
  }

  /** A pass that gives the loss of each token. */
  EvaluationGraph lossGraph(Weights p, int batch, int length, float temperature) {
    checkLength(length);
    GraphBuilder g = new GraphBuilder(p, Mode.INFERENCE, Recompute.NONE, 0);
    Tensor tokens = g.input("tokens", batch, length);
    Tensor targets = g.input("targets", batch, length);
    Tensor logits = head(g, p, blocks(g, p, tokens, null, within(g)), temperature);
    Tensor losses = g.output(g.crossEntropy(logits, targets, null, 0, 0));
    return new EvaluationGraph(g.build(), tokens, targets, losses);
  }

  /** A pass that gives every logit. */
  EvaluationGraph logitsGraph(Weights p, int batch, int length) {
    checkLength(length);
    GraphBuilder g = new GraphBuilder(p, Mode.INFERENCE, Recompute.NONE, 0);
    Tensor tokens = g.input("tokens", batch, length);
    Tensor logits = g.output(head(g, p, blocks(g, p, tokens, null, within(g))));
    return new EvaluationGraph(g.build(), tokens, null, logits);
  }

  void checkLength(int length) {
    if (length < 1 || length > config.context()) {
      throw new IllegalArgumentException(
          length + " tokens; this model's context is 1 to " + config.context());
    }
  }

  /** Right padding needs no mask: no token sees what comes after it. */
  @Override
  public Tensor hidden(GraphBuilder g, Weights p, Tensor tokens, Tensor segments, Tensor lengths) {
    return finalNorm(g, p, blocks(g, p, tokens, null, within(g)));
  }

  @Override
  public Map<String, Layout> linear() {
    return blocks.matrices();
  }

  @Override
  public Adaptable adaptable(
      String taskType,
      List<ParameterSpec> specs,
      Map<String, Layout> linear,
      String head,
      boolean prefixed) {
    return new Adaptable(
        GptFiles.type(config.family()),
        taskType,
        specs,
        linear,
        blocks.projections(),
        head,
        GptFiles.PREFIX,
        TaskModel.HEADS,
        prefixed);
  }

  @Override
  public int width() {
    return config.width();
  }

  @Override
  public int context() {
    return config.context();
  }

  @Override
  public int vocabulary() {
    return config.vocabulary();
  }

  @Override
  public boolean hasSegments() {
    return false;
  }

  @Override
  public float deviation() {
    return architecture.deviation();
  }
}
