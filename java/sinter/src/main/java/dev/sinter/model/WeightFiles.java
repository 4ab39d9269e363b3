package dev.sinter.model;

import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.io.GgufFile;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;

/** Parameters in Hugging Face's files: under prefixes, in parts, under names of old. */
final class WeightFiles {
  /** Elements of what files need not hold: its size is config.json's word alone. */
  static final long MOST_OPTIONAL = 1 << 24;

  private final List<ParameterSpec> parameters;
  private final String prefix;
  private final List<String> unprefixed;
  private final Predicate<String> ignored;

  /**
   * @param parameters that files hold
   * @param prefix that names may have, with its dot
   * @param unprefixed beginnings of names that never have it: those of heads
   * @param ignored names, without the prefix, that files may hold and that are no weights of ours
   */
  WeightFiles(
      List<ParameterSpec> parameters,
      String prefix,
      List<String> unprefixed,
      Predicate<String> ignored) {
    this.parameters = parameters;
    this.prefix = prefix;
    this.unprefixed = unprefixed;
    this.ignored = ignored;
  }

  /**
   * Fills a model. It is allocated only when the files' headers have borne its sizes out: what
   * config.json says is free to write, and a weight that is in a file is not.
   *
   * @param optional names, without the prefix, that need not be there: those stay as they are
   * @param allocate gives a model with these parameters
   * @return the model; the caller closes it
   */
  <M extends Model> M load(Path folder, Predicate<String> optional, Supplier<M> allocate)
      throws IOException {
    return load(folder, optional, stored -> allocate.get());
  }

  /**
   * The same.
   *
   * @param allocate gives a model with these parameters, of which it is told which ones are there
   */
  <M extends Model> M load(
      Path folder, Predicate<String> optional, Function<Set<String>, M> allocate)
      throws IOException {
    try (StoredWeights stored = open(folder, optional)) {
      M model = allocate.apply(stored.parts());
      try {
        for (String part : stored.parts()) {
          model.parameters().write(Parameters.Part.WEIGHT, part, stored.elements(part));
        }
        return model;
      } catch (IOException | RuntimeException e) {
        model.close();
        throw e;
      }
    }
  }

  /**
   * Opens the files and holds their headers to the parameters.
   *
   * @param optional names, without the prefix, that need not be there
   */
  StoredWeights open(Path folder, Predicate<String> optional) throws IOException {
    if (GgufFile.isNamed(folder)) {
      return GgufModel.open(folder, parameters, optional);
    }
    SafetensorsFile file = SafetensorsFile.open(folder);
    try {
      return new Safetensors(file, check(file, optional));
    } catch (IOException | RuntimeException e) {
      file.close();
      throw e;
    }
  }

  /**
   * @param names what the files call each part
   */
  private record Safetensors(SafetensorsFile file, Map<String, String> names)
      implements StoredWeights {
    @Override
    public Set<String> parts() {
      return names.keySet();
    }

    @Override
    public Parameters.Source elements(String part) throws IOException {
      return file.floats(names.get(part))::fill;
    }

    @Override
    public void close() {
      file.close();
    }
  }

  /** Holds the headers to the parameters; returns what the files call each part that is there. */
  private Map<String, String> check(SafetensorsFile file, Predicate<String> optional)
      throws IOException {
    boolean prefixed =
        !prefix.isEmpty() && file.names().stream().anyMatch(name -> name.startsWith(prefix));
    Map<String, String> found = new LinkedHashMap<>();
    Map<String, long[]> expected = new LinkedHashMap<>();
    for (ParameterSpec spec : parameters) {
      for (String part : spec.parts()) {
        String name = nameIn(file, prefixed, part);
        boolean needed = !optional.test(part) || spec.elements() > MOST_OPTIONAL;
        if (needed || file.info(name) != null) {
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
    return found;
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

  /** Adds a model's weights to a file. */
  void add(SafetensorsWriter writer, Model model) {
    for (ParameterSpec spec : parameters) {
      for (String part : spec.parts()) {
        writer.add(
            nameOf(part),
            spec.partShape(),
            sink -> model.parameters().read(Parameters.Part.WEIGHT, part, sink::accept));
      }
    }
  }
}
