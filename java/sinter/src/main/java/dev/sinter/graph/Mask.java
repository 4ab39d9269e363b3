package dev.sinter.graph;

/**
 * Which keys a query sees.
 *
 * @param causal none after its own place
 * @param window of those only so many, its own included; 0: all
 * @param lengths int32 [batch], how many keys of each sequence are real, the others are padding;
 *     null: all
 */
public record Mask(boolean causal, int window, Tensor lengths) {
  /** Checks the window. */
  public Mask {
    if (window < 0) {
      throw new IllegalArgumentException("window " + window + "; 0 (all) or more");
    }
    if (lengths != null && (causal || window > 0)) {
      throw new IllegalArgumentException("padding is for attention without other masks");
    }
  }

  /**
   * An encoder's: all that is no padding.
   *
   * @param lengths int32 [batch]; null: there is no padding
   * @return the mask
   */
  public static Mask padding(Tensor lengths) {
    return new Mask(false, 0, lengths);
  }
}
