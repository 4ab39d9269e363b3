package dev.sinter.evaluate;

import dev.sinter.model.Decoder;
import dev.sinter.model.LanguageModel;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** What a model thinks of each token of a text: what two engines are compared by. */
public final class Scorer {
  private static final int CHUNK = 64;

  private Scorer() {}

  /**
   * A token that could stand at a place.
   *
   * @param id of the token
   * @param logprob natural logarithm of its probability
   */
  public record Candidate(int id, double logprob) {}

  /**
   * A token of the text.
   *
   * @param id of the token
   * @param logprob of this token given those before it; NaN for the first
   * @param top the likeliest tokens in its place, likeliest first; empty for the first
   */
  public record Score(int id, double logprob, List<Candidate> top) {}

  /**
   * Scores a text.
   *
   * @param model to ask
   * @param ids at least one, at most the model's context
   * @param top how many of the likeliest tokens to report
   * @return a score for each token
   */
  public static List<Score> score(LanguageModel model, int[] ids, int top) {
    int context = model.config().context();
    if (ids.length == 0 || ids.length > context) {
      throw new IllegalArgumentException(
          "the text has " + ids.length + " tokens; 1 to the model's context of " + context);
    }
    int vocabulary = model.config().vocabulary();
    List<Score> scores = new ArrayList<>();
    scores.add(new Score(ids[0], Double.NaN, List.of()));
    try (Decoder decoder = model.decoder(1, ids.length)) {
      float[] row = new float[vocabulary];
      for (int from = 0; from < ids.length; from += CHUNK) {
        int count = Math.min(CHUNK, ids.length - from);
        FloatBuffer logits = decoder.logits(Arrays.copyOfRange(ids, from, from + count));
        for (int i = 0; i < count && from + i + 1 < ids.length; i++) {
          logits.get(i * vocabulary, row);
          scores.add(scoreOf(ids[from + i + 1], row, top));
        }
      }
    }
    return scores;
  }

  private static Score scoreOf(int id, float[] logits, int top) {
    double most = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - most);
    }
    double total = most + Math.log(sum);
    List<Candidate> best = new ArrayList<>();
    for (int candidate = 0; candidate < logits.length; candidate++) {
      boolean among =
          best.size() < top || logits[candidate] - total > best.get(best.size() - 1).logprob;
      if (!among || top == 0) {
        continue;
      }
      double logprob = logits[candidate] - total;
      int at = best.size();
      while (at > 0 && best.get(at - 1).logprob < logprob) {
        at--;
      }
      best.add(at, new Candidate(candidate, logprob));
      if (best.size() > top) {
        best.remove(top);
      }
    }
    return new Score(id, logits[id] - total, List.copyOf(best));
  }
}
