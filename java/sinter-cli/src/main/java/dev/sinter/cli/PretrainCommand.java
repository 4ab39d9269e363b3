package dev.sinter.cli;

import dev.sinter.data.PretrainingExamples;
import dev.sinter.data.TextFiles;
import dev.sinter.graph.Device;
import dev.sinter.model.BertConfig;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.text.SpecialToken;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.BertTrainer;
import dev.sinter.train.Step;
import dev.sinter.train.Trainer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Pre-trains a BERT. */
@Command(
    name = "pretrain",
    description =
        "Trains a BERT from scratch, on masked words and next sentences. Data: a sentence a line,"
            + " an empty line between documents.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Writes config.json, model.safetensors, tokenizer.json, metrics.csv and loss.png, and prints",
      "how many masked words of held-out documents the model tells right.",
      "",
      "Examples:",
      "  ./sinter pretrain --data wiki.txt --out bert --tokenizer wordpiece:8192",
      "  ./sinter pretrain --data wiki.txt --out bert --preset bert-base-uncased --length 512"
          + " --mask-words"
    })
final class PretrainCommand implements Callable<Integer> {
  private static final double MASKED = 0.15;

  @Spec private CommandSpec spec;

  @Mixin private TrainingOptions options;

  @Option(
      names = "--tokenizer",
      paramLabel = "KIND",
      defaultValue = "wordpiece:4096",
      description =
          "wordpiece:N, or BERT's tokenizer.json or vocab.txt (default: ${DEFAULT-VALUE}).")
  private String tokenizer;

  @Option(
      names = "--length",
      defaultValue = "128",
      description = "Most tokens of an example, the model's context (default: ${DEFAULT-VALUE}).")
  private int length;

  @Option(names = "--mask-words", description = "Mask whole words instead of tokens.")
  private boolean maskWords;

  @Option(names = "--no-next", description = "Masked words alone, no next sentences.")
  private boolean noNext;

  @Option(
      names = "--eval-batches",
      defaultValue = "20",
      description = "Batches of an evaluation (default: ${DEFAULT-VALUE}).")
  private int evalBatches;

  @Override
  public Integer call() throws IOException {
    options.prepare();
    if (evalBatches < 1) {
      throw new IllegalArgumentException("--eval-batches " + evalBatches + "; 1 or more");
    }
    String text = TextFiles.read(options.data);
    Tokenizer tokens = TokenizerKind.make(tokenizer, text);
    PretrainingExamples.Settings settings = settings(tokens);
    List<List<int[]>> documents = documents(text, tokens);
    int held = options.held(documents.size(), 2);
    int split = Math.max(0, documents.size() - held);
    PretrainingExamples train =
        new PretrainingExamples(documents.subList(0, split), settings, options.seed);
    PretrainingExamples valid =
        held == 0
            ? null
            : new PretrainingExamples(
                documents.subList(split, documents.size()), settings, options.seed + 1);
    Head head = noNext ? Head.masked() : Head.pretraining();
    try (Device where = options.device.open();
        TaskModel model =
            new TaskModel(config(tokens), head, where, options.dtype.get())
                .initialize(options.seed)) {
      tokens.save(options.out);
      spec.commandLine()
          .getErr()
          .printf(
              Locale.ROOT,
              "%,d parameters, %,d documents to train on, %,d to validate, vocabulary %,d%n",
              model.parameters().count(),
              split,
              held,
              tokens.size());
      run(model, train, valid, settings.mostMasked());
    }
    return 0;
  }

  private PretrainingExamples.Settings settings(Tokenizer tokens) {
    return new PretrainingExamples.Settings(
        length,
        Math.max(1, (int) Math.round(length * MASKED)),
        special(tokens, SpecialToken.CLASS),
        special(tokens, SpecialToken.SEPARATOR),
        special(tokens, SpecialToken.MASK),
        tokens.size(),
        maskWords ? id -> tokens.token(id).startsWith("##") : null);
  }

  private int special(Tokenizer tokens, SpecialToken role) {
    return tokens
        .special(role)
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "--tokenizer "
                        + tokenizer
                        + " has no token for "
                        + role.toString().toLowerCase(Locale.ROOT)
                        + "; take wordpiece:N or a BERT's"));
  }

  private static List<List<int[]>> documents(String text, Tokenizer tokens) {
    List<List<int[]>> documents = new ArrayList<>();
    List<String> sentences = new ArrayList<>();
    text.lines().forEach(sentences::add);
    List<int[]> document = new ArrayList<>();
    for (int[] sentence : tokens.encodeAll(sentences)) {
      if (sentence.length > 0) {
        document.add(sentence);
      } else if (!document.isEmpty()) {
        documents.add(document);
        document = new ArrayList<>();
      }
    }
    if (!document.isEmpty()) {
      documents.add(document);
    }
    return documents;
  }

  private BertConfig config(Tokenizer tokens) {
    int layers = options.layers;
    int heads = options.heads;
    int width = options.width;
    if (options.preset != null) {
      BertConfig named = BertConfig.preset(options.preset);
      layers = named.layers();
      heads = named.heads();
      width = named.width();
    }
    return BertConfig.of(tokens.size(), length, width, layers, heads)
        .withDropout(options.dropout)
        .withPadding(tokens.special(SpecialToken.PADDING).orElse(0));
  }

  private void run(
      TaskModel model, PretrainingExamples train, PretrainingExamples valid, int mostMasked)
      throws IOException {
    PrintWriter err = spec.commandLine().getErr();
    BertTrainer trainer =
        new BertTrainer(model, train, options.batch, length, mostMasked, options.seed);
    try (TrainingLog log = new TrainingLog(err, model, options.out, 0, options.steps)) {
      BertTrainer.Result[] last = {null};
      trainer.run(
          options.adamW(0.98),
          options.steps,
          step -> {
            log.step(step);
            if (options.evaluatesAt(step.number())) {
              last[0] = evaluate(model, trainer, valid, step, log);
            }
          });
      log.endProgress();
      log.drawCurves(options.out.getFileName() + ": " + options.steps + " steps");
      err.println("model: " + options.out);
      if (last[0] != null) {
        print(last[0]);
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private BertTrainer.Result evaluate(
      TaskModel model, BertTrainer trainer, PretrainingExamples valid, Step step, TrainingLog log) {
    try {
      ModelFiles.save(model, List.of(), options.out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    if (valid == null) {
      return null;
    }
    BertTrainer.Result result = trainer.evaluate(valid, evalBatches);
    log.evaluation(new Trainer.Evaluation(step.number(), result.loss()));
    return result;
  }

  private void print(BertTrainer.Result result) {
    PrintWriter out = spec.commandLine().getOut();
    out.printf(Locale.ROOT, "masked accuracy  %.4f%n", result.accuracy());
    if (!noNext) {
      out.printf(Locale.ROOT, "next sentence    %.4f%n", result.nextAccuracy());
    }
    out.printf(Locale.ROOT, "loss             %.4f%n", result.loss());
  }
}
