package dev.sinter.evaluate;

import java.util.Comparator;
import java.util.List;
import java.util.Map;

/**
 * How well documents are ranked: MRR (Voorhees 1999) and nDCG (Järvelin and Kekäläinen 2002), each
 * over the first k.
 */
public final class Ranking {
  private Ranking() {}

  /** What a document of some relevance is worth in nDCG. */
  public enum Gain {
    /** 2^relevance - 1 (Burges et al. 2005). */
    EXPONENTIAL {
      @Override
      double of(int relevance) {
        return relevance <= 0 ? 0 : Math.pow(2, relevance) - 1;
      }
    },
    /** The relevance itself, as trec_eval has it. */
    LINEAR {
      @Override
      double of(int relevance) {
        return Math.max(0, relevance);
      }
    };

    abstract double of(int relevance);
  }

  /**
   * Means over queries.
   *
   * @param mrr mean reciprocal rank of the first relevant document, 0 where none is among the first
   *     k
   * @param ndcg mean nDCG
   * @param queries how many were judged
   * @param missing those of them that were not ranked: they count, with a score of 0
   */
  public record Report(double mrr, double ndcg, int queries, int missing) {}

  /**
   * Scores rankings.
   *
   * @param judgements for each query the relevance of documents; those not named, and those of 0 or
   *     less, are not relevant
   * @param scores for each query the score of documents, the highest first; of equal scores the
   *     greater document id comes first, as in trec_eval
   * @param k how many documents of each query count
   * @param gain of nDCG
   * @return the means over all judged queries
   * @throws IllegalArgumentException where k is below 1 or nothing was judged
   */
  public static Report score(
      Map<String, Map<String, Integer>> judgements,
      Map<String, Map<String, Double>> scores,
      int k,
      Gain gain) {
    if (judgements.isEmpty()) {
      throw new IllegalArgumentException("there are no judgements");
    }
    double reciprocal = 0;
    double ndcg = 0;
    int missing = 0;
    for (Map.Entry<String, Map<String, Integer>> query : judgements.entrySet()) {
      Map<String, Integer> judged = query.getValue();
      Map<String, Double> ranked = scores.get(query.getKey());
      if (ranked == null) {
        missing++;
        continue;
      }
      List<Integer> relevances =
          order(ranked).stream().map(document -> judged.getOrDefault(document, 0)).toList();
      reciprocal += reciprocalRank(relevances, k);
      ndcg += ndcg(relevances, List.copyOf(judged.values()), k, gain);
    }
    int queries = judgements.size();
    return new Report(reciprocal / queries, ndcg / queries, queries, missing);
  }

  private static List<String> order(Map<String, Double> scores) {
    return scores.entrySet().stream()
        .sorted(
            Map.Entry.<String, Double>comparingByValue()
                .thenComparing(Map.Entry.comparingByKey())
                .reversed())
        .map(Map.Entry::getKey)
        .toList();
  }

  /**
   * The reciprocal rank of the first relevant document.
   *
   * @param ranked relevance of the documents, first to last; above 0 is relevant
   * @param k how many count
   * @return 1 / rank, or 0 where none is relevant
   * @throws IllegalArgumentException where k is below 1
   */
  public static double reciprocalRank(List<Integer> ranked, int k) {
    checkCutoff(k);
    for (int i = 0; i < Math.min(k, ranked.size()); i++) {
      if (ranked.get(i) > 0) {
        return 1.0 / (i + 1);
      }
    }
    return 0;
  }

  /**
   * Normalized discounted cumulative gain: sum of gain / log2(rank + 1) over that of the best
   * order.
   *
   * @param ranked relevance of the documents, first to last
   * @param judged relevance of all documents that could have been ranked
   * @param k how many count
   * @param gain of a relevance
   * @return from 0 to 1; 0 where nothing is relevant
   * @throws IllegalArgumentException where k is below 1
   */
  public static double ndcg(List<Integer> ranked, List<Integer> judged, int k, Gain gain) {
    checkCutoff(k);
    double ideal = dcg(judged.stream().sorted(Comparator.reverseOrder()).toList(), k, gain);
    return ideal == 0 ? 0 : dcg(ranked, k, gain) / ideal;
  }

  private static double dcg(List<Integer> relevances, int k, Gain gain) {
    double sum = 0;
    for (int i = 0; i < Math.min(k, relevances.size()); i++) {
      sum += gain.of(relevances.get(i)) * Math.log(2) / Math.log(i + 2);
    }
    return sum;
  }

  private static void checkCutoff(int k) {
    if (k < 1) {
      throw new IllegalArgumentException("k " + k + "; at least 1");
    }
  }
}
