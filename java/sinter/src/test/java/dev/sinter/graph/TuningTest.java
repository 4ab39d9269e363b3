package dev.sinter.graph;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.TrainingGraph;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.jar.JarOutputStream;
import java.util.zip.ZipEntry;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIf;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Tunings on the emulated GPU, with the cuBLASLt that stands in for NVIDIA's. What is fastest there
 * says nothing; that it is kept and used does.
 */
@EnabledIf("hasBackend")
class TuningTest {
  private static final GptConfig TINY = GptConfig.of(61, 16, 24, 1, 3);
  private static final Path EMULATION = Path.of(System.getProperty("sinter.emulation", "."));
  private static final Path BACKEND = EMULATION.resolve("libsinter_cuda_emulated.so");

  @TempDir Path folder;

  static boolean hasBackend() {
    return BACKEND.toFile().exists();
  }

  private final String folderBefore = System.getProperty(Tuning.FOLDER);

  @BeforeEach
  void takeTheEmulatedLibraries() {
    System.setProperty(CudaBackend.LIBRARY, BACKEND.toString());
    System.setProperty(CudaBackend.CUBLASLT, EMULATION.resolve("cublaslt").toString());
    System.setProperty(Tuning.FOLDER, folder.toString());
  }

  @AfterEach
  void giveThemBack() {
    System.clearProperty(CudaBackend.LIBRARY);
    System.clearProperty(CudaBackend.CUBLASLT);
    System.setProperty(Tuning.FOLDER, folderBefore);
  }

  /** The losses of a few steps on a device that is opened now. */
  private static float[] train(DType dtype) {
    try (Device device = Device.cuda(0);
        LanguageModel model = LanguageModel.create(TINY, device, dtype, 7);
        TrainingGraph graph = model.trainingGraph(3, 15, 1, Recompute.NONE, 5)) {
      int[] text = new Random(3).ints(46, 0, 61).toArray();
      float[] losses = new float[5];
      for (int step = 0; step < losses.length; step++) {
        graph.tokens().put(text, 0, 45);
        graph.targets().put(text, 1, 45);
        losses[step] = graph.run(step, false);
        model.parameters().gradientNorm();
        model
            .parameters()
            .update(new Parameters.AdamW(3e-3f, 0.9f, 0.99f, 1e-8f, 0.1f, 1), step + 1);
      }
      return losses;
    }
  }

