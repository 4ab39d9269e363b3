package dev.sinter.search;

/**
 * A result of a trial.
 *
 * @param trial which
 * @param resource epochs or steps that it had been trained for
 * @param metric what was measured then; NaN: it failed
 * @param status how the trial stands
 */
public record Outcome(Trial trial, int resource, double metric, Status status) {
  /** How a trial stands. */
  public enum Status {
    /** Trained to the end. */
    FINISHED,
    /** At a rung before the last, from which it was not promoted, or not yet. */
    STOPPED,
    /** No number came out, and it is not trained further. */
    FAILED
  }

  Outcome withStatus(Status other) {
    return new Outcome(trial, resource, metric, other);
  }
}
