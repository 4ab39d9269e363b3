package dev.sinter.cli;

import dev.sinter.align.Ppo.Iteration;
import dev.sinter.io.CsvLog;
import dev.sinter.io.EventFile;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import me.tongfei.progressbar.ProgressBar;

/** What a PPO training shows and writes: a line or a bar, metrics.csv, TensorBoard events. */
final class PpoLog implements AutoCloseable {
  private final PrintWriter err;
  private final long iterations;
  private final CsvLog csv;
  private final EventFile events;
  private final ProgressBar bar;

  PpoLog(PrintWriter err, Path folder, long iterations) throws IOException {
    this.err = err;
    this.iterations = iterations;
    csv = CsvLog.open(folder.resolve("metrics.csv"), "step," + String.join(",", names()), 0);
    events = EventFile.create(folder, System.currentTimeMillis());
    bar = Terminal.isInteractive() ? Terminal.bar("ppo", 0, iterations) : null;
  }

  private static Iterable<String> names() {
    return values(new Iteration(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).keySet();
  }

  private static Map<String, Double> values(Iteration one) {
    Map<String, Double> values = new LinkedHashMap<>();
    values.put("score", one.score());
    values.put("reward", one.reward());
    values.put("kl", one.kl());
    values.put("beta", one.beta());
    values.put("entropy", one.entropy());
    values.put("length", one.length());
    values.put("ended", one.ended());
    values.put("policy_loss", one.policyLoss());
    values.put("value_loss", one.valueLoss());
    values.put("clipped", one.clipped());
    values.put("approximate_kl", one.approximateKl());
    values.put("text_loss", one.textLoss());
    values.put("held_text_loss", one.heldTextLoss());
    return values;
  }

  void iteration(Iteration one) {
    Map<String, Double> values = values(one);
    try {
      csv.append(one.number(), values.values().stream().mapToDouble(Double::doubleValue).toArray());
      for (Map.Entry<String, Double> value : values.entrySet()) {
        if (!value.getValue().isNaN()) {
          long now = System.currentTimeMillis();
          events.scalar("ppo/" + value.getKey(), one.number(), value.getValue(), now);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    String status =
        String.format(
            Locale.ROOT,
            "score %.3f  KL %.2f  beta %.3f  clipped %.0f%%  ended %.0f%%",
            one.score(),
            one.kl(),
            one.beta(),
            100 * one.clipped(),
            100 * one.ended());
    if (bar != null) {
      bar.stepTo(one.number());
      bar.setExtraMessage(status);
    } else {
      err.printf(
          Locale.ROOT,
          "iteration %d/%d  %s  %.1f s%n",
          one.number(),
          iterations,
          status,
          one.seconds());
    }
  }

  @Override
  public void close() throws IOException {
    if (bar != null) {
      bar.close();
    }
    csv.close();
    events.close();
  }
}
