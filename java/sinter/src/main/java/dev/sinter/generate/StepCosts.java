package dev.sinter.generate;

/** What a step costs by its rows, as measured lately: whether a proposal pays depends on it. */
final class StepCosts {
  /** Of a proposed token where nothing is known, as a part of a step. */
  private static final double UNKNOWN = 0.25;

  /** The first runs of a size trace its graph and record it. */
  private static final int WARM_UP = 2;

  private static final double WEIGHT = 0.25;
  private static final int EXACT = 32;

  private final double[] times = new double[EXACT + Integer.SIZE];
  private final int[] runs = new int[times.length];
  private double draft;

  private static int size(int rows) {
    return rows < EXACT ? rows : EXACT + Integer.SIZE - Integer.numberOfLeadingZeros(rows - 1) - 1;
  }

  /** Takes the time of a step that decoded, without any part of a prompt. */
  void step(int rows, long nanos) {
    int size = size(rows);
    if (++runs[size] > WARM_UP) {
      times[size] += (nanos - times[size]) * (runs[size] == WARM_UP + 1 ? 1 : WEIGHT);
    }
  }

  /** Takes the time in which a draft model proposed. */
  void draft(int tokens, long nanos) {
    double each = (double) nanos / tokens;
    draft += (each - draft) * (draft == 0 ? 1 : WEIGHT);
  }

  /** Whether it is known what a step costs without proposals. */
  boolean knows(int rows) {
    return runs[size(rows)] > WARM_UP;
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
    double without = times[size(sequences)];
    double verifying =
        knows(sequences + proposed)
            ? sequences * Math.max(0, times[size(sequences + proposed)] / without - 1) / proposed
            : UNKNOWN;
    return verifying + (drafts ? sequences * draft / without : 0);
  }
}
