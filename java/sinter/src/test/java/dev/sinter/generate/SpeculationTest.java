package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

/** What is proposed, how much of it, and that it changes no probability. */
class SpeculationTest {
  private static int[] lookUp(Speculation way, int most, int... ids) {
    int[] found = new int[most];
    return Arrays.copyOf(found, way.lookUp(ids, ids.length, most, found));
  }

  @Test
  void whatCameAfterTheLastTokensIsProposedAsItCameLast() {
    Speculation way = Speculation.promptLookup(3, 8);
    assertArrayEquals(new int[] {9, 5}, lookUp(way, 2, 1, 2, 8, 1, 2, 9, 5, 1, 2));
    assertArrayEquals(new int[] {9, 5, 1, 2}, lookUp(way, 4, 1, 2, 8, 1, 2, 9, 5, 1, 2));
    assertArrayEquals(new int[] {4}, lookUp(way, 1, 7, 1, 2, 4, 6, 1, 2, 5, 7, 1, 2));
  }

  @Test
  void whatRepeatsItselfIsProposedToGoOnSo() {
    Speculation way = Speculation.promptLookup(3, 8);
    assertArrayEquals(new int[] {4, 4, 4, 4, 4}, lookUp(way, 5, 9, 4, 4, 4));
    assertArrayEquals(new int[] {3, 1, 2, 3, 1, 2, 3}, lookUp(way, 7, 1, 2, 3, 1, 2));
  }

  @Test
  void oneTokenThatWasThereIsNoReasonUnlessItIsAskedFor() {
    int[] ids = {1, 2, 3, 1};
    assertEquals(0, lookUp(Speculation.promptLookup(2, 4), 4, ids).length);
    assertArrayEquals(new int[] {2, 3, 1, 2}, lookUp(Speculation.promptLookup(1, 4), 4, ids));
    assertEquals(0, lookUp(Speculation.promptLookup(1, 4), 4, 1).length);
  }

  @Test
  void proposalsGrowWhileTheyAreRight() {
    Gauge gauge = Gauge.trusting(8);
    List<Integer> lengths = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      int length = gauge.next();
      lengths.add(length);
      gauge.record(length, length, 0.3, true);
    }
    assertEquals(List.of(3, 7, 8, 8), lengths);
    gauge.record(8, 3, 0.3, true);
    assertEquals(4, gauge.next());
  }

  @Test
  void pausesGrowWhileTriesFail() {
    Gauge gauge = Gauge.trusting(8);
    List<Integer> tries = new ArrayList<>();
    for (int token = 0; token < 300; token++) {
      int length = gauge.next();
      if (length > 0) {
        tries.add(token);
        gauge.record(length, 0, 0.3, true);
      }
    }
    assertEquals(List.of(0, 5, 14, 31, 64, 129, 258), tries);
  }

  @Test
  void aGlanceThatIsRightEndsThePause() {
    Gauge gauge = Gauge.glancing(8);
    assertEquals(0, gauge.next());
    gauge.record(1, 0, 0.3, false);
    assertEquals(0, gauge.next());
    gauge.record(1, 1, 0.3, false);
    assertEquals(3, gauge.next());
  }

  @Test
  void whatCostsAsMuchAsAStepIsNotProposed() {
    StepCosts costs = new StepCosts();
    for (int i = 0; i < 4; i++) {
      costs.step(1, 1000);
      costs.step(3, 3000);
    }
    assertTrue(costs.knows(1));
    assertFalse(costs.knows(2));
    assertEquals(1, costs.each(1, 2, false), 1e-9);
    costs.draft(4, 800);
    assertEquals(1.2, costs.each(1, 2, true), 1e-9);
    assertEquals(1.2, costs.each(1, 1, true), 1e-9); // of the nearest size that is known
    assertEquals(0.25, costs.each(3, 1, false), 1e-9);
    costs.step(1, 2000); // a disturbance
    assertEquals((3000 / 1100.0 - 1) / 2, costs.each(1, 2, false), 1e-9);
    costs.step(1, 100);
    assertEquals((3000 / 600.0 - 1) / 2, costs.each(1, 2, false), 1e-9);
  }

  @Test
  void aSizeThatWasAvoidedIsTriedAgainInTime() {
    StepCosts costs = new StepCosts();
    for (int i = 0; i < 3; i++) {
      costs.step(1, 1000);
      costs.step(9, 17_000);
    }
    assertEquals(2, costs.each(1, 8, false), 1e-9);
    for (int i = 0; i < 100; i++) {
      costs.avoid(9);
    }
    assertTrue(costs.each(1, 8, false) < 0.7);
    costs.avoid(5); // nothing is known of it
    assertFalse(costs.knows(5));
  }

  @Test
  void proposalsOfNothingAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> Speculation.promptLookup(0, 1));
    assertThrows(IllegalArgumentException.class, () -> Speculation.promptLookup(1, 0));
    assertThrows(IllegalArgumentException.class, () -> Speculation.draft(0));
  }

  /** Pearson's test of the second token, whose distribution is summed over all first ones. */
  @Test
  void tokensFollowTheTargetsDistributionWhateverTheDraftProposes() {
    int count = 6000;
    int[] prompt = {4, 7, 1};
    Sampling sampling = Sampling.defaults().withTemperature(1.5).withMaxNewTokens(3);
    EngineSettings settings =
        EngineSettings.defaults().withQueue(count).withSpeculation(Speculation.draft(2));
    int[] seen = new int[FakeSteps.VOCABULARY];
    EngineStats stats;
    try (Engine engine =
        new Engine(FakeSteps.of(16, settings), FakeSteps.draftOf(16, settings), null, settings)) {
      List<CompletableFuture<Completion>> all = new ArrayList<>();
      for (int seed = 0; seed < count; seed++) {
        all.add(engine.submit(Request.of(prompt, sampling.withSeed(seed))));
      }
      all.forEach(one -> seen[one.join().tokens().get(1).id()]++);
      stats = engine.stats();
    }
    assertTrue(stats.proposedTokens() > 0, stats.toString());
    double[] expected = new double[seen.length];
    double[] first = softmax(prompt);
    for (int id = 0; id < first.length; id++) {
      double[] second = softmax(4, 7, 1, id);
      for (int next = 0; next < second.length; next++) {
        expected[next] += count * first[id] * second[next];
      }
    }
    double chiSquare = 0;
    for (int id = 0; id < seen.length; id++) {
      chiSquare += (seen[id] - expected[id]) * (seen[id] - expected[id]) / expected[id];
    }
    assertTrue(chiSquare < 70, "chi-square " + chiSquare); // 31 degrees: 1 in 10,000
  }

  private static double[] softmax(int... ids) {
    float[] logits = FakeSteps.logits(ids, ids.length, 1);
    double sum = 0;
    double[] all = new double[logits.length];
    for (int id = 0; id < all.length; id++) {
      all[id] = Math.exp(logits[id] / 1.5);
      sum += all[id];
    }
    for (int id = 0; id < all.length; id++) {
      all[id] /= sum;
    }
    return all;
  }
}
