package dev.sinter.cli;

import dev.sinter.graph.PeakRate;
import dev.sinter.io.CsvLog;
import dev.sinter.io.EventFile;
import dev.sinter.model.Model;
import dev.sinter.train.Step;
import dev.sinter.train.Trainer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Locale;
import me.tongfei.progressbar.ProgressBar;

/**
 * What a training shows and writes: a progress bar or plain lines, metrics.csv, TensorBoard events,
 * curves.
 */
final class TrainingLog implements AutoCloseable {
  private static final String HEADER =
      "step,train_loss,validation_loss,learning_rate,gradient_norm,tokens_per_second";

  private final PrintWriter err;
  private final long steps;
  private final Path folder;
  private final CsvLog csv;
  private final EventFile events;
  private final PeakRate peak;
  private final ProgressBar bar;
  private double smoothedRate;
  private double lastLoss = Double.NaN;
  private double lastValidation = Double.NaN;
  private double flopsOfToken;
  private long lastLine;

  TrainingLog(PrintWriter err, Model model, Path folder, long done, long steps) throws IOException {
    peak = model.device().peak(model.weights().dtype());
    this.err = err;
    this.steps = steps;
    this.folder = folder;
    csv = CsvLog.open(folder.resolve("metrics.csv"), HEADER, done);
    events = EventFile.create(folder, System.currentTimeMillis());
    lastLine = done;
    err.printf("MFU is of %s%n", peak);
    bar = Terminal.isInteractive() ? Terminal.bar("training", done, steps) : null;
  }

  void step(Step step) {
    lastLoss = step.loss();
    flopsOfToken = step.flops() / step.tokens();
    smoothedRate =
        smoothedRate == 0
            ? step.tokensPerSecond()
            : 0.95 * smoothedRate + 0.05 * step.tokensPerSecond();
    try {
      csv.append(
          step.number(),
          step.loss(),
          Double.NaN,
          step.learningRate(),
          step.gradientNorm(),
          Math.rint(step.tokensPerSecond()));
      long now = System.currentTimeMillis();
      events.scalar("train/loss", step.number(), step.loss(), now);
      events.scalar("train/learning_rate", step.number(), step.learningRate(), now);
      events.scalar("train/gradient_norm", step.number(), step.gradientNorm(), now);
      events.scalar("train/tokens_per_second", step.number(), step.tokensPerSecond(), now);
      events.scalar("train/mfu", step.number(), peak.share(step.flopsPerSecond()), now);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    if (bar != null) {
      bar.stepTo(step.number());
      bar.setExtraMessage(status());
    } else if (step.number() - lastLine >= Math.max(1, steps / 20) || step.number() == steps) {
      lastLine = step.number();
      err.printf(Locale.ROOT, "step %d/%d  %s%s%n", step.number(), steps, status(), left(step));
    }
  }

  private String status() {
    return String.format(
        Locale.ROOT,
        "loss %.3f%s  %,.0f tok/s  MFU %.1f%%",
        lastLoss,
        Double.isNaN(lastValidation)
            ? ""
            : String.format(Locale.ROOT, "  val %.3f", lastValidation),
        smoothedRate,
        100 * peak.share(smoothedRate * flopsOfToken));
  }

  private String left(Step step) {
    double seconds = (steps - step.number()) * step.tokens() / smoothedRate;
    return String.format(Locale.ROOT, "  %.0f s left", seconds);
  }

  void evaluation(Trainer.Evaluation evaluation) {
    lastValidation = evaluation.loss();
    try {
      csv.append(
          evaluation.step(), Double.NaN, evaluation.loss(), Double.NaN, Double.NaN, Double.NaN);
      events.scalar(
          "validation/loss", evaluation.step(), evaluation.loss(), System.currentTimeMillis());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    if (bar == null) {
      err.printf(
          Locale.ROOT,
          "step %d/%d  validation loss %.4f%n",
          evaluation.step(),
          steps,
          evaluation.loss());
    } else {
      bar.setExtraMessage(status());
    }
  }

  /**
   * Draws the curves of the whole training, as metrics.csv has them, and prints one as a sparkline.
   */
  void drawCurves(String title) throws IOException {
    CsvLog.Table table = CsvLog.read(folder.resolve("metrics.csv"));
    LossPlot.Curve train = LossPlot.Curve.of(table.column("train_loss"));
    if (train.losses().length > 0) {
      double[] losses = train.losses();
      err.printf(
          Locale.ROOT,
          "loss %.3f %s %.3f%n",
          losses[0],
          Sparkline.of(losses, 60),
          losses[losses.length - 1]);
    }
    Path file = folder.resolve("loss.png");
    try {
      LossPlot.draw(title, train, LossPlot.Curve.of(table.column("validation_loss")), file);
      err.println("loss curve: " + file);
    } catch (IOException e) {
      err.println("sinter: " + e.getMessage());
    }
  }

  /** Ends the progress bar, so that lines can follow. */
  void endProgress() {
    if (bar != null) {
      bar.close();
    }
  }

  @Override
  public void close() throws IOException {
    endProgress();
    csv.close();
    events.close();
  }
}
