package dev.sinter.graph;

import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Traces a model for one shape: each method appends an operation and returns its output. {@link
 * #build} derives the backward pass where the graph trains, plans the memory and binds the calls.
 */
public final class GraphBuilder {
  /** What a graph is for. */
  public enum Mode {
    /** Forward, backward, dropout. */
    TRAIN,
    /** Forward alone. */
    INFERENCE
  }

  private final Parameters parameters;
  private final Mode mode;
  private final Recompute recompute;
  private final long seed;
  private final List<Operation> operations = new ArrayList<>();
  private final Set<Tensor> inputs = new LinkedHashSet<>();
  private final Set<Tensor> outputs = new LinkedHashSet<>();
  private final Set<KvCache> caches = new LinkedHashSet<>();
  private final Set<Sampler> samplers = new LinkedHashSet<>();
  private final Set<Tensor> kept = Collections.newSetFromMap(new IdentityHashMap<>());
  private long randomTensors;

  /**
   * Starts a graph.
   *
   * @param parameters the model's weights
   * @param mode what the graph is for
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   */
  public GraphBuilder(Parameters parameters, Mode mode, Recompute recompute, long seed) {
    this.parameters = parameters;
    this.mode = mode;
    this.recompute = recompute;
    this.seed = seed;
  }

  private boolean training() {
    return mode == Mode.TRAIN;
  }

  private DType dtype() {
    return parameters.dtype();
  }

  /**
   * Declares an int32 input, to be written before each run.
   *
   * @param name for messages
   * @param shape its sizes
   * @return the tensor
   */
  public Tensor input(String name, long... shape) {
    Tensor tensor = Tensor.input(name, DType.I32, shape);
    inputs.add(tensor);
    return tensor;
  }

  /**
   * Keeps a tensor until the end of the run, for the caller to read.
   *
   * @param tensor an activation
   * @return the same
   */
  public Tensor output(Tensor tensor) {
    outputs.add(tensor);
    return tensor;
  }

  /**
   * Marks the border between two blocks: {@link Recompute#BLOCK} keeps this tensor.
   *
   * @param tensor an activation
   * @return the same
   */
  public Tensor checkpoint(Tensor tensor) {
    kept.add(tensor);
    return tensor;
  }

  /**
   * Looks up token and position embeddings and adds them.
   *
   * @param tokens int32 [batch, length]
   * @param offsets int32 [batch], the position of each sequence's first token, or null for zeros
   * @param tokenTable [vocabulary, width]
   * @param positionTable [positions, width], or null
   * @return [batch, length, width]
   */
  public Tensor embedding(Tensor tokens, Tensor offsets, Tensor tokenTable, Tensor positionTable) {
    Tensor out =
        Tensor.activation("embedding", dtype(), tokens.size(0), tokens.size(1), tokenTable.size(1));
    return append(new Embedding(tokens, offsets, tokenTable, positionTable, out), out);
  }

  /**
   * Normalises each row.
   *
   * @param name for {@code describe()}
   * @param x [.., width]
   * @param gain [width]
   * @param bias [width] or null
   * @param epsilon added to the variance
   * @return like x
   */
  public Tensor layerNorm(String name, Tensor x, Tensor gain, Tensor bias, float epsilon) {
    Tensor out = Tensor.activation(name, dtype(), x.shape());
    Tensor mean = null;
    Tensor rstd = null;
    if (training()) {
      List<Tensor> statistics = LayerNorm.statistics(name, x.rows());
      mean = statistics.get(0);
      rstd = statistics.get(1);
    }
    return append(new LayerNorm(x, gain, bias, epsilon, out, mean, rstd), out);
  }

  /** The layout of a linear layer's weight. */
  public enum Layout {
    /** [in, out]: y = x W. */
    IN_OUT,
    /** [out, in]: y = x W^T. */
    OUT_IN
  }

  /**
   * Multiplies by a weight.
   *
   * @param name for {@code describe()}
   * @param x [.., in]
   * @param weight in the given layout
   * @param layout of the weight
   * @param bias [out] or null
   * @param residual [.., out], added to the result, or null
   * @return [.., out]
   */
  public Tensor linear(
      String name, Tensor x, Tensor weight, Layout layout, Tensor bias, Tensor residual) {
    Tensor out = linearOutput(name, x, weight, layout, dtype());
    return append(
        new Linear(x, weight, layout == Layout.OUT_IN, bias, residual, false, out, null), out);
  }

  /**
   * Multiplies by a weight and applies the tanh form of GELU.
   *
   * @param name for {@code describe()}
   * @param x [.., in]
   * @param weight in the given layout
   * @param layout of the weight
   * @param bias [out]
   * @return [.., out]
   */
  public Tensor linearGelu(String name, Tensor x, Tensor weight, Layout layout, Tensor bias) {
    Tensor out = linearOutput(name, x, weight, layout, dtype());
    Tensor pre = training() ? Tensor.activation(name + " before gelu", dtype(), out.shape()) : null;
    return append(new Linear(x, weight, layout == Layout.OUT_IN, bias, null, true, out, pre), out);
  }

  /**
   * Multiplies by the output matrix: logits, in fp32 where no gradient is to be taken.
   *
   * @param x [.., width]
   * @param weight [vocabulary, width]
   * @return [.., vocabulary]
   */
  public Tensor logits(Tensor x, Tensor weight) {
    Tensor out = linearOutput("logits", x, weight, Layout.OUT_IN, training() ? dtype() : DType.F32);
    return append(new Linear(x, weight, true, null, null, false, out, null), out);
  }

  private Tensor linearOutput(String name, Tensor x, Tensor weight, Layout layout, DType dtype) {
    long[] shape = x.shape();
    int in = layout == Layout.IN_OUT ? 0 : 1;
    if (weight.size(in) != x.columns()) {
      throw new IllegalArgumentException(
          "linear " + name + ": weight " + weight + " does not take rows of " + x);
    }
    shape[shape.length - 1] = weight.size(1 - in);
    return Tensor.activation(name, dtype, shape);
  }

  /**
   * Causal self-attention over the queries, keys and values that stand beside each other in each
   * row.
   *
   * @param name for {@code describe()}
   * @param qkv [batch, length, 3 width]
   * @param heads divides the width
   * @param window how many keys a query sees, itself included; 0: all before it
   * @param dropout probability that a weight is dropped in training
   * @return [batch, length, width]
   */
  public Tensor attention(String name, Tensor qkv, int heads, int window, float dropout) {
    long width = qkv.columns() / 3;
    Tensor out = Tensor.activation(name, dtype(), qkv.size(0), qkv.size(1), width);
    Tensor lse =
        training()
            ? Tensor.activation(name + " lse", DType.F32, qkv.size(0), heads, qkv.size(1))
            : null;
    var settings =
        new Attention.Settings(
            qkv.size(0),
            heads,
            heads,
            width / heads,
            true,
            window,
            training() ? dropout : 0,
            seed,
            randomTensors++);
    return append(
        new Attention(
            new Attention.Columns(qkv, 0),
            new Attention.Columns(qkv, width),
            new Attention.Columns(qkv, 2 * width),
            settings,
            out,
            lse),
        out);
  }

  /**
   * Causal self-attention that extends a cache.
   *
   * @param name for {@code describe()}
   * @param qkv [batch, length, 3 width]
   * @param cache of this model; its lengths are those before this graph's tokens
   * @param layer which of the cache
   * @param heads divides the width
   * @param window how many keys a query sees, itself included; 0: all before it
   * @return [batch, length, width]
   */
  public Tensor cachedAttention(
      String name, Tensor qkv, KvCache cache, int layer, int heads, int window) {
    Tensor out = Tensor.activation(name, dtype(), qkv.size(0), qkv.size(1), qkv.columns() / 3);
    caches.add(cache);
    return append(new CachedAttention(qkv, cache, layer, heads, window, out), out);
  }

  /**
   * Drops elements in training, and adds a residual.
   *
   * @param name for {@code describe()}
   * @param x any shape
   * @param p probability that an element is dropped
   * @param residual like x, or null
   * @return like x
   */
  public Tensor dropout(String name, Tensor x, float p, Tensor residual) {
    Tensor out = Tensor.activation(name, dtype(), x.shape());
    return append(new Elementwise.Dropout(x, residual, out, p, seed, randomTensors++), out);
  }

  /**
   * Whether this graph drops with this probability: where not, callers take the fused way without
   * dropout.
   *
   * @param p probability
   * @return true in training with p above 0
   */
  public boolean drops(float p) {
    return training() && p > 0;
  }

  /**
   * Takes rows by their numbers.
   *
   * @param x [.., width]
   * @param rows int32, counted over all of x
   * @return [rows, 1, width]
   */
  public Tensor takeRows(Tensor x, Tensor rows) {
    Tensor out = Tensor.activation("rows", x.dtype(), rows.elements(), 1, x.columns());
    return append(new TakeRows(x, rows, out), out);
  }

  /**
   * The cross-entropy of each row. In training its gradient takes the logits' place.
   *
   * @param logits [.., vocabulary]
   * @param targets int32, one a row; -100 is ignored
   * @param gradientScale what the gradient of each row is multiplied by: 1 / rows for a mean
   * @return fp32, one a row
   */
  public Tensor crossEntropy(Tensor logits, Tensor targets, float gradientScale) {
    Tensor losses = Tensor.activation("losses", DType.F32, logits.rows());
    Tensor dlogits = training() ? Tensor.alias("d logits", logits) : null;
    return append(new Loss.CrossEntropy(logits, targets, losses, dlogits, gradientScale), losses);
  }

  /**
   * Adds up.
   *
   * @param x fp32
   * @param factor what the sum is multiplied by
   * @return fp32 [1]
   */
  public Tensor sum(Tensor x, float factor) {
    Tensor out = Tensor.activation("sum", DType.F32, 1);
    return append(new Loss.Sum(x, factor, out), out);
  }

  /**
   * Chooses a token from each row of logits.
   *
   * @param logits fp32 [batch, 1, vocabulary]
   * @param sampler how; its settings may change between runs
   * @return int32 [batch]
   */
  public Tensor sample(Tensor logits, Sampler sampler) {
    Tensor out = Tensor.activation("token", DType.I32, logits.size(0));
    samplers.add(sampler);
    return append(new Sampler.Sample(logits, sampler, out), out);
  }

  private Tensor append(Operation operation, Tensor out) {
    operations.add(operation);
    return out;
  }

  private List<Mirror> uploads() {
    List<Mirror> all = new ArrayList<>();
    caches.forEach(cache -> all.add(cache.lengthsMirror()));
    samplers.forEach(sampler -> all.addAll(sampler.uploads()));
    return all;
  }

  /**
   * Finishes the graph.
   *
   * @return ready to run; the caller closes it
   */
  public Graph build() {
    List<Operation> all = new ArrayList<>(operations);
    if (training()) {
      all.addAll(Backward.of(operations, parameters, dtype(), recompute, kept));
    }
    return new Graph(
        parameters,
        all,
        operations.size(),
        inputs,
        outputs,
        this::uploads,
        samplers.stream().map(Sampler::download).toList());
  }
}
