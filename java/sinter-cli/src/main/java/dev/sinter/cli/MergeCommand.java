package dev.sinter.cli;

import dev.sinter.finetune.Predictor;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.PeftFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Makes one model of a base and its adapter. */
@Command(
    name = "merge",
    description = "Writes a model with its adapter in it, whole, for any program to read.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "LoRA and AdaLoRA merge, from finetune or from PEFT; bottlenecks are no linear maps and do",
      "not. The base and the adapter stay as they are.",
      "",
      "Examples:",
      "  ./sinter merge --adapter sentiment --out whole",
      "  ./sinter merge --adapter style --model gpt2 --out whole"
    })
final class MergeCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      required = true,
      description = "The adapter's folder.")
  private Path adapter;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      description = "The model under it (default: where it was when the adapter was trained).")
  private Path model;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Where the whole model goes.")
  private Path out;

  @Override
  public Integer call() throws IOException {
    if (!Files.exists(adapter.resolve(PeftFiles.CONFIG))) {
      throw new IllegalArgumentException(
          adapter + ": holds no adapter; " + PeftFiles.CONFIG + " is not there");
    }
    try (Device device = Device.cpu();
        Predictor merged = Predictor.load(adapter, model, device, DType.F32)) {
      merged.save(out);
    }
    spec.commandLine().getErr().println("model: " + out);
    return 0;
  }
}
