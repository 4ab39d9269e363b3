package dev.sinter.cli;

import dev.sinter.Seq2Seq;
import dev.sinter.data.TextFiles;
import dev.sinter.graph.Device;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.Step;
import dev.sinter.train.Trainer;
import dev.sinter.train.TranslationTrainer;
import dev.sinter.train.TranslationTrainer.Pair;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Trains an encoder-decoder. */
@Command(
    name = "train-pairs",
    description =
        "Trains an encoder-decoder from scratch. Data: a source, a tab and its target a line.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Writes config.json, model.safetensors, tokenizer.json, metrics.csv and loss.png, and prints",
      "how many held-out sources the model translates exactly right.",
      "",
      "Examples:",
      "  ./sinter train-pairs --data en-de.tsv --out en-de --tokenizer bpe:8192",
      "  ./sinter train-pairs --data en-de.tsv --out en-de --preset transformer-base --length 256"
    })
final class TrainPairsCommand implements Callable<Integer> {
  /** Translations take longer than losses: a sample of held-out pairs will do. */
  private static final int TRANSLATED = 100;

  @Spec private CommandSpec spec;

  @Mixin private TrainingOptions options;

  @Option(
      names = "--tokenizer",
      paramLabel = "KIND",
      defaultValue = "bpe:4096",
      description =
          "Of sources and targets: char, bpe:N, or a tokenizer.json (default: ${DEFAULT-VALUE}).")
  private String tokenizer;

  @Option(
      names = "--length",
      defaultValue = "128",
      description =
          "Most tokens of a source or a target; longer pairs are left out (default:"
              + " ${DEFAULT-VALUE}).")
  private int length;

  @Option(
      names = "--smoothing",
      defaultValue = "0.1",
      description = "The share of a target that all tokens have alike (default: ${DEFAULT-VALUE}).")
  private float smoothing;

  private record Line(String source, String target) {}

  @Override
  public Integer call() throws IOException {
    options.prepare();
    if (!(smoothing >= 0 && smoothing < 1)) {
      throw new IllegalArgumentException("--smoothing " + smoothing + "; 0 or more, less than 1");
    }
    String text = TextFiles.read(options.data);
    List<Line> lines = lines(text);
    Tokenizer tokens = TokenizerKind.make(tokenizer, text.replace('\t', '\n'));
    TransformerConfig config = config(tokens);
    List<Line> kept = new ArrayList<>();
    List<Pair> pairs = new ArrayList<>();
    for (Line line : lines) {
      Pair pair =
          new Pair(
              ended(tokens.encode(line.source), config), ended(tokens.encode(line.target), config));
      if (pair.source().length <= length && pair.target().length <= length) {
        pairs.add(pair);
        kept.add(line);
      }
    }
    int held = options.held(pairs.size(), 1);
    int split = pairs.size() - held;
    if (split < 1) {
      throw new IllegalArgumentException(
          pairs.size()
              + " pairs of at most "
              + length
              + " tokens; that is not enough to train on and to hold out");
    }
    try (Device where = options.device.open();
        Seq2Seq translator =
            Seq2Seq.of(
                new TransformerModel(config, where, options.dtype.get()).initialize(options.seed),
                tokens)) {
      PrintWriter err = spec.commandLine().getErr();
      err.printf(
          Locale.ROOT,
          "%,d parameters, %,d pairs to train on, %,d to validate, %,d too long, vocabulary %,d%n",
          translator.model().parameters().count(),
          split,
          held,
          lines.size() - pairs.size(),
          tokens.size());
      train(translator, pairs.subList(0, split), pairs.subList(split, pairs.size()));
      if (held > 0) {
        List<Line> sample = kept.subList(split, Math.min(kept.size(), split + TRANSLATED));
        spec.commandLine()
            .getOut()
            .printf(Locale.ROOT, "exact            %.4f%n", exact(translator, sample));
      }
    }
    return 0;
  }

  private static List<Line> lines(String text) {
    List<Line> lines = new ArrayList<>();
    int number = 0;
    for (String line : text.lines().toList()) {
      number++;
      String[] sides = line.split("\t", -1);
      if (sides.length != 2 || sides[0].isBlank() || sides[1].isBlank()) {
        throw new IllegalArgumentException(
            "--data: line " + number + " is not a source, a tab and its target");
      }
      lines.add(new Line(sides[0], sides[1]));
    }
    return lines;
  }

  private static int[] ended(int[] ids, TransformerConfig config) {
    int[] all = Arrays.copyOf(ids, ids.length + 1);
    all[ids.length] = config.end();
    return all;
  }

  /** Two rows more than the tokenizer has, at most: padding, and the end where it has none. */
  private TransformerConfig config(Tokenizer tokens) {
    int layers = options.layers;
    int heads = options.heads;
    int width = options.width;
    if (options.preset != null) {
      TransformerConfig named = TransformerConfig.preset(options.preset);
      layers = named.encoderLayers();
      heads = named.heads();
      width = named.width();
    }
    int end = tokens.endOfText().orElse(tokens.size());
    int padding = Math.max(tokens.size(), end + 1);
    return TransformerConfig.of(padding + 1, length, width, layers, heads)
        .withTokens(padding, end, padding)
        .withDropout(options.dropout);
  }

  private void train(Seq2Seq translator, List<Pair> pairs, List<Pair> held) throws IOException {
    PrintWriter err = spec.commandLine().getErr();
    TranslationTrainer trainer =
        new TranslationTrainer(translator.model(), pairs, options.batch, options.seed);
    try (TrainingLog log =
        new TrainingLog(err, translator.model(), options.out, 0, options.steps)) {
      trainer.run(
          options.adamW(0.98),
          smoothing,
          options.steps,
          step -> {
            log.step(step);
            if (options.evaluatesAt(step.number())) {
              evaluate(translator, trainer, held, step, log);
            }
          });
      log.endProgress();
      log.drawCurves(options.out.getFileName() + ": " + options.steps + " steps");
      err.println("model: " + options.out);
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private void evaluate(
      Seq2Seq translator, TranslationTrainer trainer, List<Pair> held, Step step, TrainingLog log) {
    try {
      translator.save(options.out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    if (!held.isEmpty()) {
      log.evaluation(new Trainer.Evaluation(step.number(), trainer.evaluate(held)));
    }
  }

  private static double exact(Seq2Seq translator, List<Line> lines) {
    List<String> sources = lines.stream().map(Line::source).toList();
    List<List<Seq2Seq.Translation>> found = translator.translate(sources, Seq2Seq.paperBeams());
    int right = 0;
    for (int i = 0; i < found.size(); i++) {
      right += found.get(i).get(0).text().equals(lines.get(i).target) ? 1 : 0;
    }
    return (double) right / found.size();
  }
}
