package dev.sinter.cli;

import dev.sinter.align.AlignmentFiles;
import dev.sinter.align.Chat;
import dev.sinter.align.Dpo;
import dev.sinter.align.Ranking;
import dev.sinter.graph.Device;
import dev.sinter.model.LanguageModel;
import dev.sinter.report.RunRecord;
import dev.sinter.report.RunRecord.Better;
import dev.sinter.train.Trainer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Trains a tuned model on preferences. */
@Command(
    name = "dpo",
    description = "Trains a tuned model on preferences directly, without a reward model.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "A line of the data is {\"prompt\": \"…\", \"chosen\": \"…\", \"rejected\": \"…\"}, or",
      "a ranking as for ./sinter reward, of which every pair counts. The model as it is",
      "now is the reference.",
      "",
      "Examples:",
      "  ./sinter dpo --model tuned --train pairs.jsonl --valid held.jsonl --out aligned"
    })
final class DpoCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Mixin private AlignmentOptions options;

  @Mixin private ExampleOptions examples;

  @Mixin private AdaptingOptions adapter;

  @Option(
      names = "--train",
      paramLabel = "FILE",
      required = true,
      description = "Preferences to learn from, JSON Lines.")
  private Path train;

  @Option(names = "--valid", paramLabel = "FILE", description = "Preferences to validate with.")
  private Path valid;

  @Option(
      names = "--beta",
      defaultValue = "0.1",
      description = "What it costs to leave the reference (default: ${DEFAULT-VALUE}).")
  private double beta;

  @Option(
      names = "--smoothing",
      defaultValue = "0",
      description = "Probability that a label is wrong (default: ${DEFAULT-VALUE}).")
  private double smoothing;

  @Option(
      names = "--epochs",
      defaultValue = "1",
      description = "How often each pair is seen (default: ${DEFAULT-VALUE}).")
  private double epochs;

  @Option(
      names = "--batch",
      defaultValue = "8",
      description = "Pairs of a step (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--lr",
      defaultValue = "1e-6",
      description = "First learning rate; it falls to a tenth (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Override
  public Integer call() throws IOException {
    options.checkOut();
    adapter.checkWithoutSteps();
    List<Ranking> rankings = AlignmentFiles.rankings(train);
    List<Ranking> held = valid == null ? List.of() : AlignmentFiles.rankings(valid);
    Chat chat = examples.chat(options.model);
    PrintWriter err = spec.commandLine().getErr();
    try (Device where = options.device.open();
        StartingModel start =
            adapter.begin(options.model, options.seed, where, options.dtype.get())) {
      LanguageModel model = start.model();
      int length = examples.length(model.config());
      Dpo dpo = new Dpo(model, chat, rankings, held, batch, length, beta, smoothing, options.seed);
      long steps = dpo.steps(epochs);
      err.printf(
          Locale.ROOT,
          "%,d pairs, %,d rankings too long; %,d steps%n",
          dpo.pairs(),
          dpo.tooLong(),
          steps);
      Files.createDirectories(options.out);
      try (TrainingLog log = new TrainingLog(err, model, options.out, 0, steps)) {
        dpo.run(AlignmentOptions.adamW(learningRate), steps, log::step);
        if (!held.isEmpty()) {
          log.evaluation(new Trainer.Evaluation(steps, dpo.evaluate().loss()));
        }
        log.endProgress();
        log.drawCurves(options.out.getFileName() + ": preferences");
      }
      start.save(chat, adapter.merges(), options.out);
      report(dpo, !held.isEmpty());
      err.println("model: " + options.out);
      return 0;
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private void report(Dpo dpo, boolean validated) throws IOException {
    RunRecord.Builder record = options.record(spec);
    if (validated) {
      Dpo.Result result = dpo.evaluate();
      spec.commandLine()
          .getOut()
          .printf(
              Locale.ROOT,
              "accuracy         %.4f%nmargin           %.4f%nvalidation loss  %.4f%n",
              result.accuracy(),
              result.margin(),
              result.loss());
      record
          .metric("accuracy", result.accuracy(), Better.HIGHER)
          .metric("margin", result.margin(), Better.HIGHER)
          .metric("validation loss", result.loss(), Better.LOWER);
    }
    record.build().write(options.out);
  }
}
