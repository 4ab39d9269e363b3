package dev.sinter.graph;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/**
 * What a user reads where a GPU, its driver or the backend is missing or does not fit: each in a
 * JVM of its own, with the driver that tests/emulation builds.
 */
class NvidiaDriverTest {
  private static final String EMULATION = System.getProperty("sinter.emulation");

  /** What runs in the other JVM: opens the GPU and says what it is, or why not. */
  static final class Opens {
    private Opens() {}

    public static void main(String[] arguments) {
      try (Device device = Device.of(arguments[0], 0)) {
        System.out.println(device.kind() + " " + device.name() + " " + device.isa());
        System.out.println(device.telemetry());
      } catch (SinterException e) {
        System.out.println(e.getMessage());
      }
    }
  }

  private static List<String> open(
      String device, boolean hasDriver, boolean hasBackend, Map<String, String> environment)
      throws IOException, InterruptedException {
    List<String> command =
        new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin/java").toString()));
    command.add(
        "-Dorg.bytedeco.javacpp.cachedir=" + System.getProperty("org.bytedeco.javacpp.cachedir"));
    command.add("-Dorg.slf4j.simpleLogger.defaultLogLevel=off");
    if (hasDriver) {
      command.add("-Djna.library.path=" + EMULATION + "/driver");
    }
    if (hasBackend) {
      command.add("-D" + CudaBackend.LIBRARY + "=" + EMULATION + "/libsinter_cuda_emulated.so");
    }
    command.addAll(
        List.of("-cp", System.getProperty("java.class.path"), Opens.class.getName(), device));
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    return output.lines().toList();
  }

  private static void refuses(List<String> output, String... says) {
    assertEquals(1, output.size(), output.toString());
    for (String part : says) {
      assertTrue(output.get(0).contains(part), output.get(0));
    }
  }

  @Test
  void aGpuOpensAndTellsItsState() throws Exception {
    List<String> output = open("cuda", true, true, Map.of());
    assertEquals(
        List.of(
            "cuda:0 Emulated GPU sm_90",
            "Optional[Telemetry[driver=580.1, utilization=37, usedBytes=40, watts=123.5,"
                + " celsius=-1, megahertz=1755, memoryMegahertz=2619]]"),
        output);
  }

  @Test
  void autoTakesTheGpuThatIsThere() throws Exception {
    assertEquals("cuda:0 Emulated GPU sm_90", open("auto", true, true, Map.of()).get(0));
  }

  @Test
  void whatIsMissingIsNamedAndAutoRunsOnTheCpu() throws Exception {
    List<Map<String, String>> machines =
        List.of(
            Map.of("SN_EMULATION_DRIVER", "0"),
            Map.of("SN_EMULATION_DRIVER", "12080"),
            Map.of("SN_EMULATION_DEVICES", "0"),
            Map.of("SN_EMULATION_CAPABILITY", "7.5"));
    String[][] says = {
      {"no NVIDIA driver is installed"},
      {"the NVIDIA driver knows CUDA 12.8, this backend needs 13.0", "install a newer driver"},
      {"no NVIDIA GPU is there"},
      {"compute capability 7.5", "8.0 or newer is needed"},
    };
    for (int i = 0; i < machines.size(); i++) {
      refuses(open("cuda", true, true, machines.get(i)), says[i]);
      assertTrue(open("auto", true, true, machines.get(i)).get(0).startsWith("cpu "));
    }
  }

  @Test
  void aGpuThatIsNotThereIsNamed() throws Exception {
    refuses(open("cuda:1", true, true, Map.of()), "cuda:1: there is 1, cuda:0");
  }

  @Test
  void aDriverWithoutAGpuIsFoundBeforeAnythingOfCudaIsLoaded() throws Exception {
    refuses(open("cuda", true, false, Map.of("SN_DRIVER_DEVICES", "0")), "driver sees no GPU");
    refuses(open("cuda", true, false, Map.of("SN_DRIVER_STATUS", "100")), "driver sees no GPU");
    refuses(
        open("cuda", true, false, Map.of("SN_DRIVER_STATUS", "999")),
        "driver fails to start with error 999");
  }
}
