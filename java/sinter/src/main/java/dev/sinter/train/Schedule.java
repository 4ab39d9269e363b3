package dev.sinter.train;

/** The learning rate of each step. */
@FunctionalInterface
public interface Schedule {
  /**
   * Returns a step's learning rate.
   *
   * @param step from 0
   * @param steps of the whole training
   * @return the rate
   */
  double at(long step, long steps);

  /**
   * The same rate always.
   *
   * @param rate of all steps
   * @return the schedule
   */
  static Schedule constant(double rate) {
    return (step, steps) -> rate;
  }

  /**
   * Half a cosine from one rate down to another (Loshchilov and Hutter 2017, eq. 5, without
   * restarts).
   *
   * @param peak at the start
   * @param floor at the end
   * @return the schedule
   */
  static Schedule cosine(double peak, double floor) {
    return (step, steps) -> {
      double progress = steps <= 0 ? 1 : Math.min(1, (double) step / steps);
      return floor + 0.5 * (peak - floor) * (1 + Math.cos(Math.PI * progress));
    };
  }

  /**
   * A straight line from one rate down to another, which the step after the last would have (Devlin
   * et al. 2019, appendix A.2).
   *
   * @param peak at the start
   * @param floor at the end
   * @return the schedule
   */
  static Schedule linear(double peak, double floor) {
    return (step, steps) -> {
      double progress = steps <= 0 ? 1 : Math.min(1, (double) step / steps);
      return peak + (floor - peak) * progress;
    };
  }

  /**
   * Rises linearly to this schedule's first rate, then follows it over the steps that are left.
   *
   * @param warmup number of steps that rise; step {@code i} has {@code (i + 1) / (warmup + 1)} of
   *     the rate
   * @return the schedule
   */
  default Schedule warmup(long warmup) {
    return (step, steps) ->
        step < warmup
            ? at(0, steps - warmup) * (step + 1) / (warmup + 1)
            : at(step - warmup, steps - warmup);
  }
}
