package dev.sinter.model;

/** What the configurations of all families check in the same way. */
final class Sizes {
  /** Of a vocabulary, a context, a feed-forward layer. */
  static final int MOST = 1 << 24;

  static final int MOST_LAYERS = 1024;
  private static final int MOST_WIDTH = 1 << 20;
  private static final int MOST_HEAD = 256;

  private Sizes() {}

  static void check(String name, int value, int most) {
    if (value < 1 || value > most) {
      throw new IllegalArgumentException(name + " " + value + "; 1 to " + most);
    }
  }

  static void checkHeads(String headsName, int heads, String widthName, int width) {
    check(widthName, width, MOST_WIDTH);
    check(headsName, heads, width);
    if (width % heads != 0) {
      int below = width / heads * heads;
      throw new IllegalArgumentException(
          headsName
              + " "
              + heads
              + " does not divide "
              + widthName
              + " "
              + width
              + "; a width of "
              + (below == 0 ? "" : below + " or ")
              + (below + heads)
              + " would do");
    }
    if (width / heads > MOST_HEAD) {
      throw new IllegalArgumentException(
          widthName
              + " "
              + width
              + " over "
              + headsName
              + " "
              + heads
              + " gives heads of "
              + width / heads
              + "; at most "
              + MOST_HEAD);
    }
  }

  static void checkDropout(String name, float p) {
    if (!(p >= 0 && p < 1)) {
      throw new IllegalArgumentException(name + " " + p + "; 0 or more and less than 1");
    }
  }

  static void checkEpsilon(String name, float epsilon) {
    if (!(epsilon > 0 && epsilon < 1)) {
      throw new IllegalArgumentException(name + " " + epsilon + "; more than 0, for example 1e-5");
    }
  }

  /** 0.02, GPT's and BERT's, at their width of 768; as 1 / sqrt(width) at others. */
  static double deviation(int width) {
    return 0.02 * Math.sqrt(768.0 / width);
  }
}
