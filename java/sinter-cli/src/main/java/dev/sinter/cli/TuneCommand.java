package dev.sinter.cli;

import dev.sinter.graph.Device;
import dev.sinter.graph.Tuner;
import dev.sinter.graph.Tuning;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Finds the fastest matrix products for a model on a GPU. */
@Command(
    name = "tune",
    description = {
      "Measures every way to compute a model's matrix products on a GPU, cuBLASLt's among them"
          + " where it is installed, and keeps the fastest in a file.",
      "All commands use that file from then on; results stay the same to the bit as long as it"
          + " does."
    },
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "The file is in the folder that SINTER_TUNING names, or in ~/.sinter/tuning; delete it to go"
          + " without.",
      "",
      "Examples:",
      "  ./sinter tune --preset gpt2 --batch 16 --dtype bf16",
      "  ./sinter tune --model model --batch 1 --inference"
    })
final class TuneCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @ArgGroup(multiplicity = "1")
  private Shape shape;

  private static final class Shape {
    @Option(
        names = "--model",
        paramLabel = "DIR",
        required = true,
        description = "Folder of the model.")
    private Path model;

    @Option(
        names = "--preset",
        paramLabel = "NAME",
        required = true,
        description = "Instead a shape by its name: openai-gpt, gpt2, gpt2-medium, gpt3-small …")
    private String preset;

    GptConfig config() throws IOException {
      if (preset == null) {
        return ModelFiles.readConfig(model);
      }
      return GptConfig.preset(preset.toLowerCase(Locale.ROOT));
    }
  }

  @Option(
      names = "--batch",
      paramLabel = "N",
      defaultValue = "12",
      description = "Sequences of a batch (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--context",
      paramLabel = "N",
      defaultValue = "0",
      description = "Tokens of a sequence; 0: the model's context (default: ${DEFAULT-VALUE}).")
  private int context;

  @Option(names = "--inference", description = "Tune prompts and decoding, not training.")
  private boolean inference;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    GptConfig config = shape.config();
    int length = context == 0 ? config.context() : context;
    if (batch < 1 || length < 1 || length > config.context()) {
      throw new IllegalArgumentException(
          "--batch: 1 or more; --context: 1 to " + config.context() + ", or 0");
    }
    PrintWriter out = spec.commandLine().getOut();
    GptConfig layer = config.withLayers(1); // which has the products of all
    try (Device where = device.open();
        LanguageModel model = LanguageModel.create(layer, where, dtype.get(), 1)) {
      Tuning tuning = model.tune(batch, length, !inference, measured -> print(out, measured));
      out.printf("%d products in %s%n", tuning.size(), Tuning.file(where));
    }
    return 0;
  }

  private static void print(PrintWriter out, Tuner.Measured measured) {
    out.printf(
        Locale.ROOT,
        "%-56s %10.1f → %8.1f µs, %.2fx, best of %d plans%n",
        measured.product(),
        measured.seconds() * 1e6,
        measured.fastest() * 1e6,
        measured.seconds() / measured.fastest(),
        measured.plans());
    out.flush();
  }
}
