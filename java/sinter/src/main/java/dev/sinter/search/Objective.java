package dev.sinter.search;

import java.io.IOException;

/** Trains trials. With several workers it is called from as many threads at once. */
@FunctionalInterface
public interface Objective {
  /**
   * Trains a trial further and measures it.
   *
   * <p>After a kill it is called once more as it was: what the killed call had written, beyond the
   * state of {@code from}, does not count.
   *
   * @param trial whose options to train with
   * @param from epochs or steps that earlier calls have trained it for; 0: it is new
   * @param to epochs or steps that it has been trained for afterwards, in all
   * @return the metric; NaN where training failed because of the options, as where it diverged
   * @throws IOException where the search cannot go on
   */
  double run(Trial trial, int from, int to) throws IOException;
}
