package dev.sinter.report;

import java.util.Locale;

/** Numbers as people read them. */
final class Numbers {
  private static final String NONE = "–";

  private Numbers() {}

  /** Four digits that matter; a dash for what is no number. */
  static String show(double value) {
    double size = Math.abs(value);
    if (Double.isNaN(value)) {
      return NONE;
    }
    if (Double.isInfinite(value)) {
      return value > 0 ? "∞" : "−∞";
    }
    if (value == 0 || value == Math.rint(value) && size >= 10 && size < 1e6) {
      return minus(String.format(Locale.ROOT, "%.0f", value));
    }
    if (size < 1e-3 || size >= 1e6) {
      return minus(tidy(String.format(Locale.ROOT, "%.3e", value)));
    }
    return minus(
        String.format(Locale.ROOT, size < 10 ? "%.4f" : size < 1000 ? "%.2f" : "%.0f", value));
  }

  /** From -1 to 1, so that a column of them is aligned. */
  static String score(double value) {
    return minus(String.format(Locale.ROOT, "%.4f", value));
  }

  /** A difference, with its sign. */
  static String difference(double value) {
    return (value > 0 ? "+" : "") + show(value);
  }

  /** A number beside an axis: as short as it can be. */
  static String tick(double value) {
    double size = Math.abs(value);
    if (size != 0 && (size < 1e-3 || size >= 1e6)) {
      return minus(tidy(String.format(Locale.ROOT, "%.2e", value)));
    }
    String text = String.format(Locale.ROOT, "%.6f", value);
    return minus(text.replaceFirst("\\.?0+$", ""));
  }

  /** From 0 to 1, in percent. */
  static String percent(double share) {
    return String.format(Locale.ROOT, "%.1f%%", 100 * share);
  }

  /** 5.000e-05 becomes 5e-5. */
  private static String tidy(String scientific) {
    return scientific
        .replaceFirst("\\.?0*e", "e")
        .replaceFirst("e([+-])0*(\\d)", "e$1$2")
        .replace("e+", "e");
  }

  private static String minus(String text) {
    return text.replaceFirst("^-", "−");
  }
}
