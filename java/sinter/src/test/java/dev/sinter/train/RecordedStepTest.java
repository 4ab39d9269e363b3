package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.data.Tokens;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIf;
import org.junit.jupiter.api.io.TempDir;

/** What a GPU is asked for in a step of training, as the emulation of CUDA notes it. */
@EnabledIf("hasBackend")
class RecordedStepTest {
  private static final Path EMULATED =
      Path.of(System.getProperty("sinter.emulation", "."), "libsinter_cuda_emulated.so");

  @TempDir private Path folder;

  static boolean hasBackend() {
    return EMULATED.toFile().exists();
  }

  /**
   * What runs in a JVM of its own: a short training; a line of the log's length after each step.
   */
  static final class Trains {
    private Trains() {}

    public static void main(String[] arguments) {
      Path log = Path.of(System.getenv("SN_EMULATION_LOG"));
      try (Device device = Device.cuda(0);
          LanguageModel model =
              LanguageModel.create(GptConfig.of(61, 16, 24, 1, 3), device, DType.BF16, 7)) {
        Tokens tokens = Tokens.of(IntStream.range(0, 400).map(i -> i * 7 % 61).toArray());
        Trainer.of(model)
            .data(tokens, 2)
            .context(8)
            .accumulate(Integer.parseInt(arguments[0]))
            .steps(6)
            .onStep(step -> System.out.println(lines(log)))
            .run();
      }
    }

    private static int lines(Path log) {
      try {
        return Files.readAllLines(log).size();
      } catch (IOException e) {
        throw new AssertionError(e);
      }
    }
  }

  /** What the host asked for in each step. */
  private List<List<String>> steps(int accumulate) throws IOException, InterruptedException {
    Path log = folder.resolve("log " + accumulate);
    ProcessBuilder builder =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.bytedeco.javacpp.cachedir="
                    + System.getProperty("org.bytedeco.javacpp.cachedir"),
                "-Ddev.sinter.cuda.library=" + EMULATED,
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
                "-cp",
                System.getProperty("java.class.path"),
                Trains.class.getName(),
                Integer.toString(accumulate))
            .redirectErrorStream(true);
    builder.environment().put("SN_EMULATION_LOG", log.toString());
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    List<Integer> ends = output.lines().map(Integer::parseInt).collect(Collectors.toList());
    ends.add(0, 0);
    Collections.sort(ends);
    List<String> lines = Files.readAllLines(log);
    return IntStream.range(1, ends.size())
        .mapToObj(i -> lines.subList(ends.get(i - 1), ends.get(i)))
        .toList();
  }

  @Test
  void aStepIsOneGraphAndOneWait() throws Exception {
    List<List<String>> steps = steps(1);
    // The first runs as it is, the second is recorded.
    for (List<String> step : steps.subList(2, 6)) {
      assertEquals(List.of("graph", "synchronize"), step);
    }
    List<String> recorded =
        steps.get(1).stream().filter(line -> line.startsWith("recorded ")).toList();
    assertEquals(1, recorded.stream().filter(line -> line.contains(" updateTile ")).count());
    assertTrue(recorded.stream().anyMatch(line -> line.contains(" finishNorm ")));
    // Gradients are overwritten by what comes first, not zeroed.
    assertEquals(0, recorded.stream().filter("recorded set"::equals).count());
  }

  @Test
  void passesThatAddUpAreAGraphEach() throws Exception {
    for (List<String> step : steps(3).subList(2, 6)) {
      assertEquals(3, step.stream().filter("graph"::equals).count());
      assertEquals(3, step.stream().filter("synchronize"::equals).count());
      assertEquals(6, step.size());
    }
  }
}
