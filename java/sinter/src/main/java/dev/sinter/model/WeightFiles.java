package dev.sinter.model;

import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;

/** Parameters in Hugging Face's files: under prefixes, in parts, under names of old. */
final class WeightFiles {
  private final Parameters parameters;
  private final String prefix;
  private final List<String> unprefixed;
  private final Predicate<String> ignored;

  /**
   * @param parameters to fill or to write
   * @param prefix that names may have, with its dot
   * @param unprefixed beginnings of names that never have it: those of heads
   * @param ignored names, without the prefix, that files may hold and that are no weights of ours
   */
  WeightFiles(
      Parameters parameters, String prefix, List<String> unprefixed, Predicate<String> ignored) {
    this.parameters = parameters;
    this.prefix = prefix;
    this.unprefixed = unprefixed;
    this.ignored = ignored;
  }

  /**
   * Fills the parameters.
   *
   * @param optional names, without the prefix, that need not be there: those stay as they are
   */
  void load(Path folder, Predicate<String> optional) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(folder)) {
      boolean prefixed =
          !prefix.isEmpty() && file.names().stream().anyMatch(name -> name.startsWith(prefix));
      Map<String, String> found = new LinkedHashMap<>();
      Map<String, long[]> expected = new LinkedHashMap<>();
      for (ParameterSpec spec : parameters.specs()) {
        for (String part : spec.parts()) {
          String name = nameIn(file, prefixed, part);
          if (file.info(name) != null || !optional.test(part)) {
            found.put(part, name);
            expected.put(name, spec.partShape());
          }
        }
      }
      Set<String> others = new HashSet<>();
      for (String name : file.names()) {
        if (ignored.test(name.startsWith(prefix) ? name.substring(prefix.length()) : name)) {
          others.add(name);
        }
      }
      file.requireTensors(expected, others);
      for (Map.Entry<String, String> tensor : found.entrySet()) {
        SafetensorsFile.FloatReader reader = file.floats(tensor.getValue());
        parameters.write(Parameters.Part.WEIGHT, tensor.getKey(), reader::fill);
      }
    }
  }

  /** What a file calls a part: with the prefix or without, in today's words or in earlier ones. */
  private String nameIn(SafetensorsFile file, boolean prefixed, String part) {
    String name = prefixed ? nameOf(part) : part;
    String other =
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
            .replace("cls.predictions.bias", "cls.predictions.decoder.bias");
    return file.info(name) == null && file.info(other) != null ? other : name;
  }

  private String nameOf(String part) {
    return unprefixed.stream().anyMatch(part::startsWith) ? part : prefix + part;
  }

  /** Adds one of the parameters' arrays to a file. */
  void add(SafetensorsWriter writer, Parameters.Part which) {
    for (ParameterSpec spec : parameters.specs()) {
      for (String part : spec.parts()) {
        writer.add(
            nameOf(part), spec.partShape(), sink -> parameters.read(which, part, sink::accept));
      }
    }
  }
}
