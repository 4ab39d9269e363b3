package dev.sinter.generate;

/**
 * What a step costs by its rows, as measured lately: whether a proposal pays depends on it. What
 * disturbs a measurement makes it longer; so shorter ones count more.
 */
final class StepCosts {
  /** Of a proposed token where nothing is known, as a part of what a token costs without. */
  private static final double UNKNOWN = 0.25;

  /** The first runs of a size trace its graph and record it. */
  private static final int WARM_UP = 2;

  private static final double SHORTER = 0.5;
  private static final double LONGER = 0.1;
  private static final double FORGIVING = 0.99;
  private static final int MOST = 32;

  private final double[] times = new double[MOST + 1];
  private final int[] runs = new int[MOST + 1];
  private double draft;

  /** Takes the time of a step that decoded, without any part of a prompt. */
  void step(int rows, long nanos) {
    if (rows <= MOST && ++runs[rows] > WARM_UP) {
      times[rows] = runs[rows] == WARM_UP + 1 ? nanos : towards(times[rows], nanos);
    }
  }

  /** Takes the time in which a draft model proposed. */
  void draft(int tokens, long nanos) {
    double each = (double) nanos / tokens;
    draft = draft == 0 ? each : towards(draft, each);
  }

  private static double towards(double time, double latest) {
    return time + (latest - time) * (latest < time ? SHORTER : LONGER);
  }

  /** Whether it is known what a step costs without proposals; not with more than a few rows. */
  boolean knows(int rows) {
    return rows <= MOST && runs[rows] > WARM_UP;
  }

  /**
   * The cost of a proposed token, as a part of what a token costs without proposals.
   *
   * @param sequences that decode: all wait while one's proposal is made and verified
   * @param proposed tokens in the step
   * @param drafts whether a draft model makes them
   */
  double each(int sequences, int proposed, boolean drafts) {
    if (!knows(sequences)) {
      return UNKNOWN;
    }
    double without = times[sequences];
    int rows = nearest(sequences, sequences + proposed);
    double verifying =
        rows == sequences
            ? UNKNOWN
            : sequences * Math.max(0, times[rows] / without - 1) / (rows - sequences);
    return verifying + (drafts ? sequences * draft / without : 0);
  }

  /** Notes that a size was not taken for its cost: in time it is tried again. */
  void avoid(int rows) {
    if (knows(rows)) {
      times[rows] *= FORGIVING;
    }
  }

  /** The size nearest to the wanted one whose cost is known; the least itself where none is. */
  private int nearest(int least, int wanted) {
    int best = least;
    for (int rows = least + 1; rows <= MOST; rows++) {
      if (knows(rows) && (best == least || Math.abs(rows - wanted) < Math.abs(best - wanted))) {
        best = rows;
      }
    }
    return best;
  }
}
