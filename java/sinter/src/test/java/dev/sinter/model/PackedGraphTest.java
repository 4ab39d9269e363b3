package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.Mask;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import dev.sinter.model.GptConfig.Family;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Sequences in one row have what each has alone. */
class PackedGraphTest {
  private static final int VOCABULARY = 29;
  private static final int CONTEXT = 33;
  private static final int LENGTH = 45; // of a row: more than the context

  /** The lengths of what each row holds; the rest of the second is left over. */
  private static final int[][] ROWS = {{7, 20, 1, 17}, {33, 3}};

  private static LanguageModel model(Device device, Family family) {
    GptConfig config = GptConfig.of(VOCABULARY, CONTEXT, 32, 4, 2);
    return LanguageModel.create(
        config.withFamily(family, family == Family.GPT3 ? 5 : 0), device, DType.F32, 5);
  }

  /**
   * A sequence, the token that follows each place, or -100 in the first half, and their weights.
   */
  private record Example(int[] tokens, int[] targets, float[] weights) {
    static Example of(int length, int seed) {
      Random random = new Random(seed);
      int[] text = random.ints(length + 1, 0, VOCABULARY).toArray();
      int[] targets = Arrays.copyOfRange(text, 1, length + 1);
      Arrays.fill(targets, 0, length / 2, -100);
      float[] weights = new float[length];
      for (int i = 0; i < length; i++) {
        weights[i] = random.nextFloat();
      }
      return new Example(Arrays.copyOf(text, length), targets, weights);
    }

    Example withEqualWeights() {
      float[] equal = new float[tokens.length];
      Arrays.fill(equal, 1f / tokens.length);
      return new Example(tokens, targets, equal);
    }
  }

  private static List<List<Example>> examples() {
    int[] seed = {1};
    return Arrays.stream(ROWS)
        .map(row -> Arrays.stream(row).mapToObj(n -> Example.of(n, seed[0]++)).toList())
        .toList();
  }

  private static void fill(PackedGraph graph, List<List<Example>> rows) {
    for (int row = 0; row < rows.size(); row++) {
      int place = row * LENGTH;
      for (Example example : rows.get(row)) {
        int start = place % LENGTH;
        for (int i = 0; i < example.tokens.length; i++, place++) {
          graph.tokens().put(place, example.tokens[i]);
          graph.positions().put(place, i);
          graph.starts().put(place, start);
          graph.targets().put(place, example.targets[i]);
          graph.weights().put(place, example.weights[i]);
        }
      }
      for (int left = place % LENGTH; place < (row + 1) * LENGTH; place++) {
        graph.starts().put(place, left);
        graph.targets().put(place, -100);
      }
    }
  }

  private static Map<String, float[]> gradients(LanguageModel model) {
    Map<String, float[]> all = new HashMap<>();
    for (ParameterSpec spec : model.parameters().specs()) {
      FloatBuffer values = FloatBuffer.allocate(Math.toIntExact(spec.elements()));
      try {
        model.parameters().read(Parameters.Part.GRADIENT, spec.name(), values::put);
      } catch (IOException e) {
        throw new AssertionError(e);
      }
      all.put(spec.name(), values.array());
    }
    return all;
  }

