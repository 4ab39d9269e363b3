package dev.sinter.search;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The results of a search at some moment.
 *
 * @param history all results as they came, a trial's as often as it was measured
 * @param ranking the best result of each trial, with how the trial stands now; the best first, of
 *     equals the longer trained, then the earlier
 */
public record Standings(List<Outcome> history, List<Outcome> ranking) {
  /** Copies the lists. */
  public Standings {
    history = List.copyOf(history);
    ranking = List.copyOf(ranking);
  }

  static Standings of(List<Outcome> history, Goal goal) {
    Map<Integer, Outcome.Status> status = new HashMap<>();
    history.forEach(outcome -> status.put(outcome.trial().number(), outcome.status()));
    List<Outcome> sorted = new ArrayList<>(history);
    sorted.sort(
        Comparator.comparing(Outcome::metric, goal.bestFirst())
            .thenComparing(Outcome::resource, Comparator.reverseOrder()));
    Map<Integer, Outcome> ranking = new LinkedHashMap<>();
    for (Outcome outcome : sorted) {
      int trial = outcome.trial().number();
      ranking.putIfAbsent(trial, outcome.withStatus(status.get(trial)));
    }
    return new Standings(history, List.copyOf(ranking.values()));
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
