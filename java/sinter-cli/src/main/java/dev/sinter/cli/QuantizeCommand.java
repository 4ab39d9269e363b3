package dev.sinter.cli;

import dev.sinter.data.TextFiles;
import dev.sinter.data.Tokens;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.AtomicFiles;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import me.tongfei.progressbar.ProgressBar;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Packs a model for generating. */
@Command(
    name = "quantize",
    description = {
      "Packs a GPT's weights for generating, in as many bits as wanted, and shows what that costs"
          + " on a text.",
      "What it writes is for generate alone: keep the model that it was made of."
    },
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Bits a weight: f32 32, bf16 16, q8 8.5, q4 4.5; biases, norms and positions stay fp32.",
      "",
      "Examples:",
      "  ./sinter quantize --model model --to q8 --out model-q8 --text valid.txt",
      "  ./sinter quantize --model gpt2.gguf --to q4 --out gpt2-q4",
      "  ./sinter generate --model model-q8 --prompt 'To be'"
    })
final class QuantizeCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model, or a .gguf file.")
  private Path model;

  @Option(
      names = "--to",
      paramLabel = "FORMAT",
      required = true,
      description = "q8, q4, bf16 or f32.")
  private String to;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Folder that gets the packed model.")
  private Path out;

  @Option(
      names = "--text",
      paramLabel = "PATH",
      arity = "1..*",
      description = "Files or folders: the loss on their text, before and after, is printed.")
  private List<Path> text;

  @Option(names = "--overwrite", description = "Replace a packed model that is in --out.")
  private boolean overwrite;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    WeightFormat format = WeightFormat.of(to);
    checkTarget();
    ModelFiles.readWeightFormat(model)
        .ifPresent(
            packed -> {
              throw new IllegalArgumentException(
                  model
                      + ": is packed already, as "
                      + packed.text()
                      + "; name the model that it was made of");
            });
    Tokenizer tokenizer = tokenizer();
    Tokens tokens = text == null ? null : Tokens.of(tokenizer.encode(TextFiles.read(text)));
    PrintWriter print = spec.commandLine().getOut();
    try (Device where = device.open()) {
      Perplexity.Result before = tokens == null ? null : evaluate(where, tokens);
      try (FrozenModel frozen = FrozenModel.load(model, where, format)) {
        AtomicFiles.folder(
            out,
            folder -> {
              frozen.save(tokenizer == null ? OptionalInt.empty() : tokenizer.endOfText(), folder);
              if (tokenizer != null) {
                tokenizer.save(folder);
              }
            });
        long plain = Float.BYTES * frozen.config().parameters();
        long packed = Files.size(out.resolve(ModelFiles.WEIGHTS));
        print.printf(
            Locale.ROOT,
            "weights          %.1f MB as fp32, %.1f MB as %s: %.1f%%%n",
            plain / 1e6,
            packed / 1e6,
            format.text(),
            100.0 * packed / plain);
        if (tokens == null) {
          print.println("loss             not measured; name a text with --text");
        } else {
          print(print, before, evaluate(frozen, tokens), format);
        }
      }
    }
    return 0;
  }

  /** A folder is replaced as a whole: only what this command has made goes unseen. */
  private void checkTarget() throws IOException {
    if (!Files.exists(out)) {
      return;
    }
    if (!overwrite) {
      throw new IllegalArgumentException(
          out + ": is there already; name another folder, or replace it with --overwrite");
    }
    boolean packed =
        Files.exists(out.resolve(ModelFiles.CONFIG))
            && ModelFiles.readWeightFormat(out).isPresent();
    if (!packed) {
      throw new IllegalArgumentException(
          out + ": holds no packed model, and nothing else is replaced; name another folder");
    }
  }

  /** The model's; null where it has none and none is needed. */
  private Tokenizer tokenizer() throws IOException {
    try {
      return Tokenizer.load(model);
    } catch (NoSuchFileException e) {
      if (text != null) {
        throw e;
      }
      return null;
    }
  }

  private Perplexity.Result evaluate(Device where, Tokens tokens) throws IOException {
    try (FrozenModel full = FrozenModel.load(model, where, WeightFormat.F32)) {
      return evaluate(full, tokens);
    }
  }

  private static Perplexity.Result evaluate(FrozenModel frozen, Tokens tokens) {
    int context = frozen.config().context();
    try (Perplexity perplexity = new Perplexity(frozen, context, context);
        ProgressBar bar = EvalCommand.bar()) {
      return perplexity.evaluate(tokens, 0, EvalCommand.progress(bar));
    }
  }

  private static void print(
      PrintWriter print, Perplexity.Result before, Perplexity.Result after, WeightFormat format) {
    print.printf(
        Locale.ROOT,
        "loss             %.5f as fp32, %.5f as %s: %+.3f%%%n",
        before.loss(),
        after.loss(),
        format.text(),
        100 * (after.loss() / before.loss() - 1));
    print.printf(
        Locale.ROOT,
        "perplexity       %.4f as fp32, %.4f as %s: %+.3f%%%n",
        before.perplexity(),
        after.perplexity(),
        format.text(),
        100 * (after.perplexity() / before.perplexity() - 1));
    print.printf(Locale.ROOT, "tokens           %,d%n", after.tokens());
  }
}
