package dev.sinter.cli;

import dev.sinter.io.AtomicFiles;
import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.function.Supplier;
import javax.imageio.ImageIO;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Draws the loss curves of a training as a PNG. */
final class LossPlot {
  private LossPlot() {}

  /** Points of a curve. */
  record Curve(double[] steps, double[] losses) {
    /** From losses by step. */
    static Curve of(Map<Long, Double> losses) {
      return new Curve(
          losses.keySet().stream().mapToDouble(Long::doubleValue).toArray(),
          losses.values().stream().mapToDouble(Double::doubleValue).toArray());
    }
  }

  /**
   * Draws the curves.
   *
   * @param validation may be empty
   * @throws IOException where the file cannot be written, or this Java has no fonts to draw with
   */
  static void draw(String title, Curve train, Curve validation, Path file) throws IOException {
    write(file, () -> BitmapEncoder.getBufferedImage(chart(title, train, validation)));
  }

  /**
   * Writes an image as a PNG.
   *
   * @throws IOException where the file cannot be written, or this Java has no fonts to draw with
   */
  static void write(Path file, Supplier<BufferedImage> drawing) throws IOException {
    BufferedImage image;
    try {
      image = drawing.get();
    } catch (LinkageError | RuntimeException e) {
      // A headless JDK without fontconfig fails in many ways, all of them here.
      throw new IOException(
          file
              + ": cannot be drawn, this Java finds no fonts; install fontconfig and"
              + " fonts-dejavu-core",
          e);
    }
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    ImageIO.write(image, "png", png);
    AtomicFiles.write(file, png.toByteArray());
  }

  private static XYChart chart(String title, Curve train, Curve validation) {
    XYChart chart =
        new XYChartBuilder()
            .width(1000)
            .height(600)
            .title(title)
            .xAxisTitle("step")
            .yAxisTitle("loss (nats per token)")
            .build();
    Styler styler =
        chart
            .getStyler()
            .setLegendPosition(Styler.LegendPosition.InsideNE)
            .setChartBackgroundColor(Color.WHITE)
            .setPlotBackgroundColor(Color.WHITE);
    styler.setLegendBorderColor(Color.LIGHT_GRAY);
    chart.getStyler().setPlotGridLinesColor(new Color(230, 230, 230)).setMarkerSize(6);
    if (train.steps.length > 0) {
      XYSeries raw = chart.addSeries("train", train.steps, smooth(train.losses));
      raw.setMarker(SeriesMarkers.NONE).setLineColor(new Color(31, 119, 180));
      raw.setLineStyle(new BasicStroke(1.6f));
    }
    if (validation.steps.length > 0) {
      int best = 0;
      for (int i = 0; i < validation.losses.length; i++) {
        best = validation.losses[i] < validation.losses[best] ? i : best;
      }
      String name =
          String.format(
              Locale.ROOT,
              "validation (best %.3f at step %.0f)",
              validation.losses[best],
              validation.steps[best]);
      XYSeries series = chart.addSeries(name, validation.steps, validation.losses);
      series.setMarker(SeriesMarkers.CIRCLE).setLineColor(new Color(214, 39, 40));
      series.setMarkerColor(new Color(214, 39, 40)).setLineStyle(new BasicStroke(2f));
    }
    return chart;
  }

  /** A running mean over a fiftieth of the curve: single batches are noisy. */
  private static double[] smooth(double[] values) {
    int window = Math.max(1, values.length / 50);
    double[] means = new double[values.length];
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      sum += values[i] - (i >= window ? values[i - window] : 0);
      means[i] = sum / Math.min(i + 1, window);
    }
    return means;
  }
}
