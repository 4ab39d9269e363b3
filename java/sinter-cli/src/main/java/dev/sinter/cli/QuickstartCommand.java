package dev.sinter.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** From nothing to a completion. */
@Command(
    name = "quickstart",
    description =
        "Trains a small GPT on Java source code, then lets it write some: a few minutes on two"
            + " cores.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {"", "Example:", "  ./sinter quickstart"})
final class QuickstartCommand implements Callable<Integer> {
  private static final String PROMPT = "    /**\n     * Returns the";

  @Spec private CommandSpec spec;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      defaultValue = "sinter-model",
      description = "Where the model goes (default: ${DEFAULT-VALUE}).")
  private Path out;

  @Option(
      names = "--data",
      paramLabel = "PATH",
      required = true,
      description = "The corpus: the launcher names the sources that the build brought.")
  private Path data;

  @Option(
      names = "--steps",
      paramLabel = "N",
      defaultValue = "700",
      description = "Steps of training (default: ${DEFAULT-VALUE}).")
  private long steps;

  @Override
  public Integer call() {
    var log = spec.commandLine().getErr();
    boolean there = Files.exists(out.resolve(TrainCommand.CHECKPOINT));
    int code =
        there
            ? run("train", "--out", out.toString(), "--resume")
            : run(
                "train",
                "--data",
                data.toString(),
                "--out",
                out.toString(),
                "--tokenizer",
                "bpe:1024",
                "--layers",
                "4",
                "--heads",
                "4",
                "--width",
                "256",
                "--context",
                "128",
                "--batch",
                "16",
                "--steps",
                Long.toString(steps),
                "--lr",
                "2e-3",
                "--min-lr",
                "2e-4",
                "--warmup",
                "50",
                "--eval-every",
                "100",
                "--eval-batches",
                "8",
                "--checkpoint-every",
                "200");
    if (code != 0) {
      return code;
    }
    log.println();
    code =
        run(
            "generate",
            "--model",
            out.toString(),
            "--prompt",
            PROMPT,
            "--max-new-tokens",
            "110",
            "--temperature",
            "0.7",
            "--top-p",
            "0.9",
            "--seed",
            "1");
    log.println();
    log.println("more: ./sinter generate --model " + out + " --prompt 'public static'");
    return code;
  }

  private int run(String... arguments) {
    return Main.run(spec.commandLine().getOut(), spec.commandLine().getErr(), arguments);
  }
}
