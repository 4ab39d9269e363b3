package dev.sinter.model;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;

/**
 * The weights of an encoder-decoder Transformer on a device, and the graphs that are traced from
 * it. Many graphs and decoders may read one model; it trains by one thread alone.
 */
public final class TransformerModel implements Model {
  private final TransformerConfig config;
  private final Device device;
  private final Transformer layers;
  private final Weights weights;
  private final Parameters parameters;
  private final Adapter adapter;

  /**
   * Allocates a model with zero weights.
   *
   * @param config its shape
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   */
  public TransformerModel(TransformerConfig config, Device device, DType dtype) {
    this.config = config;
    this.device = device;
    this.layers = new Transformer(config);
    this.parameters = new Parameters(device, dtype, layers.parameters());
    this.weights = parameters;
    this.adapter = null;
  }

  private TransformerModel(TransformerModel of, Adapter adapter) {
    this.config = of.config;
    this.device = of.device;
    this.layers = of.layers;
    this.parameters = adapter.parameters();
    this.weights = adapter.weights();
    this.adapter = adapter;
  }

  /**
   * Lays a new adapter over this model, which stays as it is.
   *
   * @param settings how many parameters it adds, and where
   * @param seed equal seeds give equal adapters
   * @return a model that trains the adapter alone; the caller closes it, and then this one
   * @throws IllegalArgumentException where this model has no such modules, or is adapted
   */
  public TransformerModel adapted(AdapterConfig settings, long seed) {
    return over(Adapter.create(device, weights, AdapterPlan.of(adaptable(), settings), seed));
  }

  /** The same model with an adapter over its weights, which it closes. */
  TransformerModel over(Adapter over) {
    return new TransformerModel(this, over);
  }

  /** What an adapter has to know of this model. */
  Adaptable adaptable() {
    return layers.adaptable();
  }

  /**
   * Draws new weights.
   *
   * @param seed equal seeds give equal weights, on any device
   * @return this
   */
  public TransformerModel initialize(long seed) {
    parameters.initialize(seed);
    return this;
  }

  /**
   * Returns the shape.
   *
   * @return the configuration
   */
  public TransformerConfig config() {
    return config;
  }

  /**
   * Returns the device.
   *
   * @return where the weights are
   */
  @Override
  public Device device() {
    return device;
  }

  /**
   * Returns the weights.
   *
   * @return all parameters
   */
  @Override
  public Parameters parameters() {
    return parameters;
  }

  @Override
  public Weights weights() {
    return weights;
  }

  @Override
  public Adapter adapter() {
    return adapter;
  }

  /**
   * Traces a forward and backward pass.
   *
   * @param batch number of pairs
   * @param sourceLength tokens of each source, padding included
   * @param targetLength tokens of each target, padding included
   * @param smoothing the share of each target that all tokens have alike: 0.1 in the paper
   * @param accumulate how many such passes make a step: gradients are divided by it
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public TransformerGraph trainingGraph(
      int batch,
      int sourceLength,
      int targetLength,
      float smoothing,
      int accumulate,
      Recompute recompute,
      long seed) {
    return trace(
        new GraphBuilder(weights, Mode.TRAIN, recompute, seed),
        batch,
        sourceLength,
        targetLength,
        smoothing,
        accumulate,
        true);
  }

  /**
   * Traces a forward pass that gives logits and their loss.
   *
   * @param batch number of pairs
   * @param sourceLength tokens of each source, padding included
   * @param targetLength tokens of each target, padding included
   * @return the graph; the caller closes it
   */
  public TransformerGraph graph(int batch, int sourceLength, int targetLength) {
    return trace(
        new GraphBuilder(weights, Mode.INFERENCE, Recompute.NONE, 0),
        batch,
        sourceLength,
        targetLength,
        0,
        1,
        false);
  }

  private TransformerGraph trace(
      GraphBuilder g,
      int batch,
      int sourceLength,
      int targetLength,
      float smoothing,
      int accumulate,
      boolean training) {
    checkLength(sourceLength);
    checkLength(targetLength);
    Tensor sources = g.input("sources", batch, sourceLength);
    Tensor lengths = g.input("source lengths", batch);
    Tensor inputs = g.input("decoder inputs", batch, targetLength);
    Tensor targets = g.input("targets", batch, targetLength);
    Tensor weights = g.floatInput("weights", batch, targetLength);
    Tensor encoded = layers.encode(g, this.weights, sources, lengths);
    Tensor logits = layers.decode(g, this.weights, inputs, encoded, lengths);
    Tensor losses = g.crossEntropy(logits, targets, weights, smoothing, 1);
    Tensor loss = g.output(g.sum(losses, accumulate));
    // In training gradients take the logits' place.
    Tensor kept = training ? null : g.output(logits);
    return new TransformerGraph(
        config, g.build(), sources, lengths, inputs, targets, weights, loss, kept, accumulate);
  }

  /**
   * Prepares decoding with caches.
   *
   * @param batch number of sources
   * @param beams targets of each source
   * @param sourceLength the most tokens of a source
   * @param targetLength the most tokens of a target, the start token included
   * @return the decoder; the caller closes it
   */
  public TransformerDecoder decoder(int batch, int beams, int sourceLength, int targetLength) {
    checkLength(sourceLength);
    checkLength(targetLength);
    return new TransformerDecoder(this, layers, batch, beams, sourceLength, targetLength);
  }

  private void checkLength(int length) {
    if (length < 1 || length > config.context()) {
      throw new IllegalArgumentException(
          length + " tokens; this model's context is 1 to " + config.context());
    }
  }

  /** Gives its own weights back, not those of an adapter's base. Closing twice is harmless. */
  @Override
  public void close() {
    if (adapter != null) {
      adapter.close();
    } else {
      weights.close();
    }
  }
}
