package dev.sinter.search;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The results of a search at some moment.
 *
 * @param history all results as they came, a trial's as often as it was measured
 * @param ranking the best result of each trial, with how the trial stands now; the best first, of
 *     equals the longer trained, then the earlier trial
 */
public record Standings(List<Outcome> history, List<Outcome> ranking) {
  /** Copies the lists. */
  public Standings {
    history = List.copyOf(history);
    ranking = List.copyOf(ranking);
  }

  static Standings of(List<Outcome> history, Goal goal) {
    Comparator<Outcome> bestFirst =
        Comparator.comparing(Outcome::metric, goal.bestFirst())
            .thenComparing(Outcome::resource, Comparator.reverseOrder())
            .thenComparing(outcome -> outcome.trial().number());
    Map<Integer, Outcome> best = new LinkedHashMap<>();
    for (Outcome now : history) {
      best.merge(
          now.trial().number(),
          now,
          (before, last) ->
              (bestFirst.compare(before, last) < 0 ? before : last).withStatus(last.status()));
    }
    List<Outcome> ranking = new ArrayList<>(best.values());
    ranking.sort(bestFirst);
    return new Standings(history, ranking);
  }

  /**
   * Returns the best result.
   *
   * @return of all trials; empty where none has a metric
   */
  public Optional<Outcome> best() {
    return ranking.stream().filter(outcome -> !Double.isNaN(outcome.metric())).findFirst();
  }
}
