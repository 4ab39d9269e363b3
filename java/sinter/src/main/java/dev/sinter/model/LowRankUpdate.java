package dev.sinter.model;

/**
 * What a low-rank adapter adds to the product of one weight (Hu et al. 2022, eq. 3), on the host:
 * {@code y[first + j] += sum over k of (x · a[k]) b[k, j]}. All that a method multiplies by, alpha
 * / r or AdaLoRA's E, is in {@code b}. The arrays are not copied.
 *
 * @param weight name of the parameter, for example {@code h.0.attn.c_attn.weight}
 * @param first the first of the weight's outputs that it adds to
 * @param columns how many outputs it adds to
 * @param rank 1 or more
 * @param a [rank, in]
 * @param b [rank, columns]
 */
public record LowRankUpdate(String weight, int first, int columns, int rank, float[] a, float[] b) {
  /**
   * Checks that the sizes go together, and that all numbers are finite.
   *
   * @throws IllegalArgumentException where they do not, or are not
   */
  public LowRankUpdate {
    if (rank < 1 || columns < 1 || first < 0) {
      throw new IllegalArgumentException(
          String.format(
              "%s: an update of rank %d to %d outputs from %d on; rank and outputs are 1 or more,"
                  + " the first is 0 or more",
              weight, rank, columns, first));
    }
    if (a.length == 0 || a.length % rank != 0 || b.length != (long) rank * columns) {
      throw new IllegalArgumentException(
          String.format(
              "%s: %d and %d numbers do not make an update of rank %d to %d outputs",
              weight, a.length, b.length, rank, columns));
    }
    checkFinite(weight, a);
    checkFinite(weight, b);
  }

  private static void checkFinite(String weight, float[] values) {
    for (float value : values) {
      if (!Float.isFinite(value)) {
        throw new IllegalArgumentException(weight + ": its update has a number that is not finite");
      }
    }
  }

  /** Inputs of the weight. */
  int in() {
    return a.length / rank;
  }
}
