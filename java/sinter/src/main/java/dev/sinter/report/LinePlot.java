package dev.sinter.report;

import java.util.List;
import java.util.Locale;

/** Curves over steps, as a drawing in the page. */
final class LinePlot {
  private static final int WIDTH = 540;
  private static final int HEIGHT = 270;
  private static final int LEFT = 58;
  private static final int RIGHT = 18;
  private static final int TOP = 10;
  private static final int BOTTOM = 40;

  /** A curve with more points may be noisy: then its running mean is drawn before it. */
  private static final int SMOOTHED = 100;

  /** How often a curve goes up and down its range that is noisy; a schedule does so twice. */
  private static final double NOISY = 4;

  /** So many noisy curves hide each other. */
  private static final int MANY = 4;

  /** Curves with fewer points show each. */
  private static final int MARKED = 60;

  private LinePlot() {}

  /**
   * A curve, and how it looks.
   *
   * @param label what the legend says
   * @param colour index of a colour
   * @param dash index of a line style
   */
  record Series(String label, int colour, int dash, List<RunRecord.Point> points) {
    private RunRecord.Point last() {
      return points.get(points.size() - 1);
    }

    private boolean isNoisy() {
      double[] range = range(List.of(this), false);
      double way = 0;
      for (int i = 1; i < points.size(); i++) {
        double change = Math.abs(points.get(i).value() - points.get(i - 1).value());
        way += isThere(change) ? change : 0;
      }
      return points.size() > SMOOTHED && way > NOISY * (range[1] - range[0]);
    }

    String style() {
      return "s" + colour % 8 + " d" + dash % 4;
    }
  }

  /** Draws curves that measure one thing; those without a point are left out. */
  static void draw(Html html, String measure, List<Series> all) {
    List<Series> series = all.stream().filter(one -> !one.points.isEmpty()).toList();
    double[] steps = range(series, true);
    double[] values = range(series, false);
    Axis x = Axis.of(steps[0], steps[1], LEFT, WIDTH - RIGHT, 6);
    double room = (values[1] - values[0]) * 0.04;
    Axis y = Axis.of(values[0] - room, values[1] + room, HEIGHT - BOTTOM, TOP, 5);
    html.open("figure").leaf("figcaption", measure, "dir", "auto");
    legend(html, series);
    html.open(
        "svg", "viewBox", "0 0 " + WIDTH + " " + HEIGHT, "role", "img", "aria-label", measure);
    axes(html, x, y);
    for (Series one : series) {
      if (one.isNoisy()) {
        if (series.size() <= MANY) {
          path(html, one.style() + " pale", one.points, x, y);
        }
        path(html, one.style(), smooth(one.points), x, y);
      } else {
        path(html, one.style(), one.points, x, y);
      }
      if (one.points.size() <= MARKED) {
        marks(html, one, x, y);
      }
    }
    html.close(2);
  }

  private static void legend(Html html, List<Series> series) {
    html.open("ul", "class", "legend");
    for (Series one : series) {
      html.open("li").open("svg", "viewBox", "0 0 24 8", "class", "swatch");
      html.empty("path", "d", "M0 4H24", "class", one.style()).close();
      html.leaf("bdi", one.label).text(one.label.isEmpty() ? "" : " ");
      html.leaf("b", Numbers.show(one.last().value())).close();
    }
    html.close();
  }

  private static void axes(Html html, Axis x, Axis y) {
    for (double tick : y.ticks()) {
      String place = at(y.place(tick));
      html.empty("path", "class", "grid", "d", "M" + LEFT + " " + place + "H" + (WIDTH - RIGHT));
      html.leaf(
          "text", Numbers.tick(tick), "x", LEFT - 6, "y", at(y.place(tick) + 4), "class", "end");
    }
    for (double tick : x.ticks()) {
      if (tick == Math.rint(tick)) {
        String place = at(x.place(tick));
        html.empty("path", "class", "axis", "d", "M" + place + " " + (HEIGHT - BOTTOM) + "v4");
        html.leaf(
            "text", Numbers.tick(tick), "x", place, "y", HEIGHT - BOTTOM + 17, "class", "mid");
      }
    }
    html.empty(
        "path", "class", "axis", "d", "M" + LEFT + " " + (HEIGHT - BOTTOM) + "H" + (WIDTH - RIGHT));
    html.leaf(
        "text", "step", "x", (LEFT + WIDTH - RIGHT) / 2, "y", HEIGHT - 5, "class", "mid name");
  }

  private static void marks(Html html, Series series, Axis x, Axis y) {
    for (RunRecord.Point point : series.points) {
      if (isThere(point.value())) {
        html.open(
            "circle",
            "class",
            series.style(),
            "cx",
            at(x.place((double) point.step())),
            "cy",
            at(y.place(point.value())),
            "r",
            2.5);
        html.leaf(
            "title",
            (series.label + " step ").strip()
                + " "
                + point.step()
                + ": "
                + Numbers.show(point.value()));
        html.close();
      }
    }
  }

  /** What is no number leaves a gap. */
  private static void path(Html html, String style, List<RunRecord.Point> points, Axis x, Axis y) {
    StringBuilder path = new StringBuilder();
    boolean drawing = false;
    for (RunRecord.Point point : points) {
      boolean isThere = isThere(point.value());
      if (isThere) {
        path.append(drawing ? 'L' : 'M').append(at(x.place((double) point.step()))).append(' ');
        path.append(at(y.place(point.value())));
      }
      drawing = isThere;
    }
    if (!path.isEmpty()) {
      html.empty("path", "class", style, "d", path);
    }
  }

  /** A running mean over a fiftieth of the curve: single batches are noisy. */
  private static List<RunRecord.Point> smooth(List<RunRecord.Point> points) {
    int window = points.size() / 50;
    RunRecord.Point[] means = new RunRecord.Point[points.size()];
    for (int i = 0; i < means.length; i++) {
      double sum = 0;
      int count = 0;
      for (int j = Math.max(0, i - window + 1); j <= i; j++) {
        if (isThere(points.get(j).value())) {
          sum += points.get(j).value();
          count++;
        }
      }
      means[i] = new RunRecord.Point(points.get(i).step(), count == 0 ? Double.NaN : sum / count);
    }
    return List.of(means);
  }

  /** Whether a value can be drawn: what has diverged cannot. */
  private static boolean isThere(double value) {
    return Math.abs(value) < 1e100;
  }

  private static double[] range(List<Series> series, boolean ofSteps) {
    double least = Double.POSITIVE_INFINITY;
    double most = Double.NEGATIVE_INFINITY;
    for (Series one : series) {
      for (RunRecord.Point point : one.points) {
        double value = ofSteps ? point.step() : point.value();
        if (isThere(value)) {
          least = Math.min(least, value);
          most = Math.max(most, value);
        }
      }
    }
    return least > most ? new double[] {0, 1} : new double[] {least, most};
  }

  private static String at(double place) {
    return String.format(Locale.ROOT, "%.1f", place);
  }
}
