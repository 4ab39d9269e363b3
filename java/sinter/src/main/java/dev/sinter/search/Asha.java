package dev.sinter.search;

import java.util.ArrayList;
import java.util.List;

/**
 * Asynchronous successive halving (Li et al. 2020, "A system for massively parallel hyperparameter
 * tuning", algorithm 2): every trial is trained a little, and as soon as a rung has grown enough,
 * the best of it goes on to the next, which takes {@code reduction} times as long. Where there is
 * none to promote, a new trial begins: nobody waits for a rung to be full.
 *
 * <p>Rung k is at {@code minimum} times {@code reduction} to the k, and the last of them at {@code
 * maximum} itself.
 *
 * @param trials how many are drawn
 * @param minimum epochs or steps after which a trial is measured first
 * @param maximum epochs or steps of the whole training
 * @param reduction one of so many is promoted: the paper's eta, of which 3 and 4 are usual
 */
public record Asha(int trials, int minimum, int maximum, int reduction) implements Method {
  /** Checks the sizes, and that there are trials enough for one to reach the last rung. */
  public Asha {
    if (trials < 1 || minimum < 1 || maximum < minimum || reduction < 2) {
      throw new IllegalArgumentException(
          String.format(
              "trials %d, resources %d to %d, reduction %d; trials and resources 1 or more, the"
                  + " reduction 2 or more",
              trials, minimum, maximum, reduction));
    }
    long needed = (long) Math.pow(reduction, rungs(minimum, maximum, reduction).size() - 1);
    if (trials < needed) {
      throw new IllegalArgumentException(
          String.format(
              "of %d trials none would reach the last of the rungs %s; take %d trials or more, or a"
                  + " greater minimum",
              trials, rungs(minimum, maximum, reduction), needed));
    }
  }

  @Override
  public List<Integer> rungs() {
    return rungs(minimum, maximum, reduction);
  }

  private static List<Integer> rungs(int minimum, int maximum, int reduction) {
    List<Integer> rungs = new ArrayList<>();
    long resource = minimum;
    for (; resource * reduction <= maximum; resource *= reduction) {
      rungs.add((int) resource);
    }
    rungs.add(maximum);
    return List.copyOf(rungs);
  }
}
