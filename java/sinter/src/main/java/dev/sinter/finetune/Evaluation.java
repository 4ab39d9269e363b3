package dev.sinter.finetune;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * What the validation data say of a model.
 *
 * @param step after which it was evaluated
 * @param epoch how often the training data had been seen, a fraction included
 * @param loss the mean, as in training but without weights of classes
 * @param metrics by name, the one that chooses the best checkpoint first
 * @param best whether no evaluation before was as good
 */
public record Evaluation(
    long step, double epoch, double loss, Map<String, Double> metrics, boolean best) {
  private static final Set<String> LOWER = Set.of("loss", "perplexity", "mean_squared_error");

  /** Takes a copy. */
  public Evaluation {
    metrics = Collections.unmodifiableMap(new LinkedHashMap<>(metrics));
  }

  /**
   * Tells which of a metric's values is the better.
   *
   * @param metric of any task, or {@code loss}
   * @return whether it is the lower one
   */
  public static boolean lowerIsBetter(String metric) {
    return LOWER.contains(metric);
  }
}
