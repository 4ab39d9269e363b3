package dev.sinter.cli;

import dev.sinter.finetune.Evaluation;
import dev.sinter.finetune.FineTuner;
import dev.sinter.finetune.Task;
import dev.sinter.graph.Device;
import dev.sinter.graph.DeviceMemoryException;
import dev.sinter.io.AtomicFiles;
import dev.sinter.report.RunRecord;
import dev.sinter.search.Goal;
import dev.sinter.search.Objective;
import dev.sinter.search.Outcome;
import dev.sinter.search.Standings;
import dev.sinter.search.Trial;
import dev.sinter.train.DivergedException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import me.tongfei.progressbar.ProgressBar;
import picocli.CommandLine;

/**
 * Trains the trials of a search as finetune does, each from the start: a run of more epochs has
 * another schedule of learning rates, so that no shorter one is the beginning of it. Of all models
 * only the best so far is kept.
 */
final class FinetuneTrials {
  /** The folder of the best model. */
  static final String BEST = "best";

  private static final String WORK = ".trial";
  private static final Set<String> RESERVED =
      Set.of("task", "model", "train", "valid", "out", "epochs", "device", "threads");

  private final PrintWriter err;
  private final String metric;
  private final Path out;
  private final long seed;
  private final Map<String, String> fixed;
  private Standings standings = new Standings(List.of(), List.of());

  /**
   * Prepares trials.
   *
   * @param metric one of the task's, or loss
   * @param seed of all trainings, but where the space has one
   * @param fixed options of finetune that all trials have
   */
  FinetuneTrials(PrintWriter err, String metric, Path out, long seed, Map<String, String> fixed) {
    this.err = err;
    this.metric = metric;
    this.out = out;
    this.seed = seed;
    this.fixed = fixed;
  }

  /** Where a trial's report is. */
  static Path folder(Path out, Trial trial, int epochs) {
    return out.resolve(String.format(Locale.ROOT, "trials/%03d-%d", trial.number(), epochs));
  }

  /**
   * Tries the options of all trials before any is trained.
   *
   * @throws IllegalArgumentException where finetune would refuse one
   */
  void check(List<Trial> trials, List<Integer> rungs) {
    for (Trial trial : trials) {
      for (int epochs : rungs) {
        tuner(trial, epochs);
      }
    }
  }

  private FineTuner tuner(Trial trial, int epochs) {
    List<String> arguments = new ArrayList<>();
    fixed.forEach((name, value) -> arguments.add("--" + name + "=" + value));
    arguments.add("--out=" + out.resolve(WORK));
    arguments.add("--epochs=" + epochs);
    trial
        .options()
        .forEach(
            (name, value) -> {
              if (RESERVED.contains(name)) {
                throw new IllegalArgumentException(
                    "--space: " + name + " is for the search to set; leave it out");
              }
              arguments.add("--" + name + "=" + value);
            });
    if (!trial.options().containsKey("seed")) {
      arguments.add("--seed=" + seed);
    }
    FinetuneCommand command = new FinetuneCommand();
    CommandLine line = new CommandLine(command).setCaseInsensitiveEnumValuesAllowed(true);
    try {
      line.parseArgs(arguments.toArray(String[]::new));
      return command.tuner();
    } catch (CommandLine.ParameterException | IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "--space: trial " + trial.number() + ": " + e.getMessage(), e);
    }
  }

  /** Hears of results, those that a log brought among them. */
  void heard(Standings now) {
    int before = standings.history().size();
    standings = now;
    now.history().subList(before, now.history().size()).forEach(this::show);
  }

  /** What was heard last. */
  Standings standings() {
    return standings;
  }

  private void show(Outcome outcome) {
    err.printf(
        Locale.ROOT,
        "trial %d  epochs %d  %s%s  %s%n",
        outcome.trial().number(),
        outcome.resource(),
        Double.isNaN(outcome.metric())
            ? "failed"
            : String.format(Locale.ROOT, "%s %.4f", metric, outcome.metric()),
        standings
            .best()
            .map(
                best ->
                    String.format(
                        Locale.ROOT,
                        "  (best %.4f, trial %d)",
                        best.metric(),
                        best.trial().number()))
            .orElse(""),
        SearchCommand.shown(outcome.trial()));
  }

  /** Trains on a device, which stays the caller's. */
  Objective on(Device device) {
    return (trial, from, epochs) -> {
      Path work = out.resolve(WORK);
      try {
        delete(work);
        double value = train(trial, epochs, device);
        // Before the result is in the log: a kill in between repeats the training, no more.
        if (isBest(value, epochs)) {
          AtomicFiles.folder(out.resolve(BEST), best -> move(work, best));
        }
        return value;
      } finally {
        delete(work);
      }
    };
  }

  /** The metric; NaN: training failed because of the options. */
  private double train(Trial trial, int epochs, Device device) throws IOException {
    try (TrialBar bar = new TrialBar(trial)) {
      FineTuner.Outcome outcome =
          tuner(trial, epochs)
              .device(device)
              .onStep(bar::show)
              .onEvaluation(this::checkMetric)
              .run();
      Path work = out.resolve(WORK);
      FinetuneReport.write(work, Task.named(fixed.get("task")), outcome);
      RunRecord.read(work).named("trial " + trial.number()).write(folder(out, trial, epochs));
      return value(outcome.best());
    } catch (DivergedException | DeviceMemoryException e) {
      err.println("sinter: trial " + trial.number() + ": " + e.getMessage());
      return Double.NaN;
    }
  }

  /** As the standings will say when they hear of it. */
  private boolean isBest(double value, int epochs) {
    if (Double.isNaN(value) || standings.best().isEmpty()) {
      return !Double.isNaN(value);
    }
    double best = standings.best().get().metric();
    boolean better = SearchCommand.goal(metric) == Goal.MAXIMIZE ? value > best : value < best;
    return better || value == best && epochs > standings.best().get().resource();
  }

  private void checkMetric(Evaluation evaluation) {
    if (!metric.equals("loss") && !evaluation.metrics().containsKey(metric)) {
      throw new IllegalArgumentException(
          "--metric "
              + metric
              + "; loss, "
              + String.join(", ", evaluation.metrics().keySet())
              + " are measured");
    }
  }

  private double value(Evaluation evaluation) {
    return metric.equals("loss") ? evaluation.loss() : evaluation.metrics().get(metric);
  }

  /** Shows to a person who watches how far a training is. */
  private static final class TrialBar implements AutoCloseable {
    private final Trial trial;
    private ProgressBar bar;

    TrialBar(Trial trial) {
      this.trial = trial;
    }

    void show(FineTuner.Progress step) {
      if (Terminal.isInteractive()) {
        bar = bar == null ? Terminal.bar("trial " + trial.number(), 0, step.steps()) : bar;
        bar.stepTo(step.step());
      }
    }

    @Override
    public void close() {
      if (bar != null) {
        bar.close();
      }
    }
  }

  private static void move(Path from, Path to) throws IOException {
    try (Stream<Path> files = Files.list(from)) {
      for (Path file : files.toList()) {
        Files.move(file, to.resolve(file.getFileName()));
      }
    }
  }

  private static void delete(Path folder) throws IOException {
    if (Files.exists(folder)) {
      try (Stream<Path> files = Files.walk(folder)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(file);
        }
      }
    }
  }
}
