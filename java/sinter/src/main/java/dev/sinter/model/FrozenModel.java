package dev.sinter.model;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.PackedParameters;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.WeightFormat;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

/**
 * A GPT whose weights no longer change: packed for decoding, in as many bits as wanted. It computes
 * in fp32 whatever the format. Many graphs and decoders may read one.
 */
public final class FrozenModel implements AutoCloseable {
  private final GptConfig config;
  private final Device device;
  private final GptLayers layers;
  private final PackedParameters parameters;

  /**
   * A model whose parameters have no values yet: {@link PackedParameters#write}, {@link
   * PackedParameters#writeBytes} or {@link PackedParameters#adopt} gives each its own, {@link
   * PackedParameters#seal} comes last.
   *
   * @param device where; it stays the caller's
   */
  FrozenModel(GptConfig config, Device device, WeightFormat format) {
    this.config = config;
    this.device = device;
    this.layers = new GptLayers(config);
    this.parameters = new PackedParameters(device, format, layers.parameters(), layers.matrices());
  }

  /**
   * Packs a copy of a model's weights, on its device.
   *
   * @param model stays as it is, and the caller's
   * @param format of the copy
   * @return the model; the caller closes it
   * @throws IllegalArgumentException where a weight is not finite, and for an adapted model: its
   *     adapter is merged first
   */
  public static FrozenModel of(LanguageModel model, WeightFormat format) {
    if (model.weights() != model.parameters()) {
      throw new IllegalArgumentException("the model is adapted; merge its adapter first");
    }
    FrozenModel frozen = new FrozenModel(model.config(), model.device(), format);
    try {
      for (ParameterSpec spec : frozen.parameters.specs()) {
        frozen.parameters.copy(spec.name(), model.parameters());
      }
      frozen.parameters.seal();
      return frozen;
    } catch (RuntimeException e) {
      frozen.close();
      throw e;
    }
  }

  /**
   * Creates a model with random weights, for measuring. Each is packed as soon as it is drawn: the
   * model is never there unpacked.
   *
   * @param config its shape
   * @param device where; it stays the caller's
   * @param format of the matrices
   * @param seed of the weights
   * @return the model; the caller closes it
   */
  public static FrozenModel create(
      GptConfig config, Device device, WeightFormat format, long seed) {
    FrozenModel frozen = new FrozenModel(config, device, format);
    try {
      for (ParameterSpec spec : frozen.parameters.specs()) {
        try (Parameters drawn = new Parameters(device, DType.F32, List.of(spec))) {
          drawn.initialize(seed);
          frozen.parameters.copy(spec.name(), drawn);
        }
      }
      frozen.parameters.seal();
      return frozen;
    } catch (RuntimeException e) {
      frozen.close();
      throw e;
    }
  }

  /**
   * Loads a model: a packed one as it is, any other packed while it is read.
   *
   * <p>On a CPU the matrices of a packed folder stay in their file, mapped, and are read when they
   * are used: nothing may write into that file while the model is open. Replacing it by a rename,
   * as everything here does, is safe.
   *
   * @param folder that holds config.json and the weights, plain or packed; or one of llama.cpp's
   *     files, {@code model.gguf}
   * @param device where; it stays the caller's
   * @param format of the matrices; null: as they are stored, fp32 where they are plain
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be, a weight is not finite,
   *     or the folder is packed in another format
   */
  public static FrozenModel load(Path folder, Device device, WeightFormat format)
      throws IOException {
    return FrozenFiles.load(folder, device, format);
  }

  /**
   * Saves the model packed, for {@link #load}: config.json and model.safetensors.
   *
   * @param endOfText the token that ends a text, if there is one
   * @param folder that exists
   * @throws IOException where it cannot be written; an old file stays as it was
   */
  public void save(OptionalInt endOfText, Path folder) throws IOException {
    FrozenFiles.save(this, endOfText, folder);
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
  public Device device() {
    return device;
  }

  /**
   * Returns how the weights are held.
   *
   * @return the format of matrices; everything else is fp32
   */
  public WeightFormat format() {
    return parameters.format();
  }

  /**
   * Returns the weights.
   *
   * @return all parameters
   */
  public PackedParameters parameters() {
    return parameters;
  }

  /**
   * Names the weights that a low-rank adapter may change: those of the blocks' linear layers.
   *
   * @return names, in the model's order; their tensors are [in, out]
   */
  public List<String> linearWeights() {
    return parameters.specs().stream()
        .map(ParameterSpec::name)
        .filter(layers.linear()::containsKey)
        .toList();
  }

  GptLayers layers() {
    return layers;
  }

  /**
   * Traces a pass that gives the loss of each token.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @return the graph; the caller closes it
   */
  public EvaluationGraph lossGraph(int batch, int length) {
    return layers.lossGraph(parameters, batch, length, 1);
  }

  /**
   * Traces a pass that gives every logit.
   *
   * @param batch number of sequences
   * @param length tokens of each
   * @return the graph; the caller closes it
   */
  public EvaluationGraph logitsGraph(int batch, int length) {
    return layers.logitsGraph(parameters, batch, length);
  }

  /** Gives the weights back. Closing twice is harmless. */
  @Override
  public void close() {
    parameters.close();
  }
}
