package dev.sinter.model;

import dev.sinter.graph.AdaptedWeights;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Tuner;
import dev.sinter.graph.Tuning;
import dev.sinter.graph.Weights;
import java.io.IOException;
import java.util.function.Consumer;

/**
 * A GPT's weights on a device, and the graphs that are traced from it. Many graphs and decoders may
 * read one model; it trains by one thread alone.
 */
public final class LanguageModel implements Model {
  private final GptConfig config;
  private final Device device;
  private final Weights weights;
  private final Parameters parameters;
  private final GptLayers layers;
  private final Adapter adapter;

  /**
   * Allocates a model with zero weights.
   *
   * @param config its shape
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights: fp32 or bf16
   */
  public LanguageModel(GptConfig config, Device device, DType dtype) {
    this.config = config;
    this.device = device;
    this.layers = new GptLayers(config);
    this.parameters = new Parameters(device, dtype, layers.parameters());
    this.weights = parameters;
    this.adapter = null;
  }

  /**
   * A model of other weights with an adapter; the base stays the caller's.
   *
   * @param adapter that has these weights; null: nobody asks for it
   */
  LanguageModel(GptConfig config, Device device, AdaptedWeights adapted, Adapter adapter) {
    this.config = config;
    this.device = device;
    this.layers = new GptLayers(config);
    this.parameters = adapted.added();
    this.weights = adapted;
    this.adapter = adapter;
  }

  /**
   * Creates a model with random weights.
   *
   * @param config its shape
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights: fp32 or bf16
   * @param seed of the weights
   * @return the model; the caller closes it
   */
  public static LanguageModel create(GptConfig config, Device device, DType dtype, long seed) {
    LanguageModel model = new LanguageModel(config, device, dtype);
    model.parameters.initialize(seed);
    return model;
  }

  /**
   * Lays a new adapter over this model, which stays as it is.
   *
   * @param adapter how many parameters it adds, and where
   * @param seed equal seeds give equal adapters
   * @return a model that trains the adapter alone; the caller closes it, and then this one
   * @throws IllegalArgumentException where this model has no such modules, or is adapted
   */
  public LanguageModel adapted(AdapterConfig adapter, long seed) {
    return over(Adapter.create(device, weights, AdapterPlan.of(adaptable(layers), adapter), seed));
  }

  /**
   * Lays a new adapter over packed weights, which stay packed: training multiplies by what is
   * unpacked for each product.
   *
   * @param base stays as it is, and the caller's, who closes it last
   * @param adapter how many parameters it adds, and where
   * @param seed equal seeds give equal adapters
   * @return a model that trains the adapter alone; the caller closes it
   * @throws IllegalArgumentException where the base has no such modules
   */
  public static LanguageModel over(FrozenModel base, AdapterConfig adapter, long seed) {
    AdapterPlan plan = AdapterPlan.of(adaptable(base.layers()), adapter);
    return over(base, Adapter.create(base.device(), base.parameters(), plan, seed));
  }

  /** The same model with an adapter over its weights. */
  LanguageModel over(Adapter over) {
    return new LanguageModel(config, device, over.weights(), over);
  }

  static LanguageModel over(FrozenModel base, Adapter adapter) {
    return new LanguageModel(base.config(), base.device(), adapter.weights(), adapter);
  }

  Adaptable adaptable() {
    return adaptable(layers);
  }

  /** What an adapter has to know of a language model of these layers. */
  static Adaptable adaptable(GptLayers layers) {
    return layers.adaptable("CAUSAL_LM", layers.parameters(), layers.linear(), null, true);
  }

