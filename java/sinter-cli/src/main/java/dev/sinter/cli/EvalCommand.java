package dev.sinter.cli;

import dev.sinter.Gpt;
import dev.sinter.data.TextFiles;
import dev.sinter.data.Tokens;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.graph.Device;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Evaluates a model on a text. */
@Command(
    name = "eval",
    description = "Computes a model's loss and perplexity on a text.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {"", "Example:", "  ./sinter eval --model model --data valid.txt --stride 32"})
final class EvalCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model.")
  private Path model;

  @Option(
      names = "--data",
      paramLabel = "PATH",
      required = true,
      arity = "1..*",
      description = "Files, folders, or jars of sources.")
  private List<Path> data;

  @Option(
      names = "--stride",
      paramLabel = "N",
      defaultValue = "0",
      description =
          "Tokens from window to window: fewer give each token more context; 0: the context"
              + " (default: ${DEFAULT-VALUE}).")
  private int stride;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    String text = TextFiles.read(data);
    try (Device where = device.open();
        Gpt gpt = Gpt.load(model, where, dtype.get())) {
      Tokens tokens = Tokens.of(gpt.tokenizer().encode(text));
      int context = gpt.model().config().context();
      try (Perplexity perplexity =
          new Perplexity(gpt.model(), context, stride == 0 ? context : stride)) {
        Perplexity.Result result = perplexity.evaluate(tokens, 0, (windows, all) -> {});
        // The first token is given, not predicted, so its bytes do not count.
        long bytes =
            (long) text.getBytes(StandardCharsets.UTF_8).length
                - gpt.tokenizer().decode(tokens.get(0)).getBytes(StandardCharsets.UTF_8).length;
        spec.commandLine()
            .getOut()
            .printf(
                Locale.ROOT,
                "loss %.4f nats per token over %,d tokens%nperplexity %.4f per token, %.4f per"
                    + " byte%n",
                result.loss(),
                result.tokens(),
                result.perplexity(),
                Math.exp(result.totalLoss() / bytes));
      }
    }
    return 0;
  }
}