  private static void assertClose(Map<String, float[]> expected, Map<String, float[]> actual) {
    expected.forEach(
        (name, values) -> {
          double error = 0;
          double size = 0;
          for (int i = 0; i < values.length; i++) {
            error += Math.pow(values[i] - actual.get(name)[i], 2);
            size += Math.pow(values[i], 2);
          }
          assertTrue(size > 0, name + " has no gradient");
          double relative = Math.sqrt(error / size);
          assertTrue(relative < 1e-5, name + " is off by " + relative);
        });
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void aPackedBatchHasTheLossAndTheGradientsOfItsSequencesAlone(Family family) {
    try (Device device = Device.cpu(2)) {
      assertPackedAsAlone(device, family);
    }
  }

  static void assertPackedAsAlone(Device device, Family family) {
    List<List<Example>> rows =
        examples().stream().map(r -> r.stream().map(Example::withEqualWeights).toList()).toList();
    try (LanguageModel model = model(device, family)) {
      double loss = 0;
      boolean accumulating = false;
      for (Example example : rows.stream().flatMap(List::stream).toList()) {
        int length = example.tokens.length;
        try (TrainingGraph alone = model.trainingGraph(1, length, 1, Recompute.NONE, 1)) {
          alone.tokens().put(example.tokens);
          alone.targets().put(example.targets);
          loss += alone.run(0, accumulating);
          accumulating = true;
        }
      }
      Map<String, float[]> expected = gradients(model);
      for (Recompute recompute : Recompute.values()) {
        try (PackedGraph packed = model.packedGraph(rows.size(), LENGTH, 1, recompute, 1)) {
          fill(packed, rows);
          assertEquals(loss, packed.run(0, false), 1e-5 * loss);
          assertClose(expected, gradients(model));
        }
      }
      // Two halves that are added up.
      try (PackedGraph half = model.packedGraph(rows.size(), LENGTH, 2, Recompute.NONE, 1)) {
        fill(half, rows);
        half.run(0, false);
        assertEquals(loss, half.run(1, true), 1e-5 * loss);
        assertClose(expected, gradients(model));
      }
    }
  }

  @Test
  void eachTargetHasItsOwnWeight() {
    List<List<Example>> rows = examples();
    try (Device device = Device.cpu(2);
        LanguageModel model = model(device, Family.GPT2);
        PackedGraph packed = model.packedGraph(rows.size(), LENGTH, 1, Recompute.NONE, 1)) {
      double expected = 0;
      for (Example example : rows.stream().flatMap(List::stream).toList()) {
        int length = example.tokens.length;
        try (EvaluationGraph alone = model.lossGraph(1, length)) {
          alone.tokens().put(example.tokens);
          alone.targets().put(example.targets);
          FloatBuffer losses = alone.run();
          for (int i = 0; i < length; i++) {
            expected += example.weights[i] * losses.get(i);
          }
        }
      }
      fill(packed, rows);
      assertEquals(expected, packed.run(0, false), 1e-5 * expected);
    }
  }

  @Test
  void aTokenOfOneSequenceChangesNoneOfAnother() {
    List<List<Example>> rows = examples();
    List<List<Example>> changed = examples();
    Example other = changed.get(0).get(1);
    Arrays.setAll(other.tokens, i -> (other.tokens[i] + 1) % VOCABULARY);
    Arrays.fill(rows.get(0).get(1).weights, 0);
    Arrays.fill(other.weights, 0);
    try (Device device = Device.cpu(2);
        LanguageModel model = model(device, Family.GPT2);
        PackedGraph packed = model.packedGraph(rows.size(), LENGTH, 1, Recompute.NONE, 1)) {
      fill(packed, rows);
      float before = packed.run(0, false);
      fill(packed, changed);
      assertEquals(before, packed.run(0, false));
    }
  }

  @Test
  void whatIsNoPackingIsRefused() {
    try (Device device = Device.cpu(1);
        LanguageModel model = model(device, Family.GPT2);
        PackedGraph packed = model.packedGraph(2, LENGTH, 1, Recompute.NONE, 1)) {
      fill(packed, examples());
      packed.run(0, false);
      for (int start : new int[] {-1, 6, 9, LENGTH, Integer.MAX_VALUE}) {
        packed.starts().put(LENGTH + 8, start);
        assertRefused("row 1, token 8: start " + start, packed);
      }
      fill(packed, examples());
      for (int position : new int[] {-1, CONTEXT}) {
        packed.positions().put(3, position);
        assertRefused("row 0, token 3: position " + position, packed);
      }
    }
  }

  private static void assertRefused(String where, PackedGraph packed) {
    Exception e = assertThrows(IllegalArgumentException.class, () -> packed.run(0, false));
    assertTrue(e.getMessage().startsWith(where), e.getMessage());
  }

  @Test
  void startsAreForCausalAttentionAndOneARow() {
    try (Device device = Device.cpu(1);
        LanguageModel model = model(device, Family.GPT2)) {
      GraphBuilder g = new GraphBuilder(model.weights(), Mode.INFERENCE, Recompute.NONE, 0);
      Tensor starts = g.input("starts", 2, 5);
      assertThrows(IllegalArgumentException.class, () -> new Mask(false, 0, null, starts));
      Tensor x =
          g.embedding(
              "x", g.input("t", 2, 6), null, model.weights().get("wte.weight"), null, 1, -1);
      assertThrows(
          IllegalArgumentException.class,
          () -> g.attention("a", x, 1, new Mask(true, 0, null, starts), 0));
    }
  }
}