  /**
   * Returns the shape.
   *
   * @return the configuration
   */
  public GptConfig config() {
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
   * Traces a training pass.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @param accumulate how many such passes make a step: gradients are divided by it
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public TrainingGraph trainingGraph(
      int batch, int length, int accumulate, Recompute recompute, long seed) {
    layers.checkLength(length);
    GraphBuilder g = new GraphBuilder(weights, Mode.TRAIN, recompute, seed);
    Tensor tokens = g.input("tokens", batch, length);
    Tensor targets = g.input("targets", batch, length);
    Tensor hidden = layers.blocks(g, weights, tokens, null, layers.within(g));
    Tensor logits = layers.head(g, weights, hidden);
    float rows = (float) batch * length;
    Tensor losses = g.crossEntropy(logits, targets, null, 0, 1 / (rows * accumulate));
    Tensor loss = g.output(g.sum(losses, 1 / rows));
    return new TrainingGraph(g.build(), tokens, targets, loss);
  }

  /**
   * Traces a training pass over rows of several sequences each, which do not see each other.
   *
   * @param batch number of rows
   * @param length tokens of each; it may exceed the context, which the sequences keep to
   * @param accumulate how many such passes make a step: gradients are divided by it
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public PackedGraph packedGraph(
      int batch, int length, int accumulate, Recompute recompute, long seed) {
    GraphBuilder g = new GraphBuilder(weights, Mode.TRAIN, recompute, seed);
    Tensor tokens = g.input("tokens", batch, length);
    Tensor positions = g.input("positions", batch, length);
    Tensor starts = g.input("starts", batch, length);
    Tensor targets = g.input("targets", batch, length);
    Tensor factors = g.floatInput("weights", batch, length);
    Tensor hidden = layers.packed(g, weights, tokens, positions, starts);
    Tensor logits = layers.head(g, weights, hidden);
    Tensor losses = g.crossEntropy(logits, targets, factors, 0, 1f / accumulate);
    Tensor loss = g.output(g.sum(losses, 1));
    return new PackedGraph(
        g.build(), tokens, positions, starts, targets, factors, loss, config.context());
  }

  /**
   * Traces a training pass whose loss the caller computes, from the log-likelihood of each token.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public LikelihoodGraph likelihoodGraph(int batch, int length, Recompute recompute, long seed) {
    return likelihoodGraph(batch, length, 1, recompute, seed);
  }

  /**
   * Traces a training pass whose loss the caller computes, from the log-likelihood that each token
   * has where tokens are sampled at a temperature.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @param temperature that logits are divided by, more than 0
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public LikelihoodGraph likelihoodGraph(
      int batch, int length, float temperature, Recompute recompute, long seed) {
    layers.checkLength(length);
    GraphBuilder g = new GraphBuilder(weights, Mode.TRAIN, recompute, seed);
    Tensor tokens = g.input("tokens", batch, length);
    Tensor targets = g.input("targets", batch, length);
    Tensor hidden = layers.blocks(g, weights, tokens, null, layers.within(g));
    Tensor logits = layers.head(g, weights, hidden, temperature);
    Tensor losses = g.negativeLogLikelihood(logits, targets);
    Tensor gradient = g.callersGradient(losses);
    return new LikelihoodGraph(g.build(), tokens, targets, losses, gradient);
  }

  /**
   * Traces a pass that gives the loss of each token.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @return the graph; the caller closes it
   */
  public EvaluationGraph lossGraph(int batch, int length) {
    return lossGraph(batch, length, 1);
  }

  /**
   * Traces a pass that gives the loss of each token where tokens are sampled at a temperature.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @param temperature that logits are divided by, more than 0
   * @return the graph; the caller closes it
   */
  public EvaluationGraph lossGraph(int batch, int length, float temperature) {
    return layers.lossGraph(weights, batch, length, temperature);
  }

  /**
   * Traces a pass that gives every logit.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @return the graph; the caller closes it
   */
  public EvaluationGraph logitsGraph(int batch, int length) {
    return layers.logitsGraph(weights, batch, length);
  }

  /**
   * Prepares decoding with a cache.
   *
   * @param batch number of sequences, which advance together
   * @param capacity the most positions each can have; at most the model's context
   * @return the decoder; the caller closes it
   */
  public Decoder decoder(int batch, int capacity) {
    layers.checkLength(capacity);
    return new Decoder(this, layers, batch, capacity);
  }

  /**
   * Measures the plans of this model's matrix products on its GPU and keeps the fastest in the
   * device's tuning, which devices that are opened afterwards use: those of training on batches of
   * this size, unless it is for inference alone, of prompts, and of decoding.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @param training whether the backward pass is tuned as well
   * @param onProduct told of each product
   * @return the tuning as it was written
   * @throws IOException where the tuning's file cannot be written
   * @throws IllegalArgumentException on a CPU: there is nothing to tune
   */
  public Tuning tune(int batch, int length, boolean training, Consumer<Tuner.Measured> onProduct)
      throws IOException {
    Tuner tuner = new Tuner(device);
    if (training) {
      try (TrainingGraph graph = trainingGraph(batch, length, 1, Recompute.NONE, 0)) {
        tuner.add(graph.graph());
      }
    }
    for (int tokens : new int[] {1, Math.min(length, Decoder.CHUNK)}) {
      try (EvaluationGraph graph = logitsGraph(batch, tokens)) {
        tuner.add(graph.graph());
      }
    }
    return tuner.run(onProduct);
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
