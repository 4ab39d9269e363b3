package dev.sinter.search;

import java.util.List;

/**
 * Random search (Bergstra and Bengio 2012): all trials are trained to the end.
 *
 * @param trials how many
 * @param resource epochs or steps of each
 */
public record RandomSearch(int trials, int resource) implements Method {
  /** Checks the sizes. */
  public RandomSearch {
    if (trials < 1 || resource < 1) {
      throw new IllegalArgumentException(
          "trials " + trials + ", resource " + resource + "; each 1 or more");
    }
  }

  @Override
  public List<Integer> rungs() {
    return List.of(resource);
  }

  /** Of no account where there is one rung. */
  @Override
  public int reduction() {
    return 2;
  }
}
