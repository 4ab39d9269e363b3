package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.normal;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import dev.sinter.model.Architecture.Names;
import dev.sinter.model.Architecture.Norm;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * BERT (Devlin et al. 2019, section 3): an encoder with a norm after each sub-layer and one after
 * the sum of token, position and segment embeddings. Parameters have their Hugging Face names.
 */
final class Bert implements Backbone {
  private static final String WORDS = "embeddings.word_embeddings.weight";
  private static final String POSITIONS = "embeddings.position_embeddings.weight";
  private static final String SEGMENTS = "embeddings.token_type_embeddings.weight";
  private static final String NORM = "embeddings.LayerNorm";

  private final BertConfig config;
  private final Architecture architecture;
  private final Blocks blocks;

  Bert(BertConfig config) {
    this.config = config;
    this.architecture = of(config);
    this.blocks = new Blocks(architecture);
  }

  static Architecture of(BertConfig c) {
    double deviation = Sizes.deviation(c.width());
    return Architecture.encoder(c.layers(), c.width(), c.heads())
        .norm(Norm.AFTER, c.epsilon())
        .feedForward(c.inner(), c.activation())
        .dropout(c.attentionDropout(), c.hiddenDropout())
        .initial(deviation, deviation)
        .names(Bert::names);
  }

  private static Names names(int layer) {
    String l = "encoder.layer." + layer + ".";
    String self = l + "attention.self.";
    return new Names(
        false,
        List.of(self + "query", self + "key", self + "value"),
        l + "attention.output.dense",
        l + "attention.output.LayerNorm",
        null,
        null,
        null,
        null,
        l + "intermediate.dense",
        l + "output.dense",
        l + "output.LayerNorm");
  }

  @Override
  public List<ParameterSpec> parameters() {
    List<ParameterSpec> all = new ArrayList<>();
    all.add(normal(WORDS, deviation(), config.vocabulary(), config.width()));
    all.add(normal(POSITIONS, deviation(), config.context(), config.width()));
    all.add(normal(SEGMENTS, deviation(), config.segments(), config.width()));
    Blocks.addNorm(all, NORM, config.width());
    blocks.addTo(all);
    return all;
  }

  @Override
  public Tensor hidden(GraphBuilder g, Weights p, Tensor tokens, Tensor segments, Tensor lengths) {
    Tensor words =
        g.embedding("embedding", tokens, null, p.get(WORDS), p.get(POSITIONS), 1, config.padding());
    Tensor kinds = g.embedding("segments", segments, null, p.get(SEGMENTS), null, 1, -1);
    Tensor x = blocks.norm(g, p, NORM, g.add("embeddings", words, kinds));
    if (g.drops(config.hiddenDropout())) {
      x = g.dropout("embedding dropout", x, config.hiddenDropout(), null);
    }
    return blocks.forward(g, p, x, blocks.within(g, lengths), null);
  }

  /** The words' table: what the masked-word head multiplies by. */
  Tensor words(Weights p) {
    return p.get(WORDS);
  }

  BertConfig config() {
    return config;
  }

  /** Layer norm with BERT's epsilon. */
  Tensor norm(GraphBuilder g, Weights p, String name, Tensor x) {
    return blocks.norm(g, p, name, x);
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
        "bert",
        taskType,
        specs,
        linear,
        blocks.projections(),
        head,
        BertFiles.PREFIX,
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
    return true;
  }

  @Override
  public float deviation() {
    return architecture.deviation();
  }
}