  private static Tuning tune() throws IOException {
    try (Device device = Device.cuda(0);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7)) {
      return model.tune(3, 15, true, measured -> {});
    }
  }

  /** Keeps a plan of cuBLASLt, its last one, for every product of the training. */
  private static int takeCublasLt(DType dtype) throws IOException {
    try (Device device = Device.cuda(0);
        LanguageModel model = LanguageModel.create(TINY, device, dtype, 7);
        TrainingGraph graph = model.trainingGraph(3, 15, 1, Recompute.NONE, 5)) {
      assertTrue(CudaBackend.cublasLt(device) > 0);
      Map<Gemm, Long> last = new LinkedHashMap<>();
      for (Gemm product : graph.graph().products()) {
        long[] plans = product.plans(device);
        last.put(product, plans[plans.length - 1]);
      }
      Tuning.NONE.with(last).write(device);
      return last.size();
    }
  }

  private static int loaded() {
    try (Device device = Device.cuda(0)) {
      return device.tuning().size();
    }
  }

  private Path file() {
    return folder.resolve("emulated-gpu.json");
  }

  @Test
  void everyPlanIsMeasuredAndTheFastestKept() throws IOException {
    List<Tuner.Measured> all = new ArrayList<>();
    Tuning tuning;
    Set<Gemm> products;
    try (Device device = Device.cuda(0);
        LanguageModel model = LanguageModel.create(TINY, device, DType.BF16, 7)) {
      try (TrainingGraph graph = model.trainingGraph(3, 15, 1, Recompute.NONE, 0)) {
        products = graph.graph().products();
      }
      tuning = model.tune(3, 15, true, all::add);
      assertEquals(file(), Tuning.file(device));
      assertEquals(0, device.tuning().size(), "a device keeps to what it was opened with");
    }
    assertEquals(tuning.size(), all.size());
    for (Tuner.Measured measured : all) {
      assertTrue(measured.plans() > 2, measured.toString());
      assertTrue(measured.fastest() <= measured.seconds(), measured.toString());
      assertTrue(measured.fastest() > 0, measured.toString());
    }
    try (Device device = Device.cuda(0)) {
      assertEquals(tuning.size(), device.tuning().size());
      for (Gemm product : products) {
        assertEquals(tuning.plan(product), device.tuning().plan(product), product.toString());
      }
    }
    // Another model's products come beside them.
    assertTrue(tune().size() > tuning.size());
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aTuningIsUsedAndGivesTheSameBitsTwice(DType dtype) throws IOException {
    float[] untuned = train(dtype);
    assertEquals(takeCublasLt(dtype), loaded());
    float[] first = train(dtype);
    assertArrayEquals(first, train(dtype));
    if (dtype == DType.F32) { // bf16 hides in which order sums were taken
      assertFalse(Arrays.equals(untuned, first), "no plan of cuBLASLt was used");
    }
    assertArrayEquals(untuned, first, dtype == DType.F32 ? 1e-4f : 3e-2f);
    assertTrue(Files.deleteIfExists(file()));
    assertArrayEquals(untuned, train(dtype));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "{",
        "null",
        "[]",
        "{\"machine\": {}, \"plans\": {}}",
        "{\"machine\": {\"device\": \"Emulated GPU\"}, \"plans\": {\"a\": 1}}",
        "{\"plans\": 3}"
      })
  void aFileThatIsDamagedOrForeignIsNotUsed(String content) throws IOException {
    Files.writeString(file(), content);
    assertEquals(0, loaded());
  }

  @Test
  void aFileOfAnotherMachineOrWithOtherThanNumbersIsNotUsed() throws IOException {
    tune();
    String good = Files.readString(file());
    assertTrue(loaded() > 0);
    for (String name : List.of("Emulated GPU", "sm_90", "130100")) {
      assertTrue(good.contains(name), good);
      Files.writeString(file(), good.replace(name, name.equals("130100") ? "120600" : "other"));
      assertEquals(0, loaded(), name);
    }
    Files.writeString(file(), good.replaceFirst("\" : (\\d+)(,?\\s+\"\\d+x)", "\" : \"$1\"$2"));
    assertFalse(Files.readString(file()).equals(good));
    assertEquals(0, loaded());
  }

  @Test
  void aPlanThatIsNotForItsProductIsRefusedInOneLine() throws IOException {
    tune();
    Files.writeString(
        file(), Files.readString(file()).replaceAll("x24 (.*) : \\d+", "x24 $1 : 99"));
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> train(DType.F32));
    assertTrue(e.getMessage().contains("plan 99"), e.getMessage());
  }

  /** What runs in a JVM of its own: says which cuBLASLt a GPU gets. */
  static final class Asks {
    private Asks() {}

    public static void main(String[] arguments) {
      try (Device device = Device.cuda(0)) {
        System.out.println(CudaBackend.cublasLt(device));
      }
    }
  }

  @Test
  void cublasLtComesOutOfAJarOfTheCudaPresets() throws IOException, InterruptedException {
    Path jar = folder.resolve("cuda-linux-x86_64-redist.jar");
    try (JarOutputStream out = new JarOutputStream(Files.newOutputStream(jar))) {
      out.putNextEntry(new ZipEntry("org/bytedeco/cuda/linux-x86_64/libcublasLt.so.12"));
      Files.copy(EMULATION.resolve("cublaslt/libcublasLt.so.13"), out);
    }
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("cache"),
                "-D" + CudaBackend.LIBRARY + "=" + BACKEND,
                "-cp",
                jar + File.pathSeparator + System.getProperty("java.class.path"),
                Asks.class.getName())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    assertEquals("130100", output.strip());
  }

  @Test
  void aCpuHasNothingToTune() {
    try (Device cpu = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, cpu, DType.F32, 7)) {
      assertThrows(IllegalArgumentException.class, () -> model.tune(1, 8, false, measured -> {}));
      Gemm product = Gemm.plain(3, 5, 7, false, true, DType.F32, DType.F32);
      assertArrayEquals(new long[] {0}, product.plans(cpu));
      assertEquals("3x5x7 nt f32 to f32", product.toString());
      assertEquals(0, cpu.tuning().size());
    }
  }
}
