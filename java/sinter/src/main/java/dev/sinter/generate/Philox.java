package dev.sinter.generate;

/**
 * The random numbers of the native sampler (Salmon et al. 2011, Philox4x32-10), so that a choice on
 * the host draws as one on the device does. The same key gives the same number.
 */
final class Philox {
  private static final int ROUNDS = 10;
  private static final long LEFT = 0xD2511F53L; // what the counter is multiplied by
  private static final long RIGHT = 0xCD9E8D57L;
  private static final int LEFT_STEP = 0x9E3779B9; // what the key grows by
  private static final int RIGHT_STEP = 0xBB67AE85;
  private static final long WORD = 0xFFFFFFFFL;

  private Philox() {}

  /**
   * A number between 0 and 1, neither included.
   *
   * @param seed of the sequence
   * @param step the number of the token
   */
  static float uniform(long seed, long step) {
    int c0 = 0;
    int c1 = (int) (step >>> 32 & 0xff) << 16;
    int c2 = (int) step;
    int c3 = 0;
    int k0 = (int) seed;
    int k1 = (int) (seed >>> 32);
    for (int round = 0; round < ROUNDS; round++) {
      long left = LEFT * (c0 & WORD);
      long right = RIGHT * (c2 & WORD);
      c0 = (int) (right >>> 32) ^ c1 ^ k0;
      c2 = (int) (left >>> 32) ^ c3 ^ k1;
      c1 = (int) right;
      c3 = (int) left;
      k0 += LEFT_STEP;
      k1 += RIGHT_STEP;
    }
    return ((c0 >>> 9) + 0.5f) * 0x1p-23f;
  }
}
