package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.KvCache;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/**
 * Targets that grow by one token a step, several of each source. To be used by one thread at a
 * time.
 */
public final class TransformerDecoder implements AutoCloseable {
  private final TransformerConfig config;
  private final int batch;
  private final int beams;
  private final int sourceLength;
  private final KvCache sources;
  private final KvCache targets;
  private final Graph encode;
  private final Tensor sourceTokens;
  private final Tensor sourceLengths;
  private final Graph step;
  private final Tensor tokens;
  private final Tensor logits;
  private int length;

  TransformerDecoder(
      TransformerModel model,
      Transformer layers,
      int batch,
      int beams,
      int sourceLength,
      int targetLength) {
    this.config = model.config();
    this.batch = batch;
    this.beams = beams;
    this.sourceLength = sourceLength;
    int rows = Math.multiplyExact(batch, beams);
    int headSize = config.width() / config.heads();
    sources =
        new KvCache(
            model.weights(), config.decoderLayers(), rows, config.heads(), headSize, sourceLength);
    targets =
        new KvCache(
            model.weights(), config.decoderLayers(), rows, config.heads(), headSize, targetLength);

    GraphBuilder g = new GraphBuilder(model.weights(), Mode.INFERENCE, Recompute.NONE, 0);
    sourceTokens = g.input("sources", batch, sourceLength);
    sourceLengths = g.input("source lengths", batch);
    Tensor encoded = layers.encode(g, model.weights(), sourceTokens, sourceLengths);
    Tensor from = null;
    if (beams > 1) {
      from = g.input("beams", rows, sourceLength);
      encoded = g.gather("encoded of beams", encoded, from);
    }
    layers.fill(g, model.weights(), encoded, sources);
    encode = g.build();
    for (int i = 0; i < rows * sourceLength && from != null; i++) {
      int source = i / sourceLength / beams;
      encode.ints(from).put(i, source * sourceLength + i % sourceLength);
    }

    GraphBuilder s = new GraphBuilder(model.weights(), Mode.INFERENCE, Recompute.NONE, 0);
    tokens = s.input("tokens", rows, 1);
    logits = s.output(layers.step(s, model.weights(), tokens, targets, sources));
    step = s.build();
  }

  /**
   * Reads new sources and forgets all targets.
   *
   * @param texts a source each, at least one token
   */
  public void encode(int[][] texts) {
    if (texts.length != batch) {
      throw new IllegalArgumentException(texts.length + " sources; " + batch);
    }
    IntBuffer to = encode.ints(sourceTokens);
    IntBuffer lengths = encode.ints(sourceLengths);
    for (int i = 0; i < batch; i++) {
      int count = texts[i].length;
      if (count < 1 || count > sourceLength) {
        throw new IllegalArgumentException(
            "source " + i + " has " + count + " tokens; 1 to " + sourceLength);
      }
      for (int j = 0; j < sourceLength; j++) {
        int token = j < count ? texts[i][j] : config.padding();
        if (token < 0 || token >= config.vocabulary()) {
          throw new IllegalArgumentException(
              "token " + token + "; the vocabulary has 0 to " + (config.vocabulary() - 1));
        }
        to.put(i * sourceLength + j, token);
      }
      lengths.put(i, count);
    }
    for (int row = 0; row < batch * beams; row++) {
      sources.setLength(row, 0);
      targets.setLength(row, 0);
    }
    encode.run(0, false);
    for (int row = 0; row < batch * beams; row++) {
      // The new token sees the keys up to its own place: the source's last.
      sources.setLength(row, texts[row / beams].length - 1);
    }
    length = 0;
  }

  /**
   * Adds a token to each target and computes what comes next.
   *
   * @param next [batch, beams] tokens: the start token first
   * @return logits, fp32 [batch, beams, vocabulary]; valid until the next call
   * @throws IllegalStateException where the targets are full
   */
  public FloatBuffer logits(int[] next) {
    if (next.length != batch * beams) {
      throw new IllegalArgumentException(next.length + " tokens; " + batch * beams);
    }
    if (length >= targets.capacity()) {
      throw new IllegalStateException("the targets have " + length + " tokens; there is no room");
    }
    step.ints(tokens).put(0, next);
    step.run(0, false);
    targets.advance(1);
    length++;
    return step.floats(logits);
  }

  /**
   * The cache of the targets: beams are told apart in it.
   *
   * @return the cache
   */
  public KvCache targets() {
    return targets;
  }

  /**
   * How many tokens each target has.
   *
   * @return tokens, the start token included
   */
  public int length() {
    return length;
  }

  @Override
  public void close() {
    step.close();
    encode.close();
    targets.close();
    sources.close();
  }
}
