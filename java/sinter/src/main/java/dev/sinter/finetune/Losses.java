package dev.sinter.finetune;

import dev.sinter.model.Head;
import java.util.Arrays;
import java.util.List;

/** The heads' losses on the host, in double precision, for data that are evaluated. */
final class Losses {
  private Losses() {}

  /** A sum, and of how many losses. */
  record Sum(double loss, long count) {}

  static Sum of(Head head, Example example, List<float[]> outputs) {
    float[] logits = outputs.get(0);
    int[] targets = example.targets();
    return switch (head.task()) {
      case SEQUENCE -> sequence(head, example, logits);
      case TOKENS -> {
        double loss = 0;
        long count = 0;
        for (int i = 0; i < targets.length; i++) {
          if (targets[i] != Example.IGNORED) {
            int from = i * head.labels();
            loss +=
                crossEntropy(Arrays.copyOfRange(logits, from, from + head.labels()), targets[i]);
            count++;
          }
        }
        yield new Sum(loss, count);
      }
      case SPAN -> {
        int length = logits.length / 2;
        yield new Sum(
            crossEntropy(Arrays.copyOf(logits, length), targets[0])
                + crossEntropy(Arrays.copyOfRange(logits, length, 2 * length), targets[1]),
            2);
      }
      case CHOICE -> {
        float[] each = new float[outputs.size()];
        for (int i = 0; i < each.length; i++) {
          each[i] = outputs.get(i)[0];
        }
        yield new Sum(crossEntropy(each, targets[0]), 1);
      }
      default -> throw new IllegalArgumentException(head.task() + " has no loss");
    };
  }

  private static Sum sequence(Head head, Example example, float... logits) {
    if (head.loss() == Head.Loss.CROSS_ENTROPY) {
      return new Sum(crossEntropy(logits, example.targets()[0]), 1);
    }
    double loss = 0;
    for (int i = 0; i < logits.length; i++) {
      double x = logits[i];
      double right = example.numbers()[i];
      loss +=
          head.loss() == Head.Loss.SQUARED_ERROR
              ? (x - right) * (x - right)
              : Math.max(x, 0) - x * right + Math.log1p(Math.exp(-Math.abs(x)));
    }
    return new Sum(loss, logits.length);
  }

  static double crossEntropy(float[] logits, int target) {
    double most = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - most);
    }
    return Math.log(sum) + most - logits[target];
  }

  static double[] softmax(float... logits) {
    double most = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double[] shares = new double[logits.length];
    double sum = 0;
    for (int i = 0; i < shares.length; i++) {
      shares[i] = Math.exp(logits[i] - most);
      sum += shares[i];
    }
    for (int i = 0; i < shares.length; i++) {
      shares[i] /= sum;
    }
    return shares;
  }

  static double sigmoid(double x) {
    return 1 / (1 + Math.exp(-x));
  }

  static int best(double... scores) {
    int best = 0;
    for (int i = 1; i < scores.length; i++) {
      best = scores[i] > scores[best] ? i : best;
    }
    return best;
  }
}
