package dev.sinter.cli;

import dev.sinter.graph.Device;
import dev.sinter.graph.Telemetry;
import dev.sinter.graph.Tuning;
import dev.sinter.io.GgufFile;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.TensorInfo;
import dev.sinter.model.GptConfig;
import dev.sinter.model.ModelFiles;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Says what is there. */
@Command(
    name = "info",
    description = "Shows version, device and memory; with a model, its parameters.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {"", "Examples:", "  ./sinter info", "  ./sinter info --model model"})
final class InfoCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(names = "--model", paramLabel = "DIR", description = "Folder of a model.")
  private Path model;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    try (Device where = device.open()) {
      Device.MemoryInfo memory = where.memory();
      out.printf("version   %s%n", Version.text());
      out.printf(
          "java      %s (%s)%n",
          System.getProperty("java.version"), System.getProperty("java.vendor"));
      out.printf("backend   %s (%s)%n", where.kind(), reason());
      out.printf("device    %s%n", where.name());
      out.printf("isa       %s%n", where.isa());
      out.printf("%s   %d%n", where.kind().equals("cpu") ? "threads" : "SMs    ", where.threads());
      out.printf(
          Locale.ROOT,
          "memory    %.1f GiB, %.1f GiB available%n",
          memory.total() / 0x1p30,
          memory.available() / 0x1p30);
      where.telemetry().ifPresent(gpu -> printTelemetry(gpu, out));
      if (!where.kind().equals("cpu")) {
        out.printf("tuning    %d products in %s%n", where.tuning().size(), Tuning.file(where));
      }
    }
    if (model != null) {
      printModel(out);
    }
    return 0;
  }

  private String reason() {
    return device.device.equals("auto") ? Device.whyAuto() : "--device " + device.device;
  }

  private static void printTelemetry(Telemetry gpu, PrintWriter out) {
    out.printf("driver    %s%n", gpu.driver());
    out.printf("clocks    %d MHz, memory %d MHz%n", gpu.megahertz(), gpu.memoryMegahertz());
    out.printf(
        Locale.ROOT,
        "state     %d%% busy, %.0f W, %d °C%n",
        gpu.utilization(),
        gpu.watts(),
        gpu.celsius());
  }

  private void printModel(PrintWriter out) throws IOException {
    String family = ModelFiles.readFamily(model);
    out.printf("%nmodel     %s", family);
    if (!family.equals("bert") && !family.equals("marian")) {
      GptConfig config = ModelFiles.readConfig(model);
      out.printf(
          Locale.ROOT,
          ": %d layers, width %d, %d heads, context %d, vocabulary %d%nparameters %,d",
          config.layers(),
          config.width(),
          config.heads(),
          config.context(),
          config.vocabulary(),
          config.parameters());
    }
    ModelFiles.readWeightFormat(model)
        .ifPresent(format -> out.printf("%nweights    packed, %s", format.text()));
    out.printf("%n%n");
    out.printf("%-44s %-6s %-16s %14s%n", "parameter", "dtype", "shape", "elements");
    if (GgufFile.isNamed(model)) {
      try (GgufFile file = GgufFile.open(model)) {
        for (String name : file.names()) {
          GgufFile.Tensor tensor = file.info(name);
          printTensor(out, name, tensor.type(), tensor.shape(), tensor.elements());
        }
      }
      return;
    }
    try (SafetensorsFile file = SafetensorsFile.open(model.resolve(ModelFiles.WEIGHTS))) {
      for (String name : file.names()) {
        TensorInfo tensor = file.info(name);
        printTensor(out, name, tensor.dtype(), tensor.shape(), tensor.elements());
      }
    }
  }

  private static void printTensor(
      PrintWriter out, String name, Enum<?> type, long[] shape, long elements) {
    out.printf(
        Locale.ROOT, "%-44s %-6s %-16s %,14d%n", name, type, Arrays.toString(shape), elements);
  }
}
