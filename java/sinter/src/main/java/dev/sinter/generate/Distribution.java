package dev.sinter.generate;

import java.util.Arrays;
import java.util.stream.IntStream;

/** What scores mean: probabilities, ranks, a choice. Sums are in double precision. */
final class Distribution {
  private Distribution() {}

  /** The best token, the lowest id among equals; -1 where no score is finite. */
  static int best(float[] scores) {
    int best = -1;
    float most = Float.NEGATIVE_INFINITY;
    for (int i = 0; i < scores.length; i++) {
      if (scores[i] > most) {
        most = scores[i];
        best = i;
      }
    }
    return most == Float.POSITIVE_INFINITY ? -1 : best;
  }

  private static double most(float[] scores) {
    double most = Double.NEGATIVE_INFINITY;
    for (float score : scores) {
      most = score > most ? score : most;
    }
    return most;
  }

  /** The logarithm of the sum of all e^score. */
  static double logSum(float[] scores) {
    double most = most(scores);
    double sum = 0;
    for (float score : scores) {
      sum += weight(score, most);
    }
    return most + Math.log(sum);
  }

  /** The log-probability of a token. */
  static float logprob(float[] logits, int id) {
    return (float) (logits[id] - logSum(logits));
  }

  static ArithmeticException notFinite(int tokens) {
    return new ArithmeticException(
        "the model gives no finite logit after "
            + tokens
            + " tokens; its weights are damaged or training diverged");
  }

  /** Softmax. */
  static double[] probabilities(float[] scores) {
    double total = logSum(scores);
    double[] p = new double[scores.length];
    for (int i = 0; i < p.length; i++) {
      p[i] = weight(scores[i], total);
    }
    return p;
  }

  /** Log-softmax, in place. */
  static void logSoftmax(float[] scores) {
    double total = logSum(scores);
    for (int i = 0; i < scores.length; i++) {
      scores[i] = (float) (scores[i] - total);
    }
  }

  /** Of -p log p over all, in nats. */
  static double entropy(double[] p) {
    double sum = 0;
    for (double x : p) {
      sum -= x > 0 ? x * Math.log(x) : 0;
    }
    return sum;
  }

  private static double weight(float score, double less) {
    return Float.isNaN(score) ? 0 : Math.exp(score - less);
  }

  /** Places of the best scores, best first, lower places first among equals. */
  static int[] best(float[] scores, int count) {
    int[] best = new int[count];
    int found = 0;
    for (int i = 0; i < scores.length; i++) {
      if (found == count && !(scores[i] > scores[best[count - 1]])) {
        continue;
      }
      int at = found < count ? found++ : count - 1;
      for (; at > 0 && scores[i] > scores[best[at - 1]]; at--) {
        best[at] = best[at - 1];
      }
      best[at] = i;
    }
    return Arrays.copyOf(best, found);
  }

  /** Ids by falling score, lower ids first among equals. */
  static int[] ranking(float[] scores) {
    // A score's bits in the order of the scores, then the id: sorted as numbers.
    long[] keys = new long[scores.length];
    for (int i = 0; i < keys.length; i++) {
      float score = Float.isNaN(scores[i]) ? Float.NEGATIVE_INFINITY : scores[i] + 0f;
      int bits = Float.floatToIntBits(score);
      int ordered = bits ^ (bits >> 31 & Integer.MAX_VALUE);
      keys[i] = (long) ~ordered << 32 | i;
    }
    Arrays.sort(keys);
    return IntStream.range(0, keys.length).map(i -> (int) keys[i]).toArray();
  }

  /**
   * The token at a place of the distribution, tokens in the order of their ids: as the native
   * sampler does it.
   *
   * @param uniform from 0 to 1
   */
  static int draw(float[] scores, float uniform) {
    int best = best(scores);
    if (best < 0) {
      return -1;
    }
    double most = scores[best];
    double total = 0;
    for (float score : scores) {
      total += weight(score, most);
    }
    double left = uniform * total;
    int last = best;
    for (int i = 0; i < scores.length; i++) {
      double weight = weight(scores[i], most);
      left -= weight;
      if (weight > 0) {
        if (left < 0) {
          return i;
        }
        last = i;
      }
    }
    return last;
  }
}
