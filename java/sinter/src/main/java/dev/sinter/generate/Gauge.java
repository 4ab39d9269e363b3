package dev.sinter.generate;

/**
 * How many tokens a sequence proposes: about as many as were accepted lately, and none while what
 * is accepted does not pay for what is verified. A pause ends with a try, and each that fails makes
 * the next pause longer. Where it costs nothing to see what would have been proposed, a glance that
 * is right ends the pause too.
 */
final class Gauge {
  private static final double MEMORY = 0.9;
  private static final int SHORTEST_PAUSE = 4;
  private static final int LONGEST_PAUSE = 128;

  private final int most;
  private int length;
  private int pause;
  private int nextPause;
  private double proposed = 1; // sums that forget
  private double accepted;

  private Gauge(int most, int length, int pause, int nextPause, double accepted) {
    this.most = most;
    this.length = length;
    this.pause = pause;
    this.nextPause = nextPause;
    this.accepted = accepted;
  }

  /**
   * Of proposals that are free to look at: nothing is verified before one was right.
   *
   * @param most tokens of a proposal
   */
  static Gauge glancing(int most) {
    return new Gauge(most, 1, LONGEST_PAUSE, LONGEST_PAUSE, 0);
  }

  /**
   * Of proposals that cost something: they are given a chance.
   *
   * @param most tokens of a proposal
   */
  static Gauge trusting(int most) {
    return new Gauge(most, Math.min(most, 3), 0, SHORTEST_PAUSE, 1);
  }

  /** Of another sequence, which begins where this one stands. */
  Gauge copy() {
    Gauge copy = new Gauge(most, length, pause, nextPause, accepted);
    copy.proposed = proposed;
    return copy;
  }

  /** Tokens to propose now; to be asked once a step. */
  int next() {
    if (pause > 0) {
      pause--;
      return 0;
    }
    return length;
  }

  /** Whether what is accepted pays for proposals of that cost. */
  boolean pays(double cost) {
    return accepted >= cost * proposed;
  }

  /**
   * Takes the outcome of a proposal.
   *
   * @param tokens proposed, at least one
   * @param right how many of them were what the model chose
   * @param cost of a proposed token, as a part of what a token costs without
   * @param verified false: it was only compared with what the model chose
   */
  void record(int tokens, int right, double cost, boolean verified) {
    proposed = MEMORY * proposed + tokens;
    accepted = MEMORY * accepted + right;
    if (pays(cost)) {
      pause = 0;
      nextPause = SHORTEST_PAUSE;
      // One, three, seven: with the last known token the step has powers of two of rows.
      length = Math.min(most, right == tokens ? Math.max(length, 2 * tokens + 1) : right + 1);
    } else if (verified) {
      pause = nextPause;
      nextPause = Math.min(2 * nextPause, LONGEST_PAUSE);
      length = 1;
    }
  }
}
