package dev.sinter.train;

import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import dev.sinter.model.LanguageModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * All that a training is resumed from, in one file: weights, moments, the step, and the settings.
 * One file, because one rename is atomic: a run killed while it saves has the checkpoint before.
 */
public final class Checkpoint {
  private static final String STEP = "sinter.step";
  private static final Map<String, Part> PARTS = new LinkedHashMap<>();

  static {
    PARTS.put("weight/", Part.WEIGHT);
    PARTS.put("first_moment/", Part.FIRST_MOMENT);
    PARTS.put("second_moment/", Part.SECOND_MOMENT);
  }

  private Checkpoint() {}

  /**
   * Saves a training.
   *
   * @param model that trains
   * @param step steps taken
   * @param settings texts to be given back on resuming
   * @param file to replace
   * @throws IOException where it cannot be written; the checkpoint before stays
   */
  public static void save(LanguageModel model, long step, Map<String, String> settings, Path file)
      throws IOException {
    model.parameters().enableTraining();
    SafetensorsWriter writer = new SafetensorsWriter();
    writer.metadata(settings).metadata(STEP, Long.toString(step));
    Parameters parameters = model.parameters();
    for (Map.Entry<String, Part> part : PARTS.entrySet()) {
      for (ParameterSpec spec : parameters.specs()) {
        for (String name : spec.parts()) {
          writer.add(
              part.getKey() + name,
              spec.partShape(),
              sink -> parameters.read(part.getValue(), name, sink::accept));
        }
      }
    }
    writer.write(file);
  }

  /**
   * Reads the settings that a training was saved with.
   *
   * @param file of the checkpoint
   * @return texts by name
   * @throws IOException where it cannot be read
   */
  public static Map<String, String> settings(Path file) throws IOException {
    try (SafetensorsFile tensors = SafetensorsFile.open(file)) {
      return new LinkedHashMap<>(tensors.metadata());
    }
  }

  /**
   * Reads a training's state into a model.
   *
   * @param model of the same shape
   * @param file of the checkpoint
   * @return steps taken
   * @throws IOException where it cannot be read, or is of another model
   */
  public static long load(LanguageModel model, Path file) throws IOException {
    try (SafetensorsFile tensors = SafetensorsFile.open(file)) {
      Map<String, long[]> expected = new LinkedHashMap<>();
      for (String prefix : PARTS.keySet()) {
        for (ParameterSpec spec : model.parameters().specs()) {
          spec.parts().forEach(name -> expected.put(prefix + name, spec.partShape()));
        }
      }
      tensors.requireTensors(expected, Set.of());
      long step = step(tensors.metadata().get(STEP), file);
      model.parameters().enableTraining();
      for (Map.Entry<String, Part> part : PARTS.entrySet()) {
        for (ParameterSpec spec : model.parameters().specs()) {
          for (String name : spec.parts()) {
            SafetensorsFile.FloatReader reader = tensors.floats(part.getKey() + name);
            model.parameters().write(part.getValue(), name, reader::fill);
          }
        }
      }
      return step;
    }
  }

  private static long step(String text, Path file) throws FormatException {
    if (text == null || !text.matches("\\d{1,18}")) {
      throw new FormatException(file, "names no step; it is no checkpoint of a training");
    }
    return Long.parseLong(text);
  }
}
