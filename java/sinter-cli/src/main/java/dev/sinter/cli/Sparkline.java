package dev.sinter.cli;

/** A curve in one line of block characters. */
final class Sparkline {
  private static final String BLOCKS = "▁▂▃▄▅▆▇█";

  private Sparkline() {}

  /** Draws values, averaged over at most {@code width} columns; empty for no values. */
  static String of(double[] values, int width) {
    int columns = Math.min(width, values.length);
    double[] means = new double[columns];
    double least = Double.POSITIVE_INFINITY;
    double most = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < columns; i++) {
      int from = (int) ((long) i * values.length / columns);
      int to = (int) ((i + 1L) * values.length / columns);
      double sum = 0;
      for (int j = from; j < to; j++) {
        sum += values[j];
      }
      means[i] = sum / (to - from);
      least = Math.min(least, means[i]);
      most = Math.max(most, means[i]);
    }
    StringBuilder line = new StringBuilder();
    for (double mean : means) {
      int level =
          most > least
              ? (int) Math.round((mean - least) / (most - least) * (BLOCKS.length() - 1))
              : 0;
      line.append(BLOCKS.charAt(level));
    }
    return line.toString();
  }
}
