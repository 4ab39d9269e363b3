package dev.sinter.data;

/**
 * The order in which training sees windows of tokens: a pure function of the seed and the number of
 * the sample, so that a resumed run needs to know its step alone. Windows start anywhere, each
 * start equally likely, with replacement.
 */
public final class Batches {
  private final Tokens tokens;
  private final int context;
  private final long seed;
  private final long starts;
  private final int[] window;

  /**
   * Draws windows.
   *
   * @param tokens to draw from
   * @param context tokens of a window; the targets are one further
   * @param seed equal seeds give equal windows
   * @throws IllegalArgumentException where not one window fits
   */
  public Batches(Tokens tokens, int context, long seed) {
    if (tokens.length() < context + 1L) {
      throw new IllegalArgumentException(
          "the text has "
              + tokens.length()
              + " tokens; a context of "
              + context
              + " needs at least "
              + (context + 1L)
              + ": take more text or a shorter context");
    }
    this.tokens = tokens;
    this.context = context;
    this.seed = seed;
    this.starts = tokens.length() - context;
    this.window = new int[context + 1];
  }

  /**
   * Returns where a sample starts.
   *
   * @param sample its number, from 0
   * @return index of the first token
   */
  public long start(long sample) {
    // The remainder of a 64-bit number favours some starts unless the few numbers past the last
    // multiple are drawn again.
    long limit = Long.MAX_VALUE - Long.MAX_VALUE % starts;
    for (long attempt = 0; ; attempt++) {
      long number = mix(mix(mix(seed) ^ sample) ^ attempt) >>> 1;
      if (number < limit) {
        return number % starts;
      }
    }
  }

  /**
   * Copies a sample.
   *
   * @param sample its number, from 0
   * @param inputs receives {@code context} tokens from its position on
   * @param targets receives the tokens that follow each of them
   */
  public void copy(long sample, java.nio.IntBuffer inputs, java.nio.IntBuffer targets) {
    tokens.copy(start(sample), window, 0, context + 1);
    inputs.put(window, 0, context);
    targets.put(window, 1, context);
  }

  /**
   * A bijection of 64-bit numbers that leaves no trace of their order (Steele et al. 2014,
   * SplitMix64).
   */
  private static long mix(long number) {
    long z = number + 0x9E3779B97F4A7C15L;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
