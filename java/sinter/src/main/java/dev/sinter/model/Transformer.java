package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.normal;
import static dev.sinter.graph.ParameterSpec.table;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.KvCache;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import dev.sinter.model.Architecture.Names;
import dev.sinter.model.Architecture.Norm;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The Transformer (Vaswani et al. 2017, section 3): an encoder and a decoder with a norm after each
 * sub-layer, sinusoidal positions, ReLU, and one matrix that embeds sources and targets and gives
 * the output. Parameters have Marian's names in Hugging Face; its positions have the sines in the
 * first half and the cosines in the second.
 */
final class Transformer {
  private static final float EPSILON = 1e-5f;
  private static final String TABLE = "model.shared.weight";
  private static final String ENCODER_POSITIONS = "model.encoder.embed_positions.weight";
  private static final String DECODER_POSITIONS = "model.decoder.embed_positions.weight";
  private static final String LOGIT_BIAS = "final_logits_bias";

  private final TransformerConfig config;
  private final Blocks encoder;
  private final Blocks decoder;

  Transformer(TransformerConfig config) {
    this.config = config;
    this.encoder = new Blocks(encoderOf(config));
    this.decoder = new Blocks(decoderOf(config));
  }

  private static Architecture encoderOf(TransformerConfig c) {
    return both(c, Architecture.encoder(c.encoderLayers(), c.width(), c.heads()))
        .names(layer -> names("model.encoder.layers." + layer + "."));
  }

  private static Architecture decoderOf(TransformerConfig c) {
    return both(c, Architecture.decoder(c.decoderLayers(), c.width(), c.heads()))
        .crossAttention()
        .names(layer -> names("model.decoder.layers." + layer + "."));
  }

  private static Architecture both(TransformerConfig c, Architecture blocks) {
    double deviation = Sizes.deviation(c.width());
    return blocks
        .norm(Norm.AFTER, EPSILON)
        .feedForward(c.inner(), c.activation())
        .dropout(c.attentionDropout(), c.dropout())
        .initial(deviation, deviation);
  }

  private static Names names(String l) {
    String self = l + "self_attn.";
    String cross = l + "encoder_attn.";
    return new Names(
        false,
        List.of(self + "q_proj", self + "k_proj", self + "v_proj"),
        self + "out_proj",
        l + "self_attn_layer_norm",
        cross + "q_proj",
        List.of(cross + "k_proj", cross + "v_proj"),
        cross + "out_proj",
        l + "encoder_attn_layer_norm",
        l + "fc1",
        l + "fc2",
        l + "final_layer_norm");
  }

  List<ParameterSpec> parameters() {
    List<ParameterSpec> all = new ArrayList<>();
    int d = config.width();
    all.add(normal(TABLE, (float) Sizes.deviation(d), config.vocabulary(), d));
    all.add(table(ENCODER_POSITIONS, this::position, config.context(), d));
    all.add(table(DECODER_POSITIONS, this::position, config.context(), d));
    all.add(table(LOGIT_BIAS, (row, column) -> 0, 1, config.vocabulary()));
    encoder.addTo(all);
    decoder.addTo(all);
    return all;
  }

  /** What an adapter has to know of such a model. */
  Adaptable adaptable() {
    Map<String, Layout> linear = new HashMap<>(encoder.matrices());
    linear.putAll(decoder.matrices());
    List<String> projections = new ArrayList<>(encoder.projections());
    projections.addAll(decoder.projections());
    return new Adaptable(
        "marian", "SEQ_2_SEQ_LM", parameters(), linear, projections, null, "", List.of(), false);
  }

  /** Section 3.5: sin or cos of position / 10000^(2 i / width). */
  private double position(long position, long column) {
    int half = config.width() / 2;
    double angle = position / Math.pow(10000, 2.0 * (column % half) / config.width());
    return column < half ? Math.sin(angle) : Math.cos(angle);
  }

  private Tensor embed(
      GraphBuilder g, Weights p, String name, Tensor tokens, Tensor offsets, String positions) {
    float scale = config.scalesEmbedding() ? (float) Math.sqrt(config.width()) : 1;
    Tensor x =
        g.embedding(name, tokens, offsets, p.get(TABLE), p.get(positions), scale, config.padding());
    return g.drops(config.dropout()) ? g.dropout(name + " dropout", x, config.dropout(), null) : x;
  }

  /**
   * The encoder.
   *
   * @param sources int32 [batch, source length]
   * @param lengths int32 [batch]: how many of them are no padding
   * @return hidden states [batch, source length, width]
   */
  Tensor encode(GraphBuilder g, Weights p, Tensor sources, Tensor lengths) {
    Tensor x = embed(g, p, "source embedding", sources, null, ENCODER_POSITIONS);
    return encoder.forward(g, p, x, encoder.within(g, lengths), null);
  }

  /**
   * The decoder over whole targets, which are padded at their ends.
   *
   * @param targets int32 [batch, length], from the start token on
   * @param encoded [batch, source length, width]
   * @param lengths int32 [batch]: how many of the sources are no padding
   * @return logits [batch, length, vocabulary]
   */
  Tensor decode(GraphBuilder g, Weights p, Tensor targets, Tensor encoded, Tensor lengths) {
    Tensor x = embed(g, p, "target embedding", targets, null, DECODER_POSITIONS);
    return logits(
        g,
        p,
        decoder.forward(g, p, x, decoder.within(g, null), decoder.across(g, p, encoded, lengths)));
  }

  /**
   * The decoder for one more token of each target; {@code sources} holds what {@link #fill} put.
   */
  Tensor step(GraphBuilder g, Weights p, Tensor tokens, KvCache targets, KvCache sources) {
    Tensor x = embed(g, p, "target embedding", tokens, targets.lengths(), DECODER_POSITIONS);
    return logits(
        g,
        p,
        decoder.forward(g, p, x, decoder.cached(g, targets), decoder.acrossCached(g, sources)));
  }

  /** Puts what the decoder reads of the encoder's hidden states into an empty cache. */
  void fill(GraphBuilder g, Weights p, Tensor encoded, KvCache sources) {
    decoder.fill(g, p, encoded, sources);
  }

  private static Tensor logits(GraphBuilder g, Weights p, Tensor x) {
    return g.lossLogits(x, p.get(TABLE), p.get(LOGIT_BIAS));
  }
}
