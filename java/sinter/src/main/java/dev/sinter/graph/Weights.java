package dev.sinter.graph;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A model's parameters by name, as graphs read them, and the queue of all that works on them. */
public abstract sealed class Weights implements AutoCloseable
    permits Parameters, PackedParameters, AdaptedWeights {
  private final Device device;
  private final DType dtype;
  private final Stream stream;
  private final boolean ownsStream;
  private final Map<String, ParameterSpec> specs = new LinkedHashMap<>();
  private final Map<String, Tensor> tensors = new LinkedHashMap<>();
  private volatile boolean closed;

  /**
   * @param dtype of the activations of a model with these weights
   */
  Weights(Device device, DType dtype, List<ParameterSpec> specs) {
    this(device, dtype, specs, null);
  }

  /**
   * @param shared the queue of other weights, which graphs read together with these; null: one of
   *     its own
   */
  Weights(Device device, DType dtype, List<ParameterSpec> specs, Stream shared) {
    this.device = device;
    this.dtype = dtype;
    for (ParameterSpec spec : specs) {
      if (this.specs.put(spec.name(), spec) != null) {
        throw new IllegalArgumentException("parameter " + spec.name() + " is there twice");
      }
    }
    this.ownsStream = shared == null;
    this.stream = ownsStream ? new Stream(device) : shared;
  }

  /** What trains of them; null: nothing does. */
  abstract Parameters trained();

  /** The low-rank updates of products with a weight. */
  List<LowRank> lowRanks(String weight) {
    return List.of();
  }

  /** The bottleneck behind a projection; null: there is none. */
  Bottleneck bottleneck(String projection) {
    return null;
  }

  Device device() {
    return device;
  }

  /** The queue of all that works on these weights. */
  Stream stream() {
    return stream;
  }

  /**
   * Returns the type in which operations compute with the weights.
   *
   * @return fp32 or bf16
   */
  public DType dtype() {
    return dtype;
  }

  /**
   * Returns what each parameter is, in the model's order.
   *
   * @return specifications
   */
  public List<ParameterSpec> specs() {
    return List.copyOf(specs.values());
  }

  ParameterSpec spec(String name) {
    ParameterSpec spec = specs.get(name);
    if (spec == null) {
      throw new IllegalArgumentException("the model has no parameter " + name);
    }
    return spec;
  }

  /**
   * Whether there is a parameter.
   *
   * @param name any
   * @return true where {@link #get} gives it
   */
  public boolean has(String name) {
    return specs.containsKey(name);
  }

  /** For operations that take no part in a graph: those ask the stream. */
  void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the model is closed");
    }
  }

  /** Makes a tensor known under its name. */
  void put(Tensor tensor) {
    tensors.put(tensor.name(), tensor);
  }

  /**
   * Looks a parameter up.
   *
   * @param name its Hugging Face name
   * @return the tensor
   * @throws IllegalArgumentException for a name that the model does not have
   */
  public Tensor get(String name) {
    return tensors.get(spec(name).name());
  }

  /** Gives all memory back. Closing twice is harmless. */
  @Override
  public void close() {
    closed = true;
    if (ownsStream) {
      stream.close();
    }
  }
}
