package dev.sinter.report;

import dev.sinter.evaluate.Calibration;
import java.util.List;
import java.util.Locale;

/** How often predictions of a probability are right: a bar a bin, beside the diagonal. */
final class ReliabilityPlot {
  private static final int SIZE = 260;
  private static final int LEFT = 46;
  private static final int TOP = 8;
  private static final int FOOT = 44;

  private ReliabilityPlot() {}

  static void draw(Html html, Calibration calibration) {
    Axis x = Axis.of(0, 1, LEFT, LEFT + SIZE, 5);
    Axis y = Axis.of(0, 1, TOP + SIZE, TOP, 5);
    int bottom = TOP + SIZE + 8 + FOOT;
    html.open("figure", "class", "reliability");
    html.open(
        "svg",
        "viewBox",
        "0 0 " + (LEFT + SIZE + 12) + " " + (bottom + 40),
        "role",
        "img",
        "aria-label",
        "reliability diagram");
    for (double tick : x.ticks()) {
      String across = at(x.place(tick));
      String up = at(y.place(tick));
      html.empty("path", "class", "grid", "d", "M" + LEFT + " " + up + "h" + SIZE);
      html.leaf(
          "text", Numbers.tick(tick), "x", LEFT - 6, "y", at(y.place(tick) + 4), "class", "end");
      html.leaf("text", Numbers.tick(tick), "x", across, "y", bottom + 16, "class", "mid");
    }
    bins(html, calibration, x, y, bottom);
    html.empty(
        "path",
        "class",
        "diagonal",
        "d",
        "M" + LEFT + " " + (TOP + SIZE) + "L" + (LEFT + SIZE) + " " + TOP);
    html.empty("path", "class", "axis", "d", "M" + LEFT + " " + (TOP + SIZE) + "h" + SIZE);
    html.empty("path", "class", "axis", "d", "M" + LEFT + " " + bottom + "h" + SIZE);
    html.leaf("text", "probability", "x", LEFT + SIZE / 2, "y", bottom + 34, "class", "mid name");
    html.leaf(
        "text",
        "share that is right",
        "transform",
        "translate(12 " + (TOP + SIZE / 2) + ") rotate(-90)",
        "class",
        "mid name");
    html.close(2);
  }

  private static void bins(Html html, Calibration calibration, Axis x, Axis y, int bottom) {
    List<Calibration.Bin> bins = calibration.bins();
    long most = bins.stream().mapToLong(Calibration.Bin::count).max().orElse(0);
    for (int i = 0; i < bins.size(); i++) {
      Calibration.Bin bin = bins.get(i);
      if (bin.count() == 0) {
        continue;
      }
      double from = x.place((double) i / bins.size()) + 1;
      double width = x.place((i + 1.0) / bins.size()) - from;
      double right = y.place(bin.accuracy());
      double asked = y.place(bin.probability());
      double low = Math.max(right, asked);
      html.open("g");
      html.leaf(
          "title",
          String.format(
              Locale.ROOT,
              "%,d predictions, mean probability %s, %s right",
              bin.count(),
              Numbers.percent(bin.probability()),
              Numbers.percent(bin.accuracy())));
      rectangle(html, "bin", from, low, width, TOP + SIZE - low);
      rectangle(html, "gap", from, Math.min(right, asked), width, Math.abs(right - asked));
      html.empty("path", "class", "mark", "d", "M" + at(from) + " " + at(right) + "h" + at(width));
      double height = FOOT * (double) bin.count() / most;
      rectangle(html, "count", from, bottom - height, width, height);
      html.close();
    }
  }

  private static void rectangle(
      Html html, String style, double x, double y, double width, double height) {
    html.empty(
        "rect", "class", style, "x", at(x), "y", at(y), "width", at(width), "height", at(height));
  }

  private static String at(double place) {
    return String.format(Locale.ROOT, "%.1f", place);
  }
}
