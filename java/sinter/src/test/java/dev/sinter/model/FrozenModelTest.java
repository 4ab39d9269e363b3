package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.PackedParameters;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig.Family;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Packed weights beside the same unpacked. */
class FrozenModelTest {
  /** Nothing of it is a multiple of a panel or a block. */
  private static final GptConfig ODD = GptConfig.of(61, 40, 24, 2, 3);

  private static GptConfig of(Family family) {
    return ODD.withFamily(family, family == Family.GPT3 ? 7 : 0);
  }

  /** The logits of made-up tokens [2, 23, vocabulary]. */
  private static float[] logits(EvaluationGraph graph) {
    try (graph) {
      graph.tokens().put(new Random(5).ints(46, 0, 61).toArray());
      FloatBuffer all = graph.run();
      float[] logits = new float[all.remaining()];
      all.get(logits);
      return logits;
    }
  }

  private static float[] losses(EvaluationGraph graph) {
    try (graph) {
      graph.tokens().put(new Random(5).ints(46, 0, 61).toArray());
      graph.targets().put(new Random(6).ints(46, 0, 61).toArray());
      float[] losses = new float[46];
      graph.run().get(losses);
      return losses;
    }
  }

  /** How far the logits may be from those of the weights before packing. */
  private static float tolerance(WeightFormat format) {
    return switch (format) {
      case F32 -> 1e-5f;
      case BF16 -> 0.03f;
      case Q8 -> 0.05f;
      case Q4 -> 0.6f;
    };
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void packedFp32IsThatFamily(Family family) {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(of(family), device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32)) {
      assertArrayEquals(logits(model.logitsGraph(2, 23)), logits(frozen.logitsGraph(2, 23)), 1e-5f);
      assertArrayEquals(losses(model.lossGraph(2, 23)), losses(frozen.lossGraph(2, 23)), 1e-5f);
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void logitsAreWithinTheFormatsError(WeightFormat format) {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(ODD, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format)) {
      assertEquals(format, frozen.format());
      float[] expected = logits(model.logitsGraph(2, 23));
      assertArrayEquals(expected, logits(frozen.logitsGraph(2, 23)), tolerance(format));
    }
  }

  @Test
  void whatWasTrainedInBf16IsPackedAsItIs() {
    try (Device device = Device.cpu(2);
        LanguageModel narrow = LanguageModel.create(ODD, device, DType.BF16, 7);
        LanguageModel wide = LanguageModel.create(ODD, device, DType.F32, 7);
        FrozenModel a = FrozenModel.of(narrow, WeightFormat.BF16);
        FrozenModel b = FrozenModel.of(wide, WeightFormat.BF16)) {
      for (ParameterSpec spec : a.parameters().specs()) {
        if (a.parameters().isPacked(spec.name())) {
          assertArrayEquals(bytes(a, spec.name()), bytes(b, spec.name()), spec.name());
        }
      }
    }
  }

  private static byte[] bytes(FrozenModel model, String name) {
    ByteBuffer all = ByteBuffer.allocate(Math.toIntExact(model.parameters().bytes(name)));
    try {
      model.parameters().readBytes(name, all::put);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return all.array();
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void elementsFromTheHostArePackedToTheSameBytes(WeightFormat format) throws IOException {
    try (Device device = Device.cpu(2)) {
      assertPackedAlike(device, device, format);
    }
  }

  /** A model that one device packs from its own weights, the other from elements of the host. */
  static void assertPackedAlike(Device one, Device other, WeightFormat format) throws IOException {
    GptConfig large = GptConfig.of(2100, 40, 24, 1, 3); // a token table of several bands
    try (LanguageModel model = LanguageModel.create(large, one, DType.F32, 7);
        FrozenModel copied = FrozenModel.of(model, format);
        FrozenModel written = new FrozenModel(large, other, format)) {
      for (ParameterSpec spec : model.parameters().specs()) {
        FloatBuffer all = FloatBuffer.allocate(Math.toIntExact(spec.elements()));
        model.parameters().read(Parameters.Part.WEIGHT, spec.name(), all::put);
        written.parameters().write(spec.name(), source(all.flip()));
        assertArrayEquals(bytes(copied, spec.name()), bytes(written, spec.name()), spec.name());
      }
      written.parameters().seal();
    }
  }

  private static Parameters.Source source(FloatBuffer all) {
    return target -> {
      int count = target.remaining();
      target.put(all.slice(all.position(), count));
      all.position(all.position() + count);
    };
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void bytesThatWereReadMakeTheModelAgain(WeightFormat format) throws IOException {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(ODD, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        FrozenModel written = new FrozenModel(ODD, device, format);
        FrozenModel adopted = new FrozenModel(ODD, device, format)) {
      for (ParameterSpec spec : frozen.parameters().specs()) {
        ByteBuffer bytes = ByteBuffer.wrap(bytes(frozen, spec.name()));
        written
            .parameters()
            .writeBytes(
                spec.name(),
                target -> {
                  int count = target.remaining();
                  target.put(bytes.slice(bytes.position(), count));
                  bytes.position(bytes.position() + count);
                });
        ByteBuffer direct = aligned(bytes.capacity());
        direct.put(bytes.rewind()).flip();
        adopted.parameters().adopt(spec.name(), direct);
      }
      written.parameters().seal();
      adopted.parameters().seal();
      float[] expected = logits(frozen.logitsGraph(2, 23));
      assertArrayEquals(expected, logits(written.logitsGraph(2, 23)));
      assertArrayEquals(expected, logits(adopted.logitsGraph(2, 23)));
    }
  }

  private static ByteBuffer aligned(int size) {
    return ByteBuffer.allocateDirect(size + 2 * PackedParameters.ALIGNMENT)
        .alignedSlice(PackedParameters.ALIGNMENT)
        .limit(size)
        .slice()
        .order(ByteOrder.nativeOrder());
  }

  @Test
  void bytesThatDoNotFitAreRefused() {
    try (Device device = Device.cpu(1);
        FrozenModel model = new FrozenModel(ODD, device, WeightFormat.Q8)) {
      PackedParameters parameters = model.parameters();
      int size = Math.toIntExact(parameters.bytes("wte.weight"));
      Map<String, ByteBuffer> bad = new TreeMap<>();
      bad.put("heap", ByteBuffer.allocate(size));
      bad.put("too few", aligned(size - 1));
      bad.put("not aligned", aligned(size + 4).position(4).slice());
      bad.forEach(
          (why, buffer) ->
              assertThrows(
                  IllegalArgumentException.class,
                  () -> parameters.adopt("wte.weight", buffer),
                  why));
      assertThrows(IllegalArgumentException.class, () -> parameters.bytes("wtf.weight"));
      String message = assertThrows(IllegalStateException.class, parameters::seal).getMessage();
      assertEquals("parameter wte.weight has no values", message);
    }
  }

  @Test
  void weightsThatAreNotFiniteAreRefused() throws IOException {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(ODD, device, DType.F32, 7)) {
      float[] elements = new float[61 * 24];
      elements[777] = Float.NaN;
      model
          .parameters()
          .write(Parameters.Part.WEIGHT, "wte.weight", source(FloatBuffer.wrap(elements)));
      String message =
          assertThrows(IllegalArgumentException.class, () -> FrozenModel.of(model, WeightFormat.Q4))
              .getMessage();
      assertTrue(message.contains("not finite"), message);
    }
  }

  @Test
  void aModelThatIsClosedIsNotPacked() {
    try (Device device = Device.cpu(1)) {
      LanguageModel model = LanguageModel.create(ODD, device, DType.F32, 7);
      model.close();
      assertThrows(IllegalStateException.class, () -> FrozenModel.of(model, WeightFormat.Q8));
    }
  }

  @Test
  void graphsRefuseWhatTheyDoNotHave() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(ODD, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q8);
        EvaluationGraph graph = frozen.logitsGraph(1, 3)) {
      Tensor table = frozen.parameters().get("wte.weight");
      assertThrows(
          IllegalArgumentException.class, () -> graph.graph().read(table, 0, new float[24]));
      String message =
          assertThrows(
                  IllegalArgumentException.class,
                  () -> new GraphBuilder(frozen.parameters(), Mode.TRAIN, Recompute.NONE, 0))
              .getMessage();
      assertEquals("packed weights do not train", message);
      assertThrows(IllegalArgumentException.class, () -> frozen.lossGraph(1, 41));
    }
  }

  @Test
  void everyFormatHasItsNameAndSize() {
    for (WeightFormat format : WeightFormat.values()) {
      assertEquals(format, WeightFormat.of(format.text()));
    }
    assertThrows(IllegalArgumentException.class, () -> WeightFormat.of("q5"));
    long[] bytes =
        Arrays.stream(WeightFormat.values()).mapToLong(format -> format.bytes(65, 17)).toArray();
    // Two panels of 16 outputs, two units of 64 inputs; each unit of whole numbers has 32 scales.
    assertArrayEquals(new long[] {4 * 4096, 4 * 2048, 4 * (1024 + 64), 4 * (512 + 64)}, bytes);
  }
}
