package dev.sinter.search;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.search.Rungs.Job;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AshaTest {
  @Test
  void rungsGrowByTheReductionUpToTheMaximum() {
    assertEquals(List.of(1, 3, 9), new Asha(9, 1, 9, 3).rungs());
    assertEquals(List.of(1, 3, 10), new Asha(9, 1, 10, 3).rungs());
    assertEquals(List.of(2, 8), new Asha(4, 2, 8, 4).rungs());
    assertEquals(List.of(5), new Asha(1, 5, 5, 2).rungs());
    assertEquals(
        List.of(1 << 29, Integer.MAX_VALUE), new Asha(3, 1 << 29, Integer.MAX_VALUE, 3).rungs());
    assertEquals(List.of(7), new RandomSearch(2, 7).rungs());
  }

  @Test
  void sizesThatMakeNoSearchAreRefused() {
    String message =
        assertThrows(IllegalArgumentException.class, () -> new Asha(8, 1, 9, 3)).getMessage();
    assertTrue(message.contains("[1, 3, 9]; take 9 trials or more"), message);
    assertThrows(IllegalArgumentException.class, () -> new Asha(8, 0, 9, 3));
    assertThrows(IllegalArgumentException.class, () -> new Asha(8, 3, 2, 3));
    assertThrows(IllegalArgumentException.class, () -> new Asha(8, 1, 2, 1));
    assertThrows(IllegalArgumentException.class, () -> new RandomSearch(0, 1));
    assertThrows(IllegalArgumentException.class, () -> new RandomSearch(1, 0));
  }

  /**
   * By hand: losses of nine trials at resource 1 are 5 3 8 1 9 2 7 6 4, eta is 3, and each
   * promotion takes 0.5 off a loss. With three trials one is promoted, the second (3). The fourth
   * (1) is the best of four: it goes on. With six, two are promoted, the fourth and the sixth (2):
   * the sixth goes on. Rung 1 then has 2.5, 0.5 and 1.5, so the fourth goes on to the end. With
   * nine, three are promoted: 1, 2 and 3, which have all gone on already.
   */
  @Test
  void promotionsAreThoseOfAnExampleByHand() {
    double[] first = {5, 3, 8, 1, 9, 2, 7, 6, 4};
    Rungs rungs = new Rungs(new Asha(9, 1, 9, 3), Goal.MINIMIZE);
    List<Job> jobs = new ArrayList<>();
    for (Optional<Job> job = rungs.next(); job.isPresent(); job = rungs.next()) {
      jobs.add(job.get());
      int rung = job.get().to() == 1 ? 0 : job.get().to() == 3 ? 1 : 2;
      rungs.report(job.get(), first[job.get().trial() - 1] - 0.5 * rung);
    }
    assertEquals(
        List.of(
            new Job(1, 0, 1),
            new Job(2, 0, 1),
            new Job(3, 0, 1),
            new Job(2, 1, 3),
            new Job(4, 0, 1),
            new Job(4, 1, 3),
            new Job(5, 0, 1),
            new Job(6, 0, 1),
            new Job(6, 1, 3),
            new Job(4, 3, 9),
            new Job(7, 0, 1),
            new Job(8, 0, 1),
            new Job(9, 0, 1)),
        jobs);
  }

  /** Algorithm 2 of the paper, word for word, on maps: who is trained next, and from which rung. */
  private static final class Paper {
    private final int eta;
    private final int top;
    private final boolean greater;
    private final List<Map<Integer, Double>> rungs = new ArrayList<>();
    private final List<Set<Integer>> gone = new ArrayList<>();
    private int fresh;

    Paper(int eta, int rungs, boolean greater) {
      this.eta = eta;
      this.top = rungs - 1;
      this.greater = greater;
      for (int k = 0; k < rungs; k++) {
        this.rungs.add(new HashMap<>());
        gone.add(new HashSet<>());
      }
    }

    /** The trial and its rung. */
    int[] job(int trials) {
      for (int k = top - 1; k >= 0; k--) {
        for (int trial = 1; trial <= trials; trial++) {
          // The best promotable one is asked for: look at each and count who is better.
          int place = 0;
          boolean best = true;
          Double mine = rungs.get(k).get(trial);
          if (mine == null || mine.isNaN() || gone.get(k).contains(trial)) {
            continue;
          }
          for (Map.Entry<Integer, Double> other : rungs.get(k).entrySet()) {
            if (beats(other.getKey(), other.getValue(), trial, mine)) {
              place++;
              best &= gone.get(k).contains(other.getKey());
            }
          }
          if (best && place < rungs.get(k).size() / eta) {
            gone.get(k).add(trial);
            return new int[] {trial, k + 1};
          }
        }
      }
      return fresh < trials ? new int[] {++fresh, 0} : null;
    }

    private boolean beats(int other, double theirs, int trial, double mine) {
      if (Double.isNaN(theirs) || theirs == mine) {
        return theirs == mine && other < trial;
      }
      return greater ? theirs > mine : theirs < mine;
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 5})
  void jobsAreThoseOfThePapersAlgorithmWhoeverIsDoneFirst(int workers) {
    for (int run = 0; run < 200; run++) {
      Random random = new Random(1000L * workers + run);
      int eta = 2 + random.nextInt(3);
      Asha asha = new Asha(70 + random.nextInt(30), 1, eta * eta * eta, eta);
      Rungs rungs = new Rungs(asha, run % 2 == 0 ? Goal.MAXIMIZE : Goal.MINIMIZE);
      Paper paper = new Paper(eta, 4, run % 2 == 0);
      List<Job> running = new ArrayList<>();
      Map<Integer, Integer> reached = new HashMap<>();
      int[] sizes = new int[4];
      while (true) {
        while (running.size() < workers) {
          int[] expected = paper.job(asha.trials());
          Optional<Job> job = rungs.next();
          assertEquals(expected == null, job.isEmpty());
          if (expected == null) {
            break;
          }
          int from = expected[1] == 0 ? 0 : asha.rungs().get(expected[1] - 1);
          assertEquals(new Job(expected[0], from, asha.rungs().get(expected[1])), job.get());
          assertEquals(reached.getOrDefault(expected[0], 0), from);
          running.add(job.get());
        }
        if (running.isEmpty()) {
          break;
        }
        Job done = running.remove(random.nextInt(running.size()));
        // Few different values: ties are common; and some trials fail.
        double metric = random.nextInt(20) == 0 ? Double.NaN : random.nextInt(10);
        int rung = asha.rungs().indexOf(done.to());
        rungs.report(done, metric);
        paper.rungs.get(rung).put(done.trial(), metric);
        reached.put(done.trial(), done.to());
        sizes[rung]++;
      }
      assertEquals(asha.trials(), sizes[0]);
      assertTrue(sizes[1] >= sizes[0] / eta - 5 && sizes[1] < sizes[0], "rung 1: " + sizes[1]);
      for (int trial = 1; trial <= asha.trials(); trial++) {
        assertTrue(rungs.next().isEmpty());
      }
    }
  }
}
