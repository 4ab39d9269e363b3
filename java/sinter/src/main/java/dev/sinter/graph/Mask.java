package dev.sinter.graph;

/**
 * Which keys a query sees.
 *
 * @param causal none after its own place
 * @param window of those only so many, its own included; 0: all
 * @param lengths int32 [batch], how many keys of each sequence are real, the others are padding;
 *     null: all
 * @param starts int32 [batch, queries], for each the first key that it sees: where sequences are
 *     packed one after the other, the start of its own; never less than that of the query before
 *     it. Null: zeros
 */
public record Mask(boolean causal, int window, Tensor lengths, Tensor starts) {
  /** Checks what goes together. */
  public Mask {
    if (window < 0) {
      throw new IllegalArgumentException("window " + window + "; 0 (all) or more");
    }
    if (lengths != null && (causal || window > 0)) {
      throw new IllegalArgumentException("padding is for attention without other masks");
    }
    if (starts != null && !causal) {
      throw new IllegalArgumentException("starts are for causal attention");
    }
  }

  /**
   * How many keys a query sees on average: of a causal triangle half of its square, of a band the
   * band less the half square that it lacks at the start. Padding and the sequences of a packed row
   * are not known here: they count as seen.
   */
  double seen(long keys) {
    if (!causal) {
      return keys;
    }
    double band = window == 0 ? keys : Math.min(window, keys);
    return band - band * band / (2 * keys);
  }

  /**
   * An encoder's: all that is no padding.
   *
   * @param lengths int32 [batch]; null: there is no padding
   * @return the mask
   */
  public static Mask padding(Tensor lengths) {
    return new Mask(false, 0, lengths, null);
  }
}
