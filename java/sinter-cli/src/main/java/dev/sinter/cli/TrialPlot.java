package dev.sinter.cli;

import dev.sinter.search.Goal;
import dev.sinter.search.Outcome;
import dev.sinter.search.Standings;
import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.lines.SeriesLines;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * Draws a search as a PNG: the metric of each result with the best so far, and beside it how each
 * trial's metric grew with what it was trained for.
 */
final class TrialPlot {
  private static final int WIDTH = 800;
  private static final int HEIGHT = 600;
  private static final Color BEST = new Color(214, 39, 40);
  private static final Color[] RUNGS = {
    new Color(158, 202, 225), new Color(66, 146, 198), new Color(8, 81, 156), new Color(8, 29, 88)
  };

  private TrialPlot() {}

  /**
   * Draws the results that are numbers; nothing where there is none.
   *
   * @throws IOException where the file cannot be written, or this Java has no fonts to draw with
   */
  static void draw(Standings standings, String metric, Goal goal, String unit, Path file)
      throws IOException {
    List<Outcome> history =
        standings.history().stream().filter(o -> !Double.isNaN(o.metric())).toList();
    if (!history.isEmpty()) {
      LossPlot.write(
          file,
          () -> {
            BufferedImage both = new BufferedImage(2 * WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
            Graphics2D graphics = both.createGraphics();
            graphics.drawImage(
                BitmapEncoder.getBufferedImage(results(history, metric, goal, unit)), 0, 0, null);
            graphics.drawImage(
                BitmapEncoder.getBufferedImage(trials(history, metric, unit)), WIDTH, 0, null);
            graphics.dispose();
            return both;
          });
    }
  }

  private static XYChart chart(String title, String x, String y) {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(title)
            .xAxisTitle(x)
            .yAxisTitle(y)
            .build();
    chart.getStyler().setChartBackgroundColor(Color.WHITE).setPlotBackgroundColor(Color.WHITE);
    chart.getStyler().setPlotGridLinesColor(new Color(230, 230, 230)).setMarkerSize(7);
    chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideS);
    chart.getStyler().setLegendLayout(Styler.LegendLayout.Horizontal);
    return chart;
  }

  private static XYChart results(List<Outcome> history, String metric, Goal goal, String unit) {
    XYChart chart = chart("results, and the best so far", "result", metric);
    Map<Integer, List<double[]>> rungs = new TreeMap<>();
    List<Integer> numbers = new ArrayList<>();
    List<Double> bests = new ArrayList<>();
    double best = Double.NaN;
    for (int i = 0; i < history.size(); i++) {
      double value = history.get(i).metric();
      rungs
          .computeIfAbsent(history.get(i).resource(), resource -> new ArrayList<>())
          .add(new double[] {i + 1.0, value});
      boolean better = goal == Goal.MAXIMIZE ? value > best : value < best;
      best = better || Double.isNaN(best) ? value : best;
      numbers.add(i + 1);
      bests.add(best);
    }
    XYSeries line = chart.addSeries("best so far", numbers, bests);
    line.setXYSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Step);
    line.setMarker(SeriesMarkers.NONE).setLineColor(BEST).setLineStyle(new BasicStroke(1.6f));
    int rung = 0;
    for (Map.Entry<Integer, List<double[]>> one : rungs.entrySet()) {
      XYSeries points =
          chart.addSeries(
              one.getKey() + " " + unit,
              one.getValue().stream().mapToDouble(point -> point[0]).toArray(),
              one.getValue().stream().mapToDouble(point -> point[1]).toArray());
      points.setMarker(SeriesMarkers.CIRCLE).setLineStyle(SeriesLines.NONE);
      points.setMarkerColor(RUNGS[Math.min(rung++, RUNGS.length - 1)]);
    }
    return chart;
  }

  private static XYChart trials(List<Outcome> history, String metric, String unit) {
    XYChart chart = chart("trials", unit, metric);
    chart.getStyler().setLegendVisible(false);
    Map<Integer, List<Outcome>> trials = new TreeMap<>();
    for (Outcome outcome : history) {
      trials.computeIfAbsent(outcome.trial().number(), n -> new ArrayList<>()).add(outcome);
    }
    trials.forEach(
        (number, outcomes) -> {
          XYSeries line =
              chart.addSeries(
                  Integer.toString(number),
                  outcomes.stream().mapToDouble(Outcome::resource).toArray(),
                  outcomes.stream().mapToDouble(Outcome::metric).toArray());
          line.setMarker(SeriesMarkers.CIRCLE).setLineStyle(new BasicStroke(1.2f));
        });
    return chart;
  }
}
