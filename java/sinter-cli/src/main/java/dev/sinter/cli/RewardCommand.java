package dev.sinter.cli;

import dev.sinter.align.AlignmentFiles;
import dev.sinter.align.Chat;
import dev.sinter.align.Conversation;
import dev.sinter.align.Ranking;
import dev.sinter.align.RewardModel;
import dev.sinter.align.RewardTrainer;
import dev.sinter.graph.Device;
import dev.sinter.report.RunRecord;
import dev.sinter.report.RunRecord.Better;
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

/** Trains a reward model. */
@Command(
    name = "reward",
    description =
        "Trains a model of how good an answer is, from rankings: the second step of GPT-3.5.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "A line of the data is {\"prompt\": \"…\", \"chosen\": \"…\", \"rejected\": \"…\"}, or",
      "{\"prompt\": \"…\", \"responses\": [\"…\", …]}, the best first, or with \"ranks\":",
      "[1, 1, 2, …], of which equal ones are tied. Rewards are shifted to a mean of 0.",
      "",
      "Examples:",
      "  ./sinter reward --model tuned --train rankings.jsonl --valid held.jsonl --out rewards"
    })
final class RewardCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Mixin private AlignmentOptions options;

  @Mixin private ExampleOptions examples;

  @Option(
      names = "--train",
      paramLabel = "FILE",
      required = true,
      description = "Rankings to learn from, JSON Lines.")
  private Path train;

  @Option(names = "--valid", paramLabel = "FILE", description = "Rankings to validate with.")
  private Path valid;

  @Option(
      names = "--demonstrations",
      paramLabel = "FILE",
      description =
          "Conversations whose answers shall score 0 on average (default: all ranked responses).")
  private Path demonstrations;

  @Option(
      names = "--epochs",
      defaultValue = "1",
      description = "How often each ranking is seen (default: ${DEFAULT-VALUE}).")
  private double epochs;

  @Option(
      names = "--batch",
      defaultValue = "8",
      description = "Prompts of a step, with all their responses (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--lr",
      defaultValue = "1e-5",
      description = "First learning rate; it falls to a tenth (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Override
  public Integer call() throws IOException {
    options.checkOut();
    List<Ranking> rankings = AlignmentFiles.rankings(train);
    List<Ranking> held = valid == null ? List.of() : AlignmentFiles.rankings(valid);
    List<Conversation> shown =
        demonstrations == null ? List.of() : AlignmentFiles.conversations(demonstrations);
    Chat chat = examples.chat(options.model);
    PrintWriter err = spec.commandLine().getErr();
    try (Device where = options.device.open();
        RewardModel reward =
            RewardModel.create(options.model, chat, where, options.dtype.get(), options.seed)) {
      int length = examples.length(reward.model().gptConfig());
      RewardTrainer trainer = new RewardTrainer(reward, rankings, batch, length, options.seed);
      long steps = trainer.steps(epochs);
      err.printf(
          Locale.ROOT,
          "%,d rankings, %,d too long; %,d steps%n",
          rankings.size() - trainer.tooLong(),
          trainer.tooLong(),
          steps);
      Files.createDirectories(options.out);
      try (TrainingLog log = new TrainingLog(err, reward.model(), options.out, 0, steps)) {
        trainer.run(AlignmentOptions.adamW(learningRate), steps, log::step);
        log.endProgress();
        log.drawCurves(options.out.getFileName() + ": reward model");
      }
      if (!shown.isEmpty()) {
        reward.center(shown);
      }
      reward.save(options.out);
      report(reward, held);
      err.println("model: " + options.out);
      return 0;
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private void report(RewardModel reward, List<Ranking> held) throws IOException {
    RunRecord.Builder record = options.record(spec);
    if (!held.isEmpty()) {
      RewardTrainer.Result result = RewardTrainer.evaluate(reward, held);
      spec.commandLine()
          .getOut()
          .printf(
              Locale.ROOT,
              "accuracy         %.4f  (%,d pairs)%nvalidation loss  %.4f%n",
              result.accuracy(),
              result.pairs(),
              result.loss());
      record
          .metric("accuracy", result.accuracy(), Better.HIGHER)
          .metric("validation loss", result.loss(), Better.LOWER);
      for (Ranking ranking : held.subList(0, Math.min(held.size(), 20))) {
        double[] scores = reward.score(ranking.prompt(), ranking.responses());
        for (int i = 0; i < scores.length; i++) {
          String note = String.format(Locale.ROOT, "reward %.2f", scores[i]);
          String asked = ranking.prompt().messages().get(0).content();
          record.sample(asked, "", ranking.responses().get(i), note);
        }
      }
    }
    record.build().write(options.out);
  }
}
