package dev.sinter.search;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * Which trial is trained next, and how far (Li et al. 2020, algorithm 2). What it says follows from
 * what was asked and reported before, in that order.
 */
final class Rungs {
  private final Method method;
  private final List<Integer> resources;
  private final Comparator<Entry> bestFirst;
  private final List<List<Entry>> rungs = new ArrayList<>();
  private final Set<Entry> promoted = new HashSet<>();
  private int drawn;

  /** A trial's training from one rung to the next; {@code from} is 0 before the first. */
  record Job(int trial, int from, int to) {}

  /** A trial that was measured at a rung. */
  private record Entry(int rung, int trial, double metric) {}

  Rungs(Method method, Goal goal) {
    this.method = method;
    this.resources = method.rungs();
    this.bestFirst =
        Comparator.comparing(Entry::metric, goal.bestFirst()).thenComparing(Entry::trial);
    resources.forEach(resource -> rungs.add(new ArrayList<>()));
  }

  /** The next training: a promotion, from the highest rung that has one, or else a new trial. */
  Optional<Job> next() {
    for (int rung = resources.size() - 2; rung >= 0; rung--) {
      for (Entry entry : promotable(rung)) {
        if (!Double.isNaN(entry.metric) && promoted.add(entry)) {
          return Optional.of(new Job(entry.trial, resources.get(rung), resources.get(rung + 1)));
        }
      }
    }
    return drawn < method.trials()
        ? Optional.of(new Job(++drawn, 0, resources.get(0)))
        : Optional.empty();
  }

  void report(Job job, double metric) {
    int rung = resources.indexOf(job.to);
    rungs.get(rung).add(new Entry(rung, job.trial, metric));
    rungs.get(rung).sort(bestFirst);
  }

  /** The best of a rung, one of each so many, those that were promoted before among them. */
  private List<Entry> promotable(int rung) {
    List<Entry> all = rungs.get(rung);
    return all.subList(0, all.size() / method.reduction());
  }
}
