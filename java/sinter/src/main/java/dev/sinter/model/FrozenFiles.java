package dev.sinter.model;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Device;
import dev.sinter.graph.PackedParameters;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import dev.sinter.io.TensorInfo;
import dev.sinter.io.TensorInfo.Dtype;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Packed models in a GPT's folder. A packed matrix is a tensor of bytes under its parameter's name,
 * the other parameters are fp32, and config.json says in {@code sinter_weights} how they are to be
 * read: nothing takes them for a plain model's.
 */
final class FrozenFiles {
  private static final String KEY = "sinter_weights";

  /** Of sn_weight_format, and the version of it. */
  private static final String LAYOUT = "panel16";

  private static final int VERSION = 1;

  private FrozenFiles() {}

  /** How the folder's matrices are packed; null: they are plain. */
  static WeightFormat format(ConfigFile config) throws FormatException {
    ConfigFile weights = config.group(KEY);
    if (weights == null) {
      return null;
    }
    String layout = weights.text("layout", "");
    int version = weights.number("version", 0);
    if (!layout.equals(LAYOUT) || version != VERSION) {
      throw config.failure(
          KEY
              + " has layout "
              + quote(layout)
              + ", version "
              + version
              + "; this release reads "
              + LAYOUT
              + ", version "
              + VERSION
              + "; quantize the model again");
    }
    String name = weights.text("format", "");
    for (WeightFormat format : WeightFormat.values()) {
      if (format.text().equals(name)) {
        return format;
      }
    }
    throw config.failure(KEY + " has format " + quote(name) + "; fp32, bf16, q8 and q4 are known");
  }

  /** Refuses a packed folder where weights are to be trained or read one by one. */
  static void requirePlain(ConfigFile config) throws FormatException {
    WeightFormat format = format(config);
    if (format != null) {
      throw config.failure(
          "its weights are packed ("
              + format.text()
              + "), which is for generating alone; name the model that it was made of");
    }
  }

  /** As {@link FrozenModel#load}. */
  static FrozenModel load(Path folder, Device device, WeightFormat wanted) throws IOException {
    ConfigFile config = ConfigFile.read(folder);
    GptConfig shape = ModelFiles.gptConfig(config);
    WeightFormat stored = format(config);
    if (stored == null) {
      return pack(folder, shape, device, wanted == null ? WeightFormat.F32 : wanted);
    }
    if (wanted != null && wanted != stored) {
      throw config.failure(
          "its weights are packed as "
              + stored.text()
              + "; pack the model that it was made of as "
              + wanted.text());
    }
    try (SafetensorsFile file = SafetensorsFile.open(folder)) {
      FrozenModel model = new FrozenModel(shape, device, stored);
      try {
        check(folder, file, model.parameters());
        for (ParameterSpec spec : model.parameters().specs()) {
          read(file, spec.name(), model.parameters());
        }
        model.parameters().seal();
        return model;
      } catch (IOException | RuntimeException e) {
        model.close();
        throw e;
      }
    }
  }

  private static FrozenModel pack(Path folder, GptConfig shape, Device device, WeightFormat format)
      throws IOException {
    WeightFiles files = GptFiles.weights(new GptLayers(shape).parameters());
    try (StoredWeights stored = files.open(folder, part -> false)) {
      FrozenModel model = new FrozenModel(shape, device, format);
      String reading = "";
      try {
        for (String name : stored.parts()) {
          reading = name;
          model.parameters().write(name, stored.elements(name));
        }
        model.parameters().seal();
        return model;
      } catch (IllegalArgumentException e) {
        model.close();
        throw new FormatException(folder, reading + ": " + e.getMessage(), e);
      } catch (IOException | RuntimeException e) {
        model.close();
        throw e;
      }
    }
  }

  /** What a file holds of each parameter. */
  private static Map<String, TensorInfo> tensors(PackedParameters parameters) {
    Map<String, TensorInfo> tensors = new LinkedHashMap<>();
    for (ParameterSpec spec : parameters.specs()) {
      String name = spec.name();
      tensors.put(
          name,
          parameters.isPacked(name)
              ? new TensorInfo(name, Dtype.U8, new long[] {parameters.bytes(name)})
              : new TensorInfo(name, Dtype.F32, spec.shape()));
    }
    return tensors;
  }

  private static void check(Path folder, SafetensorsFile file, PackedParameters parameters)
      throws FormatException {
    Map<String, TensorInfo> expected = tensors(parameters);
    Set<String> names = new HashSet<>(file.names());
    names.addAll(expected.keySet());
    List<String> problems =
        names.stream()
            .filter(
                name -> !expected.containsKey(name) || !expected.get(name).equals(file.info(name)))
            .sorted()
            .map(name -> problem(name, expected.get(name), file.info(name)))
            .toList();
    if (!problems.isEmpty()) {
      throw new FormatException(
          folder,
          "its weights are not of the packed model that config.json describes, "
              + problems.size()
              + " differ: "
              + problems.stream().limit(3).collect(Collectors.joining("; ")));
    }
  }

  private static String problem(String name, TensorInfo expected, TensorInfo found) {
    return expected == null
        ? "unexpected " + quote(name)
        : found == null ? "missing " + name : found + " is not " + describe(expected);
  }

  private static String describe(TensorInfo tensor) {
    return tensor.dtype() + Arrays.toString(tensor.shape());
  }

  /** A tensor that lies well is mapped: it takes no memory before it is used. */
  private static void read(SafetensorsFile file, String name, PackedParameters parameters)
      throws IOException {
    long bytes = parameters.bytes(name);
    if (bytes <= Integer.MAX_VALUE) {
      ByteBuffer mapped = file.map(name, 0, (int) bytes);
      if (mapped.alignmentOffset(0, PackedParameters.ALIGNMENT) == 0) {
        parameters.adopt(name, mapped);
        return;
      }
    }
    long[] done = {0};
    parameters.writeBytes(
        name,
        target -> {
          int count = target.remaining();
          file.read(name, done[0], target);
          done[0] += count;
        });
  }

  /** As {@link FrozenModel#save}. */
  static void save(FrozenModel model, OptionalInt endOfText, Path folder) throws IOException {
    ObjectNode json = GptFiles.json(model.config(), endOfText);
    json.remove("architectures"); // whoever goes by that reads plain weights
    json.remove("torch_dtype");
    json.putObject(KEY)
        .put("layout", LAYOUT)
        .put("version", VERSION)
        .put("format", model.format().text());
    PackedParameters parameters = model.parameters();
    SafetensorsWriter writer = new SafetensorsWriter().aligned(PackedParameters.ALIGNMENT);
    tensors(parameters)
        .forEach(
            (name, tensor) -> writer.add(tensor, out -> parameters.readBytes(name, out::write)));
    ConfigFile.write(json, folder);
    writer.write(folder.resolve(ModelFiles.WEIGHTS));
  }
}
