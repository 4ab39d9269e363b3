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

  /** Of a step without proposals: what a try may cost for each token that was missed. */
  private static final double TRY = 0.05;

  private static final double FORGIVING_TRY = 0.999;
  private static final int MOST = 32;

  private final double[] times = new double[MOST + 1];
  private final int[] runs = new int[MOST + 1];
  private double draft;
  private double catchUp; // of the draft model, a token

  /** Takes the time of a step that decoded, without any part of a prompt. */
  void step(int rows, long nanos) {
    if (rows <= MOST && ++runs[rows] > WARM_UP) {
      double time = (double) nanos;
      times[rows] = runs[rows] == WARM_UP + 1 ? time : towards(times[rows], time);
    }
  }

  /** Takes the time in which a draft model proposed. */
  void draft(int tokens, long nanos) {
    double each = (double) nanos / tokens;
    draft = draft == 0 ? each : towards(draft, each);
  }

  /** Takes the time in which a draft model mostly saw tokens that were there before. */
  void catchUp(int tokens, long nanos) {
    double each = (double) nanos / tokens;
    catchUp = catchUp == 0 ? each : towards(catchUp, each);
  }

  /** Whether a draft model may see what it has missed, only to try whether it is right again. */
  boolean allowsTry(int sequences) {
    if (!knows(sequences) || catchUp <= TRY * times[sequences]) {
      return true;
    }
    catchUp *= FORGIVING_TRY;
    return false;
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
