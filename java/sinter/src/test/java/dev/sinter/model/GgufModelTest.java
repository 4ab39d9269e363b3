package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.io.FormatException;
import dev.sinter.io.GgufFile;
import dev.sinter.io.GgufWriter;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** llama.cpp's files give the models that they were made of (tests/goldens/gguf_files.py). */
class GgufModelTest {
  private static final Path RESOURCES = Path.of("src/test/resources/dev/sinter");
  private static final Path GOLDEN = RESOURCES.resolve("gguf");
  private static final int[] IDS = {17, 301, 499, 0, 42, 256, 77};

  @TempDir Path temporary;

  private static float[] golden(String name) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(GOLDEN.resolve("golden.safetensors"))) {
      return floats(file, name);
    }
  }

  private static float[] floats(SafetensorsFile file, String name) throws IOException {
    float[] values = new float[(int) file.info(name).elements()];
    file.floats(name).fill(FloatBuffer.wrap(values));
    return values;
  }

  private static void assertClose(float[] expected, float[] actual) {
    assertEquals(expected.length, actual.length);
    float most = 0;
    for (float value : expected) {
      most = Math.max(most, Math.abs(value));
    }
    assertArrayEquals(expected, actual, 1e-5f * most);
  }

  private static float[] weights(Model model) throws IOException {
    FloatBuffer all = FloatBuffer.allocate(1 << 20);
    for (ParameterSpec spec : model.parameters().specs()) {
      model.parameters().read(Parameters.Part.WEIGHT, spec.name(), all::put);
    }
    return Arrays.copyOf(all.array(), all.position());
  }

  /** The tiny GPT-2 of the other tests in F32, as llama.cpp's converter lays it out. */
  private static GgufWriter gpt2() throws IOException {
    GgufWriter writer =
        new GgufWriter()
            .set("general.architecture", "gpt2")
            .set("gpt2.block_count", 2)
            .set("gpt2.context_length", 23)
            .set("gpt2.embedding_length", 36)
            .set("gpt2.feed_forward_length", 144)
            .set("gpt2.attention.head_count", 3)
            .set("gpt2.attention.layer_norm_epsilon", 1e-5f);
    try (SafetensorsFile file = SafetensorsFile.open(RESOURCES.resolve("model/gpt2"))) {
      for (String name : file.names()) {
        long[] shape = file.info(name).shape();
        float[] values = floats(file, name);
        if (name.matches(".*c_(attn|proj|fc).weight")) {
          values = turned(values, (int) shape[0], (int) shape[1]);
          shape = new long[] {shape[1], shape[0]};
        }
        writer.add(
            name.replace("transformer.", "")
                .replace("wte", "token_embd")
                .replace("wpe", "position_embd")
                .replace("ln_f", "output_norm")
                .replace("h.", "blk.")
                .replace("attn.c_attn", "attn_qkv")
                .replace("attn.c_proj", "attn_output")
                .replace("ln_1", "attn_norm")
                .replace("ln_2", "ffn_norm")
                .replace("mlp.c_fc", "ffn_up")
                .replace("mlp.c_proj", "ffn_down"),
            shape,
            values);
      }
    }
    return writer;
  }

  private static float[] turned(float[] values, int rows, int columns) {
    float[] turned = new float[values.length];
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < columns; c++) {
        turned[c * rows + r] = values[r * columns + c];
      }
    }
    return turned;
  }

  @Test
  void aGpt2IsTheSameModelToTheLastBit() throws IOException {
    Path path = gpt2().write(temporary.resolve("gpt2.gguf"));
    Path folder = RESOURCES.resolve("model/gpt2");
    assertEquals("gpt2", ModelFiles.readFamily(path));
    assertEquals(
        ModelFiles.readConfig(folder).parameters(), ModelFiles.readConfig(path).parameters());
    try (Device device = Device.cpu();
        LanguageModel expected = ModelFiles.load(folder, device, DType.F32);
        Model actual = ModelFiles.loadAny(path, device, DType.F32)) {
      assertArrayEquals(weights(expected), weights(actual));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt2-q8_0", "gpt2-q4_0"})
  void logitsAreThoseOfTheWidenedWeights(String name) throws IOException {
    Path path = GOLDEN.resolve(name + ".gguf");
    float[] expected = golden(name);
    try (Device device = Device.cpu();
        LanguageModel model = ModelFiles.load(path, device, DType.F32);
        EvaluationGraph graph = model.logitsGraph(1, IDS.length)) {
      graph.tokens().put(IDS);
      float[] logits = new float[expected.length];
      graph.run().get(logits);
      assertClose(expected, logits);
    }
    assertEquals(500, Tokenizer.load(path).size());
  }

  @Test
  void aBertIsTheSameEncoder() throws IOException {
    Path path = GOLDEN.resolve("bert-f16.gguf");
    float[] ids = golden("bert/ids");
    Tokenizer tokenizer = Tokenizer.load(path);
    int[] tokens = tokenizer.encoding("Cab dj z").ids();
    assertEquals(ids.length, tokens.length);
    for (int i = 0; i < ids.length; i++) {
      assertEquals((int) ids[i], tokens[i]);
    }
    assertEquals(Head.mean(), ModelFiles.readHead(path));
    try (Device device = Device.cpu();
        TaskModel model = ModelFiles.loadTask(path, Head.mean(), device, DType.F32);
        TaskRunner runner = new TaskRunner(model)) {
      TaskRunner.Input input = new TaskRunner.Input(tokens, new int[tokens.length], new int[0]);
      assertClose(golden("bert"), runner.run(Head.mean(), List.of(input)).get(0));
      assertNull(model.gptConfig());
    }
  }

  @Test
  void fineTuningStartsFromOne() throws IOException {
    Path path = GOLDEN.resolve("bert-f16.gguf");
    try (Device device = Device.cpu();
        TaskModel model = ModelFiles.loadForTask(path, Head.sequence(3), device, DType.F32, 1)) {
      assertEquals(3, model.head().labels());
    }
    try (Device device = Device.cpu()) {
      String line =
          assertThrows(
                  FormatException.class,
                  () -> ModelFiles.loadTask(path, Head.sequence(3), device, DType.F32))
              .getMessage();
      assertTrue(line.contains("missing"), line);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 100, 2000, 1 << 20})
  void matricesAreTurnedInBands(int most) throws IOException {
    try (GgufFile file = GgufFile.open(GOLDEN.resolve("gpt2-q4_0.gguf"))) {
      String name = "blk.0.ffn_down.weight";
      float[] values = new float[32 * 64];
      file.floats(name).fill(FloatBuffer.wrap(values));
      float[] turned = new float[values.length];
      GgufModel.Turned reader = new GgufModel.Turned(file, name, most);
      for (int at = 0; at < turned.length; at += 100) {
        reader.fill(FloatBuffer.wrap(turned, at, Math.min(100, turned.length - at)));
      }
      assertArrayEquals(turned(values, 32, 64), turned);
    }
  }

  @Test
  void damagedFilesAreModelsOrSayWhyNot() throws IOException {
    byte[] whole = Files.readAllBytes(GOLDEN.resolve("gpt2-q4_0.gguf"));
    Random random = new Random(2);
    try (Device device = Device.cpu()) {
      for (int i = 0; i < 300; i++) {
        byte[] bytes = whole.clone();
        bytes[random.nextInt(i % 2 == 0 ? 500 : 20_000)] = (byte) random.nextInt();
        Path path = Files.write(temporary.resolve("damaged.gguf"), bytes);
        try {
          Tokenizer.load(path);
          ModelFiles.loadAny(path, device, DType.F32).close();
        } catch (FormatException e) {
          assertEquals(1, e.getMessage().lines().count());
        }
      }
    }
  }

  @Test
  void anOutputIsTheTokenTable() throws IOException {
    float[] tokens = new float[67 * 36];
    try (SafetensorsFile file = SafetensorsFile.open(RESOURCES.resolve("model/gpt2"))) {
      tokens = floats(file, "transformer.wte.weight");
    }
    long[] shape = {67, 36};
    Path path = gpt2().add("output.weight", shape, tokens).write(temporary.resolve("tied.gguf"));
    try (Device device = Device.cpu()) {
      ModelFiles.load(path, device, DType.F32).close();
    }
    tokens[tokens.length - 1] += 1;
    float[] other = tokens;
    assertRefused("an output of its own", writer -> writer.add("output.weight", shape, other));
  }

  private void assertRefused(String words, UnaryOperator<GgufWriter> change) throws IOException {
    Path path = change.apply(gpt2()).write(temporary.resolve("broken.gguf"));
    try (Device device = Device.cpu()) {
      String line =
          assertThrows(FormatException.class, () -> ModelFiles.loadAny(path, device, DType.F32))
              .getMessage();
      assertTrue(line.contains(words), line);
      assertEquals(1, line.lines().count());
    }
  }

  @Test
  void whatIsNoSuchModelIsRefused() throws IOException {
    float[] few = new float[36];
    assertRefused("\"llama\" is not supp", w -> w.set("general.architecture", "llama"));
    assertRefused("architecture \"\"", w -> w.unset("general.architecture"));
    assertRefused("one part of several", w -> w.set("split.count", 2));
    assertRefused("lacks setting \"gpt2.block_count\"", w -> w.unset("gpt2.block_count"));
    assertRefused("is no whole number", w -> w.set("gpt2.block_count", "2"));
    assertRefused("n_layer 0", w -> w.set("gpt2.block_count", 0));
    assertRefused("beyond 32 bits", w -> w.set("gpt2.block_count", -1));
    assertRefused("does not divide", w -> w.set("gpt2.attention.head_count", 5));
    assertRefused("epsilon", w -> w.set("gpt2.attention.layer_norm_epsilon", Float.NaN));
    assertRefused("missing blk.2.attn_norm.weight", w -> w.set("gpt2.block_count", 3));
    assertRefused("unexpected \"blk.1.", w -> w.set("gpt2.block_count", 1));
    assertRefused("is not [24, 36]", w -> w.set("gpt2.context_length", 24));
    assertRefused("is not [2097152, 36]", w -> w.set("gpt2.feed_forward_length", 1 << 21));
    assertRefused("no tensor \"token_embd.weight\"", w -> w.remove("token_embd.weight"));
    assertRefused("missing output_norm.bias", w -> w.remove("output_norm.bias"));
    assertRefused("is not [36]", w -> w.add("output_norm.bias", new long[] {1, 36}, few));
    assertRefused("unexpected \"rope\"", w -> w.add("rope", new long[] {36}, few));
  }
}
