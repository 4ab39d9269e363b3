package dev.sinter.finetune;

import dev.sinter.io.CsvLog;
import dev.sinter.io.EventFile;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** What a run writes as it goes: metrics.csv and TensorBoard's events. */
final class RunLog implements AutoCloseable {
  private static final List<String> STEP =
      List.of("train_loss", "learning_rate", "gradient_norm", "tokens_per_second");

  private final CsvLog csv;
  private final EventFile events;
  private final List<String> metrics;

  RunLog(Path folder, List<String> metrics) throws IOException {
    this.metrics = metrics;
    StringBuilder header = new StringBuilder("step");
    STEP.forEach(name -> header.append(',').append(name));
    header.append(",validation_loss");
    metrics.forEach(name -> header.append(",validation_").append(name));
    csv = CsvLog.open(folder.resolve("metrics.csv"), header.toString(), 0);
    events = EventFile.create(folder, System.currentTimeMillis());
  }

  private double[] row() {
    double[] row = new double[STEP.size() + 1 + metrics.size()];
    Arrays.fill(row, Double.NaN);
    return row;
  }

  void step(FineTuner.Progress step) throws IOException {
    double[] row = row();
    row[0] = step.loss();
    row[1] = step.learningRate();
    row[2] = step.gradientNorm();
    row[3] = Math.rint(step.tokensPerSecond());
    csv.append(step.step(), row);
    long now = System.currentTimeMillis();
    for (int i = 0; i < STEP.size(); i++) {
      String name = i == 0 ? "train/loss" : "train/" + STEP.get(i);
      events.scalar(name, step.step(), row[i], now);
    }
  }

  void evaluation(Evaluation evaluation) throws IOException {
    double[] row = row();
    long now = System.currentTimeMillis();
    row[STEP.size()] = evaluation.loss();
    events.scalar("validation/loss", evaluation.step(), evaluation.loss(), now);
    for (Map.Entry<String, Double> metric : evaluation.metrics().entrySet()) {
      row[STEP.size() + 1 + metrics.indexOf(metric.getKey())] = metric.getValue();
      String name = "validation/" + metric.getKey();
      events.scalar(name, evaluation.step(), metric.getValue(), now);
    }
    csv.append(evaluation.step(), row);
  }

  @Override
  public void close() throws IOException {
    csv.close();
    events.close();
  }
}
