package dev.sinter.search;

import java.util.List;

/** How many trials there are, and how far each is trained. */
public sealed interface Method permits RandomSearch, Asha {
  /**
   * Returns the number of trials.
   *
   * @return 1 or more
   */
  int trials();

  /**
   * Returns the resources at which a trial is measured, and stopped or promoted.
   *
   * @return epochs or steps in all, rising; the last is the whole training
   */
  List<Integer> rungs();

  /**
   * Returns the share of a rung that is promoted.
   *
   * @return one of so many
   */
  int reduction();
}
