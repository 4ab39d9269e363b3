package dev.sinter.search;

import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * The results of a search at some moment.
 *
 * @param history all results as they came, a trial's as often as it was measured
 * @param ranking the last result of each trial, the best first; of equals the longer trained, then
 *     the earlier
 * @param settled the numbers of trials that will certainly not be trained further, so that their
 *     checkpoints are of no more use
 */
public record Standings(List<Outcome> history, List<Outcome> ranking, Set<Integer> settled) {
  /** Copies the lists. */
  public Standings {
    history = List.copyOf(history);
    ranking = List.copyOf(ranking);
    settled = Set.copyOf(settled);
  }

  static Standings of(List<Outcome> history, Goal goal, Set<Integer> settled) {
    Map<Integer, Outcome> last = new TreeMap<>();
    history.forEach(outcome -> last.put(outcome.trial().number(), outcome));
    List<Outcome> ranking =
        last.values().stream()
            .sorted(
                Comparator.comparing(Outcome::metric, goal.bestFirst())
                    .thenComparing(Outcome::resource, Comparator.reverseOrder()))
            .toList();
    return new Standings(history, ranking, settled);
  }

  /**
   * Returns the best trial.
   *
   * @return its last result; empty where none has a metric
   */
  public Optional<Outcome> best() {
    return ranking.stream().filter(outcome -> !Double.isNaN(outcome.metric())).findFirst();
  }
}
