package dev.sinter.cli;

import dev.sinter.align.AlignmentFiles;
import dev.sinter.align.Chat;
import dev.sinter.align.Conversation;
import dev.sinter.align.SupervisedTuning;
import dev.sinter.graph.Device;
import dev.sinter.model.LanguageModel;
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

/** Tunes a GPT on conversations. */
@Command(
    name = "sft",
    description =
        "Tunes a GPT on conversations, of which it learns the answers: the first step of GPT-3.5.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "A line of the data is {\"messages\": [{\"role\": \"user\", \"content\": \"…\"}, …]},",
      "{\"prompt\": \"…\", \"response\": \"…\"}, or {\"instruction\": \"…\", \"input\": \"…\",",
      "\"output\": \"…\"}. Writes the model, chat.json, metrics.csv, loss.png, report.json.",
      "",
      "Examples:",
      "  ./sinter sft --model model --train chats.jsonl --valid held.jsonl --out tuned",
      "  ./sinter sft --model gpt2 --train alpaca.jsonl --out tuned --epochs 3 --lr 2e-5",
      "  ./sinter sft --model gpt2 --train alpaca.jsonl --out tuned --adapter lora --weights q4"
    })
final class SftCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Mixin private AlignmentOptions options;

  @Mixin private ExampleOptions examples;

  @Mixin private AdaptingOptions adapter;

  @Option(
      names = "--train",
      paramLabel = "FILE",
      required = true,
      description = "Conversations to learn from, JSON Lines.")
  private Path train;

  @Option(names = "--valid", paramLabel = "FILE", description = "Conversations to validate with.")
  private Path valid;

  @Option(
      names = "--epochs",
      defaultValue = "2",
      description = "How often each conversation is seen (default: ${DEFAULT-VALUE}).")
  private double epochs;

  @Option(
      names = "--batch",
      defaultValue = "8",
      description = "Rows of a step, each full of conversations (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--lr",
      defaultValue = "1e-5",
      description = "First learning rate; it falls to a tenth (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Option(names = "--eval-every", description = "Steps between validations (default: ten in all).")
  private Long evalEvery;

  @Override
  public Integer call() throws IOException {
    options.checkOut();
    adapter.checkWithoutSteps();
    List<Conversation> conversations = AlignmentFiles.conversations(train);
    List<Conversation> held = valid == null ? List.of() : AlignmentFiles.conversations(valid);
    Chat chat = examples.chat(options.model);
    PrintWriter err = spec.commandLine().getErr();
    try (Device where = options.device.open();
        StartingModel start =
            adapter.begin(options.model, options.seed, where, options.dtype.get())) {
      LanguageModel model = start.model();
      int length = examples.length(model.config());
      SupervisedTuning tuning =
          new SupervisedTuning(model, chat, conversations, batch, length, options.seed);
      long steps = tuning.steps(epochs);
      err.printf(
          Locale.ROOT,
          "%,d conversations in %,d rows, %,d too long; %,d steps%n",
          tuning.conversations(),
          tuning.rows(),
          tuning.tooLong(),
          steps);
      double loss = run(model, tuning, held, steps, err);
      start.save(chat, adapter.merges(), options.out);
      if (!held.isEmpty()) {
        spec.commandLine().getOut().printf(Locale.ROOT, "validation loss  %.4f%n", loss);
      }
      options
          .record(spec)
          .metric(held.isEmpty() ? "train loss" : "validation loss", loss, Better.LOWER)
          .build()
          .write(options.out);
      err.println("model: " + options.out);
      return 0;
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  /** Returns the last loss: of what is held out, or else of the last batch. */
  private double run(
      LanguageModel model,
      SupervisedTuning tuning,
      List<Conversation> held,
      long steps,
      PrintWriter err)
      throws IOException {
    long every = evalEvery == null ? Math.max(1, steps / 10) : evalEvery;
    if (every < 1) {
      throw new IllegalArgumentException("--eval-every " + every + "; 1 or more");
    }
    double[] last = {Double.NaN};
    Files.createDirectories(options.out);
    try (TrainingLog log = new TrainingLog(err, model, options.out, 0, steps)) {
      if (!held.isEmpty()) {
        log.evaluation(new Trainer.Evaluation(0, tuning.evaluate(held)));
      }
      tuning.run(
          AlignmentOptions.adamW(learningRate),
          steps,
          step -> {
            log.step(step);
            if (held.isEmpty()) {
              last[0] = step.loss();
            } else if (step.number() % every == 0 || step.number() == steps) {
              last[0] = tuning.evaluate(held);
              log.evaluation(new Trainer.Evaluation(step.number(), last[0]));
            }
          });
      log.endProgress();
      log.drawCurves(
          options.out.getFileName() + ": " + model.config().parameters() + " parameters");
    }
    return last[0];
  }
}
