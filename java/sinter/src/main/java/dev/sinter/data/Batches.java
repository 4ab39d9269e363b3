package dev.sinter.data;

/**
 * The order in which training sees windows of tokens: a pure function of the seed and the number of
 * the sample, so that a resumed run needs to know its step alone.
 *
 * <p>An epoch cuts the text into windows side by side, from a place drawn anew for it, and takes
 * each of them once, in an order drawn anew: no token comes again before all others came, and over
 * the epochs each start is equally likely.
 */
public final class Batches {
  private final Tokens tokens;
  private final int context;
  private final long seed;
  private final long starts;
  private final long windows;
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
    this.windows = Math.max(1, starts / context);
    this.window = new int[context + 1];
  }

  /**
   * Returns where a sample starts.
   *
   * @param sample its number, from 0
   * @return index of the first token
   */
  public long start(long sample) {
    long epoch = mix(mix(seed) ^ sample / windows);
    return (below(starts, epoch) + shuffled(sample % windows, epoch) * context) % starts;
  }

  /** A number from 0 to {@code bound - 1}, each equally likely. */
  private static long below(long bound, long key) {
    // The remainder of a 63-bit number favours some unless the few numbers past the last multiple
    // are drawn again.
    long limit = Long.MAX_VALUE - Long.MAX_VALUE % bound;
    for (long attempt = 0; ; attempt++) {
      long number = mix(key ^ attempt) >>> 1;
      if (number < limit) {
        return number % bound;
      }
    }
  }

  /**
   * Where a window of an epoch stands in the epoch's order: a Feistel network (Luby and Rackoff
   * 1988) permutes numbers of an even number of bits, and is walked until it comes back among the
   * windows.
   */
  private long shuffled(long index, long key) {
    int half = (65 - Long.numberOfLeadingZeros(windows - 1)) / 2;
    long mask = (1L << half) - 1;
    long number = index;
    do {
      for (int round = 1; round <= 4; round++) {
        long right = number & mask;
        number = right << half | (number >>> half ^ mix(mix(key + round) ^ right) & mask);
      }
    } while (number >= windows);
    return number;
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
