package dev.sinter.cli;

import dev.sinter.align.AlignmentFiles;
import dev.sinter.align.Conversation;
import dev.sinter.align.KlControl;
import dev.sinter.align.Ppo;
import dev.sinter.align.Ppo.Answer;
import dev.sinter.align.RewardModel;
import dev.sinter.data.TextFiles;
import dev.sinter.data.Tokens;
import dev.sinter.graph.Device;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
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

/** Trains a tuned model against a reward model. */
@Command(
    name = "ppo",
    description =
        "Trains a tuned model against a reward model by reinforcement: the third step of GPT-3.5.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "A line of the prompts is {\"prompt\": \"…\"} or {\"messages\": […]}. --text adds what the"
          + " model",
      "was pre-trained on to each step, so that it does not forget (PPO-ptx).",
      "",
      "Examples:",
      "  ./sinter ppo --model tuned --reward rewards --prompts prompts.jsonl --out aligned",
      "  ./sinter ppo --model tuned --reward rewards --prompts prompts.jsonl --out aligned --kl"
          + " adaptive --text corpus.txt"
    })
final class PpoCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Mixin private AlignmentOptions options;

  @Option(
      names = "--reward",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the reward model, whose template counts.")
  private Path reward;

  @Option(
      names = "--prompts",
      paramLabel = "FILE",
      required = true,
      description = "Prompts to answer, JSON Lines.")
  private Path prompts;

  @Option(
      names = "--valid",
      paramLabel = "FILE",
      description = "Prompts to be answered before and after the training.")
  private Path valid;

  @Option(
      names = "--kl",
      paramLabel = "BETA",
      defaultValue = "0.02",
      description =
          "What it costs to leave the tuned model: a number, or adaptive (default:"
              + " ${DEFAULT-VALUE}).")
  private String kl;

  @Option(
      names = "--kl-target",
      defaultValue = "6",
      description = "Divergence of an answer that adaptive aims at (default: ${DEFAULT-VALUE}).")
  private double klTarget;

  @Option(
      names = "--iterations",
      defaultValue = "100",
      description = "Rounds of answering and learning (default: ${DEFAULT-VALUE}).")
  private long iterations;

  @Option(
      names = "--batch",
      defaultValue = "64",
      description = "Answers of an iteration (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--minibatch",
      defaultValue = "16",
      description = "Answers of a step (default: ${DEFAULT-VALUE}).")
  private int minibatch;

  @Option(
      names = "--inner-epochs",
      defaultValue = "1",
      description = "How often each answer is learned from (default: ${DEFAULT-VALUE}).")
  private int innerEpochs;

  @Option(
      names = "--response",
      paramLabel = "N",
      defaultValue = "64",
      description = "Most tokens of an answer (default: ${DEFAULT-VALUE}).")
  private int response;

  @Option(
      names = "--temperature",
      defaultValue = "1",
      description = "Of answers and of all log-probabilities (default: ${DEFAULT-VALUE}).")
  private double temperature;

  @Option(
      names = "--missing-end",
      paramLabel = "SCORE",
      defaultValue = "-1",
      description = "Score of an answer that does not end (default: ${DEFAULT-VALUE}).")
  private double missingEnd;

  @Option(names = "--whiten-rewards", description = "Scale rewards to a variance of 1.")
  private boolean whitenRewards;

  @Option(
      names = "--lr",
      defaultValue = "1e-5",
      description = "Learning rate of the policy (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Option(
      names = "--value-lr",
      defaultValue = "9e-6",
      description = "Learning rate of the value model (default: ${DEFAULT-VALUE}).")
  private double valueRate;

  @Option(
      names = "--text",
      paramLabel = "PATH",
      description = "Pre-training text to go on learning: files or folders.")
  private List<Path> text = List.of();

  @Option(
      names = "--text-weight",
      defaultValue = "27.8",
      description = "Weight of that text's loss (default: ${DEFAULT-VALUE}).")
  private double textWeight;

  @Option(
      names = "--held-text",
      paramLabel = "PATH",
      description = "Text whose loss is measured after each iteration.")
  private List<Path> heldText = List.of();

  @Override
  public Integer call() throws IOException {
    options.checkOut();
    KlControl control = control();
    List<Conversation> asked = AlignmentFiles.prompts(prompts);
    List<Conversation> held = valid == null ? List.of() : AlignmentFiles.prompts(valid);
    try (Device where = options.device.open();
        LanguageModel tuned = ModelFiles.load(options.model, where, options.dtype.get());
        RewardModel rewards = RewardModel.load(reward, where, options.dtype.get());
        Ppo ppo = new Ppo(tuned, rewards, asked, response)) {
      ppo.batch(batch, minibatch, innerEpochs)
          .kl(control)
          .temperature(temperature)
          .missingEnd(missingEnd)
          .whitenRewards(whitenRewards)
          .optimizers(Ppo.adamW(learningRate), Ppo.adamW(valueRate))
          .iterations(iterations)
          .seed(options.seed);
      if (!text.isEmpty()) {
        ppo.pretraining(tokens(text, rewards), minibatch, textWeight);
      }
      if (!heldText.isEmpty()) {
        ppo.heldText(tokens(heldText, rewards));
      }
      PrintWriter err = spec.commandLine().getErr();
      err.printf(
          Locale.ROOT,
          "%,d prompts, %,d too long; %,d iterations of %,d answers%n",
          asked.size() - ppo.tooLong(),
          ppo.tooLong(),
          iterations,
          batch);
      List<Answer> before = ppo.answer(held, options.seed);
      Files.createDirectories(options.out);
      try (PpoLog log = new PpoLog(err, options.out, iterations)) {
        ppo.onIteration(log::iteration).run();
      }
      options.save(ppo.policy(), tuned.config(), rewards.chat());
      report(before, ppo.answer(held, options.seed));
      err.println("model: " + options.out);
      return 0;
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private KlControl control() {
    if (kl.equals("adaptive")) {
      return KlControl.adaptive(0.2, klTarget);
    }
    try {
      return KlControl.fixed(Double.parseDouble(kl));
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException("--kl " + kl + "; a number, or adaptive", e);
    }
  }

  private static Tokens tokens(List<Path> paths, RewardModel rewards) throws IOException {
    return Tokens.of(rewards.chat().tokenizer().encode(TextFiles.read(paths)));
  }

  private void report(List<Answer> before, List<Answer> after) throws IOException {
    RunRecord.Builder record = options.record(spec);
    if (!after.isEmpty()) {
      spec.commandLine()
          .getOut()
          .printf(
              Locale.ROOT,
              "reward before    %.4f%nreward after     %.4f%n",
              mean(before),
              mean(after));
      record
          .metric("reward", mean(after), Better.HIGHER)
          .metric("reward before", mean(before), Better.HIGHER);
      for (Answer answer : after) {
        int last = answer.prompt().messages().size() - 1;
        String note = String.format(Locale.ROOT, "reward %.2f", answer.reward());
        record.sample(answer.prompt().messages().get(last).content(), "", answer.text(), note);
      }
    }
    record.build().write(options.out);
  }

  private static double mean(List<Answer> answers) {
    return answers.stream().mapToDouble(Answer::reward).average().orElse(Double.NaN);
  }
}
