package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntUnaryOperator;

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

  private final Weights parameters;
  private final Mode mode;
  private final Recompute recompute;
  private final long seed;
  private final List<Operation> operations = new ArrayList<>();
  private final Set<Tensor> inputs = new LinkedHashSet<>();
  private final Set<Tensor> outputs = new LinkedHashSet<>();
  private final Set<Tensor> held = new LinkedHashSet<>();
  private final Set<Mirror> caches = new LinkedHashSet<>();
  private final Set<Sampler> samplers = new LinkedHashSet<>();
  private final Map<Tensor, IntUnaryOperator> constants = new IdentityHashMap<>();
  private final Map<Long, Tensor> allRows = new HashMap<>();
  private final List<Tensor> callersGradients = new ArrayList<>();
  private final Set<Tensor> kept = Collections.newSetFromMap(new IdentityHashMap<>());
  private long randomTensors;
  private AdapterBank adapters;
  private Tensor adapterOfRow;

  /**
   * Starts a graph.
   *
   * @param parameters the model's weights
   * @param mode what the graph is for; packed weights alone do not train
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   */
  public GraphBuilder(Weights parameters, Mode mode, Recompute recompute, long seed) {
    if (mode == Mode.TRAIN) {
      if (parameters.trained() == null) {
        throw new IllegalArgumentException("packed weights do not train");
      }
      parameters.trained().enableTraining();
    }
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
   * Declares an fp32 input, to be written before each run.
   *
   * @param name for messages
   * @param shape its sizes
   * @return the tensor
   */
  public Tensor floatInput(String name, long... shape) {
    Tensor tensor = Tensor.input(name, DType.F32, shape);
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
   * Keeps a tensor on the device until the next run: {@link Graph#read} copies the rows that are
   * wanted.
   *
   * @param tensor an fp32 activation
   * @return the same
   */
  public Tensor hold(Tensor tensor) {
    held.add(tensor);
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
   * Looks up token embeddings, scales them and adds those of positions.
   *
   * @param name for {@code describe()}
   * @param tokens int32 [batch, length]
   * @param offsets int32 [batch], the position of each sequence's first token, or null for zeros
   * @param tokenTable [vocabulary, width], or packed as the output matrix that it is too
   * @param positionTable [positions, width], or null
   * @param scale of the tokens' rows; 1: as they are
   * @param padding a token whose row is not trained here; -1: none
   * @return [batch, length, width]
   */
  public Tensor embedding(
      String name,
      Tensor tokens,
      Tensor offsets,
      Tensor tokenTable,
      Tensor positionTable,
      float scale,
      int padding) {
    boolean packed = tokenTable.format() != null;
    if (packed && training()) {
      // The rows of these tokens are a table, which each token then has its own row of.
      Tensor rows = Tensor.activation("rows", dtype(), tokens.elements(), tokenTable.size(0));
      operations.add(new PackedRows(tokens, tokenTable, rows));
      Tensor own = input("row", tokens.shape());
      constants.put(own, i -> i);
      return embedding(name, own, offsets, rows, positionTable, scale, padding);
    }
    long width = tokenTable.size(packed ? 0 : 1);
    Tensor out = Tensor.activation(name, dtype(), tokens.size(0), tokens.size(1), width);
    return append(
        new Embedding(tokens, offsets, tokenTable, positionTable, scale, padding, out), out);
  }

  /**
   * Adds two tensors.
   *
   * @param name for {@code describe()}
   * @param a any shape
   * @param b like a
   * @return like a
   */
  public Tensor add(String name, Tensor a, Tensor b) {
    Tensor out = Tensor.activation(name, a.dtype(), a.shape());
    return append(new Elementwise.Add(a, b, out), out);
  }

  /**
   * Multiplies by a number.
   *
   * @param name for {@code describe()}
   * @param x any shape
   * @param factor of each element
   * @return like x
   */
  public Tensor scale(String name, Tensor x, float factor) {
    Tensor out = Tensor.activation(name, x.dtype(), x.shape());
    return append(new ScaleColumns(x, null, factor, out), out);
  }

  /**
   * Takes the same elements in other sizes.
   *
   * @param x an activation
   * @param shape of as many elements
   * @return the view
   */
  public Tensor view(Tensor x, long... shape) {
    Tensor out = Tensor.view(x, shape);
    return append(new Elementwise.View(x, out), out);
  }

  /**
   * Widens to fp32, for the host to read.
   *
   * @param x any shape
   * @return like x, or x itself where it is fp32
   */
  public Tensor widen(Tensor x) {
    if (x.dtype() == DType.F32) {
      return x;
    }
    Tensor out = Tensor.activation(x.name() + " in fp32", DType.F32, x.shape());
    return append(new Elementwise.Cast(x, out), out);
  }

  /**
   * Takes chosen rows.
   *
   * @param name for {@code describe()}
   * @param x [.., width]
   * @param indices int32, of rows over all of x; -1: zeros. In training none comes twice.
   * @return [indices.., width]
   */
  public Tensor gather(String name, Tensor x, Tensor indices) {
    long[] shape = Arrays.copyOf(indices.shape(), indices.shape().length + 1);
    shape[shape.length - 1] = x.columns();
    Tensor out = Tensor.activation(name, x.dtype(), shape);
    return append(new Gather(x, indices, out), out);
  }

  /**
   * Adds up the rows of each sequence, weighted.
   *
   * @param name for {@code describe()}
   * @param weights fp32 input [batch, length]: 1 / n for the n rows to take the mean of, else 0
   * @param x [batch, length, width]
   * @return [batch, width]
   */
  public Tensor weightedRows(String name, Tensor weights, Tensor x) {
    Tensor narrow = weights;
    if (x.dtype() != weights.dtype()) {
      narrow = Tensor.activation(weights.name(), x.dtype(), weights.shape());
      operations.add(new Elementwise.Cast(weights, narrow));
    }
    Tensor out = Tensor.activation(name, x.dtype(), x.size(0), x.columns());
    return append(new WeightedRows(narrow, x, out), out);
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

  /**
   * Has the products that follow ({@link #linear}) add low-rank updates: each row those of an
   * adapter of its own. Weights that no adapter changes are multiplied as without.
   *
   * @param bank of the model's adapters; what it has now is what the graph knows
   * @param ofRow int32, an adapter for each row of what is multiplied; -1: none
   */
  public void adapters(AdapterBank bank, Tensor ofRow) {
    adapters = bank;
    adapterOfRow = ofRow;
  }

  /** The layout of a linear layer's weight that is not packed. */
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
   * @param weight in the given layout, or packed
   * @param layout of the weight
   * @param bias [out] or null
   * @param residual [.., out], added to the result, or null
   * @return [.., out]
   */
  public Tensor linear(
      String name, Tensor x, Tensor weight, Layout layout, Tensor bias, Tensor residual) {
    Tensor out = linearOutput(name, x, weight, layout, dtype());
    product(x, weight, layout, bias, residual, null, out, null);
    return adapted(x, weight, update(name, x, weight, out));
  }

  /**
   * Multiplies by a weight and applies an activation.
   *
   * @param name for {@code describe()}
   * @param x [.., in]
   * @param weight in the given layout, or packed
   * @param layout of the weight
   * @param bias [out]
   * @param activation of each element
   * @return [.., out]
   */
  public Tensor linear(
      String name, Tensor x, Tensor weight, Layout layout, Tensor bias, Activation activation) {
    Tensor out = linearOutput(name, x, weight, layout, dtype());
    if (!parameters.lowRanks(weight.name()).isEmpty() || hasAdapters(weight)) {
      Tensor pre = linear(name + " before activation", x, weight, layout, bias, (Tensor) null);
      return append(new Elementwise.ActivationForward(activation, pre, out), out);
    }
    Tensor pre =
        training() ? Tensor.activation(name + " before activation", dtype(), out.shape()) : null;
    product(x, weight, layout, bias, null, activation, out, pre);
    return out;
  }

  /**
   * Adds the low-rank updates of a product with a weight, where it has any.
   *
   * @param out the product, which they are added to in place
   */
  private Tensor update(String name, Tensor x, Tensor weight, Tensor out) {
    for (LowRank pair : parameters.lowRanks(weight.name())) {
      Tensor in =
          drops(pair.dropout()) ? dropout(pair.a() + " dropout", x, pair.dropout(), null) : x;
      Tensor down =
          linear(pair.a(), in, parameters.get(pair.a()), Layout.OUT_IN, null, (Tensor) null);
      Tensor scaled = Tensor.activation(pair.a() + " scaled", dtype(), down.shape());
      Tensor scale = pair.scale() == null ? null : parameters.get(pair.scale());
      operations.add(new ScaleColumns(down, scale, pair.factor(), scaled));
      Tensor sum = Tensor.alias(name, out);
      operations.add(new AddProduct(out, scaled, parameters.get(pair.b()), pair.column(), sum));
      out = sum;
    }
    return out;
  }

  /**
   * Puts the bottleneck behind a projection, where the weights have one there.
   *
   * @param projection its name
   * @param y its result, after dropout
   * @return like y, or y itself
   */
  public Tensor bottleneck(String projection, Tensor y) {
    Bottleneck at = parameters.bottleneck(projection);
    if (at == null) {
      return y;
    }
    Tensor narrow =
        linear(
            at.down(),
            y,
            parameters.get(at.down() + ".weight"),
            Layout.OUT_IN,
            parameters.get(at.down() + ".bias"),
            at.activation());
    return linear(
        at.up(),
        narrow,
        parameters.get(at.up() + ".weight"),
        Layout.OUT_IN,
        parameters.get(at.up() + ".bias"),
        y);
  }

  /**
   * Says whether a bottleneck stands behind a projection: where none does, callers take the fused
   * way.
   *
   * @param projection its name
   * @return true where {@link #bottleneck} adds one
   */
  public boolean hasBottleneck(String projection) {
    return parameters.bottleneck(projection) != null;
  }

  /**
   * Multiplies by the output matrix: logits, in fp32 where no gradient is to be taken.
   *
   * @param x [.., width]
   * @param weight [vocabulary, width], or packed
   * @param bias [vocabulary] or null
   * @return [.., vocabulary]
   */
  public Tensor logits(Tensor x, Tensor weight, Tensor bias) {
    Tensor out = linearOutput("logits", x, weight, Layout.OUT_IN, training() ? dtype() : DType.F32);
    product(x, weight, Layout.OUT_IN, bias, null, null, out, null);
    return update("logits", x, weight, out);
  }

  /**
   * Multiplies by the output matrix where in training nothing but a loss reads the logits: {@link
   * #crossEntropy} or {@link #negativeLogLikelihood}. Then their rows are padded, so that tensor
   * cores can read the gradient that takes their place, whatever the vocabulary.
   *
   * @param x [.., width]
   * @param weight [vocabulary, width], or packed
   * @param bias [vocabulary] or null
   * @return [.., vocabulary]
   */
  public Tensor lossLogits(Tensor x, Tensor weight, Tensor bias) {
    if (!training()) {
      return logits(x, weight, bias);
    }
    Tensor dense = linearOutput("logits", x, weight, Layout.OUT_IN, dtype());
    Tensor out = Tensor.padded(dense.name(), dense.dtype(), dense.shape());
    product(x, weight, Layout.OUT_IN, bias, null, null, out, null);
    return update("logits", x, weight, out);
  }

  private boolean hasAdapters(Tensor weight) {
    return adapters != null && adapters.a(weight) != null;
  }

  /**
   * Adds to each row of a product the update of its own adapter, where the bank has any.
   *
   * @param product of x and the weight, which they are added to in place
   */
  private Tensor adapted(Tensor x, Tensor weight, Tensor product) {
    if (!hasAdapters(weight)) {
      return product;
    }
    Tensor a = adapters.a(weight);
    Tensor b = adapters.b(weight);
    Tensor out = Tensor.alias(product.name(), product);
    return append(new LowRankRows(adapterOfRow, x, a, b, product, out), out);
  }

  private void product(
      Tensor x,
      Tensor weight,
      Layout layout,
      Tensor bias,
      Tensor residual,
      Activation activation,
      Tensor out,
      Tensor pre) {
    if (weight.format() == null) {
      operations.add(
          new Linear(x, weight, layout == Layout.OUT_IN, bias, residual, activation, out, pre));
    } else if (training()) {
      operations.add(new Linear(x, unpacked(weight), true, bias, residual, activation, out, pre));
    } else {
      operations.add(new PackedLinear(x, weight, bias, residual, activation, out));
    }
  }

  /** A packed weight as [out, in]: training multiplies by what the packed numbers are, exactly. */
  private Tensor unpacked(Tensor weight) {
    long outs = weight.size(1);
    Tensor indices =
        allRows.computeIfAbsent(
            outs,
            count -> {
              Tensor all = input("all rows", count);
              constants.put(all, i -> i);
              return all;
            });
    Tensor out = Tensor.activation(weight.name() + " unpacked", dtype(), outs, weight.size(0));
    return append(new PackedRows(indices, weight, out), out);
  }

  private Tensor linearOutput(String name, Tensor x, Tensor weight, Layout layout, DType dtype) {
    long[] shape = x.shape();
    int in = layout == Layout.IN_OUT || weight.format() != null ? 0 : 1;
    if (weight.size(in) != x.columns()) {
      throw new IllegalArgumentException(
          "linear " + name + ": weight " + weight + " does not take rows of " + x);
    }
    shape[shape.length - 1] = weight.size(1 - in);
    return Tensor.activation(name, dtype, shape);
  }

  /**
   * Self-attention over the queries, keys and values that stand beside each other in each row.
   *
   * @param name for {@code describe()}
   * @param qkv [batch, length, 3 width]
   * @param heads divides the width
   * @param mask which keys a query sees
   * @param dropout probability that a weight is dropped in training
   * @return [batch, length, width]
   */
  public Tensor attention(String name, Tensor qkv, int heads, Mask mask, float dropout) {
    long width = qkv.columns() / 3;
    return attention(
        name,
        new Attention.Columns(qkv, 0),
        new Attention.Columns(qkv, width),
        new Attention.Columns(qkv, 2 * width),
        width,
        heads,
        mask,
        dropout);
  }

  /**
   * Attention of one sequence over another, whose keys and values stand beside each other in each
   * row.
   *
   * @param name for {@code describe()}
   * @param q [batch, length, width]
   * @param kv [batch, source length, 2 width]
   * @param heads divides the width
   * @param mask which keys a query sees
   * @param dropout probability that a weight is dropped in training
   * @return [batch, length, width]
   */
  public Tensor crossAttention(
      String name, Tensor q, Tensor kv, int heads, Mask mask, float dropout) {
    long width = q.columns();
    return attention(
        name,
        new Attention.Columns(q, 0),
        new Attention.Columns(kv, 0),
        new Attention.Columns(kv, width),
        width,
        heads,
        mask,
        dropout);
  }

  private Tensor attention(
      String name,
      Attention.Columns q,
      Attention.Columns k,
      Attention.Columns v,
      long width,
      int heads,
      Mask mask,
      float dropout) {
    long batch = q.of().size(0);
    long length = q.of().size(1);
    if (mask.starts() != null && mask.starts().elements() != batch * length) {
      throw new IllegalArgumentException(
          "attention " + name + ": starts " + mask.starts() + " are not one a row of " + q.of());
    }
    Tensor out = Tensor.activation(name, dtype(), batch, length, width);
    Tensor lse =
        training() ? Tensor.activation(name + " lse", DType.F32, batch, heads, length) : null;
    var settings =
        new Attention.Settings(
            batch,
            heads,
            heads,
            width / heads,
            mask,
            training() ? dropout : 0,
            seed,
            randomTensors++);
    return append(new Attention(q, k, v, settings, out, lse), out);
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
    caches.add(cache.lengthsMirror());
    return append(new CachedAttention(qkv, cache, layer, heads, window, out), out);
  }

  /**
   * Causal self-attention of rows of several sequences, each over the pages of its own, which the
   * rows are added to.
   *
   * @param name for {@code describe()}
   * @param qkv [rows, 1, 3 width]
   * @param slots int32 [rows]: the sequence of each row; -1: none
   * @param positions int32 [rows]
   * @param cache of this model
   * @param layer which of the cache
   * @param heads divides the width
   * @param window how many keys a row sees, its own included; 0: all before it
   * @return [rows, 1, width]
   */
  public Tensor pagedAttention(
      String name,
      Tensor qkv,
      Tensor slots,
      Tensor positions,
      PagedCache cache,
      int layer,
      int heads,
      int window) {
    Tensor out = Tensor.activation(name, dtype(), qkv.size(0), qkv.size(1), qkv.columns() / 3);
    caches.add(cache.tables());
    return append(new PagedAttention(qkv, slots, positions, cache, layer, heads, window, out), out);
  }

  /**
   * Writes the keys and values of another sequence into an empty cache, for {@link
   * #cachedCrossAttention}.
   *
   * @param kv [batch, source length, 2 width]
   * @param cache of these alone; its lengths are zeros in this graph
   * @param layer which of the cache
   * @param heads divides the width
   */
  public void fillCache(Tensor kv, KvCache cache, int layer, int heads) {
    caches.add(cache.lengthsMirror());
    operations.add(new CachedCrossAttention.Fill(kv, cache, layer, heads));
  }

  /**
   * Attention of one new token of each sequence over the cache of another sequence.
   *
   * @param name for {@code describe()}
   * @param q [batch, 1, width]
   * @param cache that {@link #fillCache} filled; its lengths are those of the other sequences, less
   *     one
   * @param layer which of the cache
   * @param heads divides the width
   * @return [batch, 1, width]
   */
  public Tensor cachedCrossAttention(String name, Tensor q, KvCache cache, int layer, int heads) {
    Tensor out = Tensor.activation(name, dtype(), q.shape());
    caches.add(cache.lengthsMirror());
    return append(new CachedCrossAttention(q, cache, layer, heads, out), out);
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
   * The cross-entropy of each row. In training its gradient takes the logits' place.
   *
   * @param logits [.., vocabulary]
   * @param targets int32, one a row; -100 is ignored
   * @param weights fp32 input, one a row, which multiplies loss and gradient; null: ones
   * @param smoothing the share of each target that all columns have alike (Szegedy et al. 2016)
   * @param gradientScale what the gradient of each row is multiplied by: 1 / rows for a mean
   * @return fp32, one a row
   */
  public Tensor crossEntropy(
      Tensor logits, Tensor targets, Tensor weights, float smoothing, float gradientScale) {
    Tensor losses = Tensor.activation("losses", DType.F32, logits.rows());
    Tensor dlogits = training() ? Tensor.alias("d logits", logits) : null;
    return append(
        new Loss.CrossEntropy(logits, targets, weights, smoothing, losses, dlogits, gradientScale),
        losses);
  }

  /**
   * The squared error of each number. In training its gradient takes the number's place.
   *
   * @param x any shape
   * @param targets fp32 input, as many
   * @param weights fp32 input, as many, which multiply loss and gradient; null: ones
   * @param gradientScale what the gradient is multiplied by
   * @return fp32, as many
   */
  public Tensor squaredError(Tensor x, Tensor targets, Tensor weights, float gradientScale) {
    return elementLoss(sinter.SN_SQUARED_ERROR, x, targets, weights, gradientScale);
  }

  /**
   * The binary cross-entropy of each logit. In training its gradient takes the logit's place.
   *
   * @param x any shape
   * @param targets fp32 input, probabilities, as many
   * @param weights fp32 input, as many, which multiply loss and gradient; null: ones
   * @param gradientScale what the gradient is multiplied by
   * @return fp32, as many
   */
  public Tensor binaryCrossEntropy(Tensor x, Tensor targets, Tensor weights, float gradientScale) {
    return elementLoss(sinter.SN_BINARY_CROSS_ENTROPY, x, targets, weights, gradientScale);
  }

  private Tensor elementLoss(
      int error, Tensor x, Tensor targets, Tensor weights, float gradientScale) {
    Tensor losses = Tensor.activation("losses", DType.F32, x.elements());
    Tensor dx = training() ? Tensor.alias("d " + x.name(), x) : null;
    return append(
        new Loss.ElementLoss(error, x, targets, weights, losses, dx, gradientScale), losses);
  }

  /**
   * The negative log-likelihood of each row's target, to make a loss of: of its own it has no
   * gradient, {@link #callersGradient} gives it one.
   *
   * @param logits [.., vocabulary]; nothing else reads them
   * @param targets int32, one a row; -100: none, 0 and without gradient
   * @return fp32, one a row
   */
  public Tensor negativeLogLikelihood(Tensor logits, Tensor targets) {
    Tensor out = Tensor.activation("negative log-likelihood", DType.F32, logits.rows());
    return append(new Loss.NegativeLogLikelihood(logits, targets, out), out);
  }

  /**
   * Lets the caller compute the loss. The graph then runs in halves: after {@link Graph#forward}
   * the caller reads x, writes the gradient of its loss with respect to it, and {@link
   * Graph#backward} goes on from there.
   *
   * @param x fp32, {@link #widen}ed; it becomes an output
   * @return the gradient, to be written between the halves; where the graph does not train, nothing
   *     reads it
   */
  public Tensor callersGradient(Tensor x) {
    Tensor gradient = Tensor.input("d " + x.name(), DType.F32, x.shape());
    output(x);
    callersGradients.add(gradient);
    operations.add(new Loss.CallersGradient(x, gradient));
    return gradient;
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
   * @param sampler how, for as many rows or more; its settings may change between runs
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
    List<Mirror> all = new ArrayList<>(caches);
    samplers.forEach(sampler -> all.addAll(sampler.uploads()));
    return all;
  }

  /**
   * Finishes the graph.
   *
   * @return ready to run; the caller closes it
   */
  public Graph build() {
    return build(null);
  }

  /**
   * Finishes a graph that shares its memory with others, one of which runs at a time.
   *
   * @param arena of this model's graphs; null: the graph has memory of its own
   * @return ready to run; the caller closes it, before the arena
   */
  public Graph build(Arena arena) {
    List<Operation> forward = training() ? operations : NormFusion.of(operations);
    List<Operation> all = new ArrayList<>(forward);
    if (training()) {
      all.addAll(Backward.of(operations, parameters, dtype(), recompute, kept));
    }
    Graph graph =
        new Graph(
            parameters,
            arena,
            all,
            forward.size(),
            inputs,
            callersGradients,
            outputs,
            held,
            this::uploads,
            samplers.stream().map(Sampler::download).toList());
    constants.forEach(
        (tensor, values) -> {
          IntBuffer host = graph.ints(tensor);
          for (int i = 0; i < host.capacity(); i++) {
            host.put(i, values.applyAsInt(i));
          }
        });
    return graph;
  }
}
