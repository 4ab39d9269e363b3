package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.PackedParameters;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.TensorInfo;
import dev.sinter.io.TensorInfo.Dtype;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Packed folders give the model that was packed, or one line that says why not. */
class FrozenFilesTest {
  private static final Path GGUF = Path.of("src/test/resources/dev/sinter/gguf");
  private static final int[] IDS = {3, 1, 4, 1, 5};

  private static Device device;

  @TempDir Path temporary;

  @BeforeAll
  static void open() {
    device = Device.cpu();
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static float[] logits(FrozenModel model) {
    try (EvaluationGraph graph = model.logitsGraph(1, IDS.length)) {
      graph.tokens().put(IDS);
      float[] logits = new float[IDS.length * model.config().vocabulary()];
      graph.run().get(logits);
      return logits;
    }
  }

  /** What the plain model in that folder, or file, computes when it is packed in memory. */
  private static float[] expected(Path plain, WeightFormat format) throws IOException {
    try (LanguageModel model = ModelFiles.load(plain, device, DType.F32);
        FrozenModel frozen = FrozenModel.of(model, format)) {
      return logits(frozen);
    }
  }

  private static float[] loaded(Path folder, WeightFormat format) throws IOException {
    try (FrozenModel model = FrozenModel.load(folder, device, format)) {
      return logits(model);
    }
  }

  private Path packed(Path plain, WeightFormat format) throws IOException {
    Path folder = Files.createDirectory(temporary.resolve("packed"));
    try (FrozenModel model = FrozenModel.load(plain, device, format)) {
      model.save(OptionalInt.of(7), folder);
    }
    return folder;
  }

  @ParameterizedTest
  @CsvSource({"gpt1, Q8", "gpt2, F32", "gpt2, BF16", "gpt2, Q8", "gpt2, Q4", "gpt3-3, Q4"})
  void aSavedModelIsTheSameToTheLastBit(String family, WeightFormat format) throws IOException {
    Path plain = HostileFolder.good(family);
    float[] expected = expected(plain, format);
    assertArrayEquals(expected, loaded(plain, format));
    Path folder = packed(plain, format);
    assertArrayEquals(expected, loaded(folder, null));
    assertArrayEquals(expected, loaded(folder, format));
    assertEquals(Optional.of(format), ModelFiles.readWeightFormat(folder));
    assertEquals(Optional.empty(), ModelFiles.readWeightFormat(plain));
    assertEquals(ModelFiles.readFamily(plain), ModelFiles.readFamily(folder));
    assertEquals(
        ModelFiles.readConfig(plain).parameters(), ModelFiles.readConfig(folder).parameters());
  }

  @Test
  void aPlainFolderIsPackedAsFp32WhereNothingElseIsSaid() throws IOException {
    try (FrozenModel model = FrozenModel.load(HostileFolder.good("gpt2"), device, null)) {
      assertEquals(WeightFormat.F32, model.format());
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void aGgufFileIsPackedAsItIsWidened(WeightFormat format) throws IOException {
    Path file = GGUF.resolve("gpt2-q8_0.gguf");
    float[] expected = expected(file, format);
    assertArrayEquals(expected, loaded(file, format));
    assertArrayEquals(expected, loaded(packed(file, format), null));
  }

  @Test
  void shardsArePackedAsOneFileIs() throws IOException {
    HostileFolder folder = HostileFolder.copyOf("gpt2", temporary);
    float[] expected = expected(folder.path(), WeightFormat.Q8);
    folder.shard();
    assertArrayEquals(expected, loaded(folder.path(), WeightFormat.Q8));
  }

  @ParameterizedTest
  @EnumSource(
      value = Dtype.class,
      names = {"BF16", "F16"})
  void halvesArePackedAsTheyAreWidened(Dtype dtype) throws IOException {
    HostileFolder folder = HostileFolder.copyOf("gpt2", temporary);
    folder.tensors(tensors -> tensors.replaceAll((name, tensor) -> halved(tensor, dtype)));
    assertArrayEquals(
        expected(folder.path(), WeightFormat.Q8), loaded(folder.path(), WeightFormat.Q8));
  }

  private static HostileFolder.Tensor halved(HostileFolder.Tensor tensor, Dtype dtype) {
    ByteBuffer from = ByteBuffer.wrap(tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    ByteBuffer to = ByteBuffer.allocate(from.capacity() / 2).order(ByteOrder.LITTLE_ENDIAN);
    while (from.hasRemaining()) {
      int upper = from.getInt() >>> 16;
      // As an F16 the bits mean another number: below 2, which is all that matters here.
      to.putShort((short) (dtype == Dtype.F16 ? upper & 0xbfff : upper));
    }
    TensorInfo info = tensor.info();
    return new HostileFolder.Tensor(new TensorInfo(info.name(), dtype, info.shape()), to.array());
  }

  @Test
  void packedTensorsLieWhereTheyCanBeMapped() throws IOException {
    Path folder = packed(HostileFolder.good("gpt2"), WeightFormat.Q4);
    try (SafetensorsFile file = SafetensorsFile.open(folder)) {
      assertEquals(
          9, file.names().stream().filter(name -> file.info(name).dtype() == Dtype.U8).count());
      for (String name : file.names()) {
        if (file.info(name).dtype() == Dtype.U8) {
          ByteBuffer mapped = file.map(name, 0, (int) file.info(name).bytes());
          assertEquals(0, mapped.alignmentOffset(0, PackedParameters.ALIGNMENT), name);
        }
      }
    }
  }

  @Test
  void aFileThatAnotherLibraryHasLaidOutIsReadAllTheSame() throws IOException {
    float[] expected = expected(HostileFolder.good("gpt2"), WeightFormat.Q8);
    HostileFolder folder = HostileFolder.of(packed(HostileFolder.good("gpt2"), WeightFormat.Q8));
    folder.tensors(tensors -> {}); // wide types first, and no more than eight bytes of alignment
    folder.header(header -> header + " ");
    assertArrayEquals(expected, loaded(folder.path(), null));
  }

  @Test
  void aModelOutlivesItsFolder() throws IOException {
    float[] expected = expected(HostileFolder.good("gpt2"), WeightFormat.Q8);
    Path folder = packed(HostileFolder.good("gpt2"), WeightFormat.Q8);
    try (FrozenModel model = FrozenModel.load(folder, device, null)) {
      Files.delete(folder.resolve(ModelFiles.WEIGHTS));
      assertArrayEquals(expected, logits(model));
    }
  }

  @Test
  void aClosedModelRefusesToRun() throws IOException {
    Path folder = packed(HostileFolder.good("gpt2"), WeightFormat.Q8);
    FrozenModel model = FrozenModel.load(folder, device, null);
    try (EvaluationGraph graph = model.logitsGraph(1, IDS.length)) {
      graph.tokens().put(IDS);
      model.close();
      model.close();
      assertThrows(IllegalStateException.class, graph::run);
    }
  }

  @Test
  void aWeightThatIsNoNumberIsRefusedByName() throws IOException {
    HostileFolder folder = HostileFolder.copyOf("gpt2", temporary);
    String name = folder.named("h.0.mlp.c_fc.weight");
    folder.tensors(
        tensors ->
            ByteBuffer.wrap(tensors.get(name).bytes())
                .order(ByteOrder.LITTLE_ENDIAN)
                .putFloat(40, Float.NaN));
    for (WeightFormat format : WeightFormat.values()) {
      String line =
          assertThrows(FormatException.class, () -> FrozenModel.load(folder.path(), device, format))
              .getMessage();
      HostileFolder.assertOneLine(folder.path(), line);
      assertTrue(line.contains("h.0.mlp.c_fc.weight"), line);
    }
  }

  @Test
  void packedWeightsAreForGeneratingAlone() throws IOException {
    Path folder = packed(HostileFolder.good("gpt2"), WeightFormat.Q8);
    assertEquals("gpt2", ModelFiles.readFamily(folder));
    for (String line :
        List.of(
            refusal(() -> ModelFiles.load(folder, device, DType.F32)),
            refusal(() -> ModelFiles.loadAny(folder, device, DType.F32)),
            refusal(() -> ModelFiles.loadTask(folder, Head.mean(), device, DType.F32)),
            refusal(() -> ModelFiles.loadForTask(folder, Head.mean(), device, DType.F32, 1)))) {
      HostileFolder.assertOneLine(folder, line);
      assertTrue(line.contains("packed (q8)"), line);
    }
    String other = refusal(() -> FrozenModel.load(folder, device, WeightFormat.Q4));
    HostileFolder.assertOneLine(folder, other);
    assertTrue(other.contains("q8") && other.contains("q4"), other);
  }

  /** Does what must be refused. */
  @FunctionalInterface
  private interface Refused {
    void run() throws IOException;
  }

  private static String refusal(Refused refused) {
    return assertThrows(FormatException.class, refused::run).getMessage();
  }

  /** One way to break a packed folder, and a word of the line that says so. */
  private record Breakage(String what, Break change, String says) {
    @Override
    public String toString() {
      return what;
    }
  }

  /** Breaks a folder. */
  @FunctionalInterface
  private interface Break {
    void of(HostileFolder folder) throws IOException;
  }

  private static Breakage config(String value, String says) {
    return new Breakage(value, folder -> folder.set("sinter_weights", value), says);
  }

  private static Breakage tensors(String what, HostileFolder.Change change, String says) {
    return new Breakage(what, folder -> folder.tensors(change), says);
  }

  static Stream<Breakage> breakages() {
    String matrix = "h.0.attn.c_proj.weight";
    String bias = "h.0.attn.c_proj.bias";
    return Stream.of(
        config("7", "sinter_weights"),
        config("{}", "layout"),
        config("{\"layout\": \"panel16\"}", "version 0"),
        config("{\"layout\": \"panel16\", \"version\": 2, \"format\": \"q8\"}", "version 2"),
        config("{\"layout\": \"panel32\", \"version\": 1, \"format\": \"q8\"}", "panel32"),
        config("{\"layout\": \"panel16\", \"version\": 1, \"format\": \"q5\"}", "q5"),
        config("{\"layout\": \"panel16\", \"version\": 1, \"format\": 8}", "format"),
        config("{\"layout\": \"panel16\", \"version\": 1, \"format\": \"q4\"}", "is not U8"),
        config("{\"layout\": \"\\n" + "x".repeat(9999) + "\", \"version\": 1}", "layout"),
        new Breakage("plain", folder -> folder.remove("sinter_weights"), "not"),
        new Breakage("wider", folder -> folder.set("n_embd", "48"), "differ"),
        new Breakage("huge", folder -> folder.set("vocab_size", "16777216"), "wte.weight"),
        tensors("missing", all -> all.remove(matrix), "missing " + matrix),
        tensors("unexpected", all -> all.put("more", all.get(matrix)), "more"),
        tensors("shorter", all -> all.computeIfPresent(matrix, (n, t) -> t.shaped(64)), matrix),
        tensors("signed", all -> all.computeIfPresent(matrix, (n, t) -> t.typed(Dtype.I8)), matrix),
        tensors(
            "a bias in halves",
            all -> all.computeIfPresent(bias, (n, t) -> t.typed(Dtype.F16)),
            bias),
        tensors("a bias too long", all -> all.computeIfPresent(bias, (n, t) -> t.shaped(99)), bias),
        new Breakage("truncated", FrozenFilesTest::truncate, "truncated"));
  }

  private static void truncate(HostileFolder folder) throws IOException {
    byte[] all = Files.readAllBytes(folder.weights());
    Files.write(folder.weights(), Arrays.copyOf(all, all.length - 1));
  }

  @ParameterizedTest
  @MethodSource("breakages")
  void aBrokenFolderIsRefusedInOneLine(Breakage breakage) throws IOException {
    HostileFolder folder = HostileFolder.of(packed(HostileFolder.good("gpt2"), WeightFormat.Q8));
    breakage.change.of(folder);
    String line = refusal(() -> FrozenModel.load(folder.path(), device, null));
    HostileFolder.assertOneLine(folder.path(), line);
    assertTrue(line.contains(breakage.says), line);
  }

  @Test
  void anyBytesAreAModel() throws IOException {
    HostileFolder folder = HostileFolder.of(packed(HostileFolder.good("gpt2"), WeightFormat.Q8));
    for (int value : new int[] {0, 0x7f, 0x80, 0xff}) {
      folder.tensors(
          tensors -> {
            for (Map.Entry<String, HostileFolder.Tensor> tensor : tensors.entrySet()) {
              Arrays.fill(tensor.getValue().bytes(), (byte) value);
            }
          });
      assertEquals(IDS.length * 41, loaded(folder.path(), null).length);
    }
  }
}
