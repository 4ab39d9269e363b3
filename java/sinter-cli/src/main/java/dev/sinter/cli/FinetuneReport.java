package dev.sinter.cli;

import dev.sinter.evaluate.Entities;
import dev.sinter.finetune.Evaluation;
import dev.sinter.finetune.FineTuner;
import dev.sinter.finetune.Prediction;
import dev.sinter.finetune.Sample;
import dev.sinter.finetune.Task;
import dev.sinter.io.CsvLog;
import dev.sinter.report.RunRecord;
import dev.sinter.report.RunRecord.Better;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** What a fine-tuning leaves for reports. */
final class FinetuneReport {
  private static final int SHOWN = 20;

  private final Task task;
  private final FineTuner.Outcome outcome;
  private final RunRecord.Builder record;

  private FinetuneReport(Path folder, Task task, FineTuner.Outcome outcome) {
    this.task = task;
    this.outcome = outcome;
    record =
        RunRecord.of(
            folder.toAbsolutePath().normalize().getFileName().toString(),
            task.name(),
            Instant.now());
  }

  static void write(Path folder, Task task, FineTuner.Outcome outcome) throws IOException {
    FinetuneReport report = new FinetuneReport(folder, task, outcome);
    outcome.settings().forEach(report.record::setting);
    report.record.setting("trained parameters", outcome.trained());
    report.record.curves(CsvLog.read(folder.resolve("metrics.csv")));
    Evaluation best = outcome.best();
    if (best != null) {
      best.metrics()
          .forEach(
              (name, value) ->
                  report.record.metric(
                      name, value, Evaluation.lowerIsBetter(name) ? Better.LOWER : Better.HIGHER));
      report.record.metric("validation loss", best.loss(), Better.LOWER);
      report.predictions();
      report.samples();
    }
    report.record.build().write(folder);
  }

  /** Label by label, where a text, a word or a question has one. */
  private void predictions() {
    List<String> gold = new ArrayList<>();
    List<String> predicted = new ArrayList<>();
    List<Double> shares = new ArrayList<>();
    for (int i = 0; i < outcome.validation().size(); i++) {
      Sample sample = outcome.validation().get(i);
      Prediction prediction = outcome.predictions().get(i);
      boolean one = sample.gold().size() == 1 && prediction.values().size() == 1;
      if (task.name().equals("tag")) {
        shares.addAll(prediction.scores());
      } else if (one && Set.of("classify", "choice").contains(task.name())) {
        shares.add(Collections.max(prediction.scores()));
      } else {
        return;
      }
      gold.addAll(sample.gold());
      predicted.addAll(prediction.values());
    }
    record.predictions(gold, predicted, shares.stream().mapToDouble(share -> share).toArray());
    if (outcome.labels().stream().allMatch(label -> label.matches("O|[BI](-.+)?"))
        && task.name().equals("tag")) {
      record.entities(
          Entities.score(
              outcome.validation().stream().map(Sample::gold).toList(),
              outcome.predictions().stream().map(Prediction::values).toList(),
              Entities.Scheme.CONLL));
    }
  }

  /** Some that are wrong, then some that are right. */
  private void samples() {
    for (boolean wrong : new boolean[] {true, false}) {
      int shown = 0;
      for (int i = 0; i < outcome.validation().size() && shown < SHOWN; i++) {
        Sample sample = outcome.validation().get(i);
        List<String> values = outcome.predictions().get(i).values();
        String gold = String.join(" ", sample.gold());
        boolean many = Set.of("tag", "classify").contains(task.name());
        String told = many ? String.join(" ", values) : values.isEmpty() ? "" : values.get(0);
        if (!gold.equals(told) == wrong) {
          record.sample(task.shown(sample), gold, told, note(outcome.predictions().get(i)));
          shown++;
        }
      }
    }
  }

  private String note(Prediction prediction) {
    boolean shares = Set.of("classify", "choice", "qa").contains(task.name());
    return shares ? String.format(Locale.ROOT, "%.3f", Collections.max(prediction.scores())) : "";
  }
}
