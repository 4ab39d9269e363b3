package dev.sinter.cli;

import dev.sinter.Gpt;
import dev.sinter.generate.Completion;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.Device;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Completes a text. */
@Command(
    name = "generate",
    description = "Completes a text with a model; the text streams as it comes.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Examples:",
      "  ./sinter generate --model model --prompt 'To be' --temperature 0.8 --top-p 0.9",
      "  echo 'public static' | ./sinter generate --model model --prompt - --count 3 --stop '}'"
    })
final class GenerateCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model.")
  private Path model;

  @Option(
      names = "--prompt",
      paramLabel = "TEXT",
      required = true,
      description = "What to complete; -: read it from standard input.")
  private String prompt;

  @Option(
      names = "--count",
      paramLabel = "N",
      defaultValue = "1",
      description = "Completions, each of the next seed (default: ${DEFAULT-VALUE}).")
  private int count;

  @Mixin private SamplingOptions sampling;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    if (count < 1) {
      throw new IllegalArgumentException("--count " + count + "; 1 or more");
    }
    Sampling first = sampling.get();
    String text =
        prompt.equals("-")
            ? new String(System.in.readAllBytes(), StandardCharsets.UTF_8).stripTrailing()
            : prompt;
    PrintWriter out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    try (Device where = device.open();
        Gpt gpt = Gpt.load(model, where, dtype.get())) {
      for (int i = 0; i < count; i++) {
        if (count > 1) {
          err.println("--- " + (i + 1) + " of " + count);
        }
        out.print(text);
        out.flush();
        Completion completion =
            gpt.generate(
                text,
                first.withSeed(first.seed() + i),
                token -> {
                  out.print(token.text());
                  out.flush();
                });
        out.println();
        err.printf(
            Locale.ROOT,
            "[%d + %d tokens, first after %.0f ms, then %.1f tok/s, ended by %s]%n",
            completion.promptTokens(),
            completion.tokens().size(),
            completion.prefill().toNanos() / 1e6,
            completion.tokensPerSecond(),
            completion.finishReason().toString().toLowerCase(Locale.ROOT).replace('_', ' '));
      }
    }
    return 0;
  }
}
