package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.io.SafetensorsFile;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** What tests/goldens/gpt2.py computed with transformers in double precision. */
class GptGoldenTest {
  private static final int BATCH = 3;
  private static final int LENGTH = 19;
  private static final int VOCABULARY = 67;

  private static Path folder() {
    try {
      return Path.of(GptGoldenTest.class.getResource("gpt2").toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  private static int[] ints(SafetensorsFile file, String name) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(4 * BATCH * LENGTH).order(ByteOrder.LITTLE_ENDIAN);
    file.read(name, 0, bytes);
    int[] values = new int[BATCH * LENGTH];
    bytes.flip().asIntBuffer().get(values);
    return values;
  }

  private static float[] floats(SafetensorsFile file, String name, int count) throws IOException {
    float[] values = new float[count];
    file.floats(name).fill(FloatBuffer.wrap(values));
    return values;
  }

  /** The largest difference, in parts of the largest element. */
  private static double relativeError(float[] expected, float[] actual) {
    double most = 0;
    double difference = 0;
    for (int i = 0; i < expected.length; i++) {
      most = Math.max(most, Math.abs(expected[i]));
      difference = Math.max(difference, Math.abs(expected[i] - (double) actual[i]));
    }
    return difference / most;
  }

  @Test
  void logitsAreThoseOfTheReferenceForABatchAndForEachOfItsRows() throws IOException {
    try (SafetensorsFile golden = SafetensorsFile.open(folder().resolve("golden.safetensors"));
        Device device = Device.cpu();
        LanguageModel model = ModelFiles.load(folder(), device, DType.F32);
        EvaluationGraph batch = model.logitsGraph(BATCH, LENGTH);
        EvaluationGraph single = model.logitsGraph(1, LENGTH)) {
      float[] expected = floats(golden, "logits", BATCH * LENGTH * VOCABULARY);
      float[] actual = new float[expected.length];
      int[] tokens = ints(golden, "tokens");
      batch.tokens().put(tokens);
      batch.run().get(actual);
      assertEquals(0, relativeError(expected, actual), 1e-5);

      float[] rows = new float[expected.length];
      int size = LENGTH * VOCABULARY;
      for (int row = 0; row < BATCH; row++) {
        single.tokens().put(tokens, row * LENGTH, LENGTH);
        single.run().get(rows, row * size, size);
      }
      assertEquals(0, relativeError(actual, rows), 2e-6);
    }
  }

  @Test
  void lossAndTheGradientOfEveryParameterAreThoseOfTheReference() throws IOException {
    JsonNode numbers = new ObjectMapper().readTree(folder().resolve("golden.json").toFile());
    try (SafetensorsFile golden = SafetensorsFile.open(folder().resolve("golden.safetensors"));
        Device device = Device.cpu();
        LanguageModel model = ModelFiles.load(folder(), device, DType.F32);
        TrainingGraph graph = model.trainingGraph(BATCH, LENGTH, 1, Recompute.NONE, 1)) {
      graph.tokens().put(ints(golden, "tokens"));
      graph.targets().put(ints(golden, "targets"));
      double loss = numbers.get("losses").get(0).asDouble();
      assertEquals(loss, graph.run(0, false), 1e-5 * loss);
      double norm = numbers.get("norm").asDouble();
      assertEquals(norm, model.parameters().gradientNorm(), 1e-5 * norm);
      for (ParameterSpec spec : model.parameters().specs()) {
        int count = Math.toIntExact(spec.elements());
        FloatBuffer actual = FloatBuffer.allocate(count);
        model.parameters().read(Parameters.Part.GRADIENT, spec.name(), actual::put);
        float[] expected = floats(golden, "gradient/transformer." + spec.name(), count);
        // The gradient of a key's bias is zero in theory: softmax does not see it. Its error
        // counts in parts of the query's and the value's, which stand in the same tensor.
        double error = relativeError(expected, actual.array());
        assertTrue(error < 1e-5, spec.name() + " is off by " + error);
      }
    }
  }

  @Test
  void tenStepsOfAdamWHaveTheLossesOfTheReference() throws IOException {
    JsonNode losses =
        new ObjectMapper().readTree(folder().resolve("golden.json").toFile()).get("losses");
    try (SafetensorsFile golden = SafetensorsFile.open(folder().resolve("golden.safetensors"));
        Device device = Device.cpu();
        LanguageModel model = ModelFiles.load(folder(), device, DType.F32);
        TrainingGraph graph = model.trainingGraph(BATCH, LENGTH, 1, Recompute.NONE, 1)) {
      for (int step = 0; step < 10; step++) {
        graph.tokens().put(ints(golden, "tokens"));
        graph.targets().put(ints(golden, "targets"));
        double expected = losses.get(step).asDouble();
        assertEquals(expected, graph.run(step, false), 1e-5 * expected, "step " + step);
        model.parameters().gradientNorm();
        model
            .parameters()
            .update(new Parameters.AdamW(1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1), step + 1);
      }
    }
  }
}
