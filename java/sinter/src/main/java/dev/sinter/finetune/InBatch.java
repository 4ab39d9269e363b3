package dev.sinter.finetune;

import java.util.Arrays;
import java.util.List;

/**
 * The loss of telling a query's document from those of a batch's other queries, and its gradient:
 * {@code -log exp(cos(q, d+) / t) / sum over d of exp(cos(q, d) / t)}, the mean over queries.
 */
final class InBatch {
  private InBatch() {}

  /**
   * Computes the loss.
   *
   * @param batch of each a query, its document, and documents that are not
   * @param vectors of all of them, in order
   * @param gradients are set: of the loss by each of the vectors
   */
  static double loss(
      List<Example> batch, double[][] vectors, double[][] gradients, double temperature) {
    double[][] units = new double[vectors.length][];
    double[] lengths = new double[vectors.length];
    for (int i = 0; i < vectors.length; i++) {
      units[i] = vectors[i].clone();
      lengths[i] = normalize(units[i]);
    }
    int[] starts = new int[batch.size() + 1];
    for (int i = 0; i < batch.size(); i++) {
      starts[i + 1] = starts[i] + batch.get(i).inputs().size();
    }
    int[][] texts =
        batch.stream()
            .flatMap(one -> one.inputs().stream())
            .map(input -> input.ids())
            .toArray(int[][]::new);
    double loss = 0;
    for (int i = 0; i < batch.size(); i++) {
      loss += query(starts, i, texts, units, gradients, temperature) / batch.size();
    }
    for (int i = 0; i < vectors.length; i++) {
      double along = product(gradients[i], units[i]);
      for (int j = 0; j < units[i].length; j++) {
        gradients[i][j] =
            (gradients[i][j] - along * units[i][j]) / lengths[i] / batch.size() / temperature;
      }
    }
    return loss;
  }

  /** One query's loss; gradients by cosine over temperature are added. */
  private static double query(
      int[] starts,
      int query,
      int[][] texts,
      double[][] units,
      double[][] gradients,
      double temperature) {
    int own = starts[query];
    double[] scores = new double[units.length];
    Arrays.fill(scores, Double.NEGATIVE_INFINITY);
    double most = Double.NEGATIVE_INFINITY;
    for (int other = 0; other + 1 < starts.length; other++) {
      for (int document = starts[other] + 1; document < starts[other + 1]; document++) {
        // The same document under another query is no negative.
        if (document == own + 1 || !Arrays.equals(texts[document], texts[own + 1])) {
          scores[document] = product(units[own], units[document]) / temperature;
          most = Math.max(most, scores[document]);
        }
      }
    }
    double sum = 0;
    for (double score : scores) {
      sum += Math.exp(score - most);
    }
    for (int i = 0; i < scores.length; i++) {
      double share = Math.exp(scores[i] - most) / sum - (i == own + 1 ? 1 : 0);
      for (int j = 0; j < units[i].length && share != 0; j++) {
        gradients[own][j] += share * units[i][j];
        gradients[i][j] += share * units[own][j];
      }
    }
    return Math.log(sum) + most - scores[own + 1];
  }

  /** Makes a vector's length 1; returns what it was. */
  static double normalize(double... vector) {
    double length = Math.max(Math.sqrt(product(vector, vector)), 1e-12); // of zeros, zeros
    for (int i = 0; i < vector.length; i++) {
      vector[i] /= length;
    }
    return length;
  }

  static double product(double[] a, double... b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }

  static double product(List<Double> a, double... b) {
    double sum = 0;
    for (int i = 0; i < b.length; i++) {
      sum += a.get(i) * b[i];
    }
    return sum;
  }
}
