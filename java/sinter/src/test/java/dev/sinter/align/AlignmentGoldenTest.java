package dev.sinter.align;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Against a twin in double precision with autograd: tests/goldens/alignment.py makes the file. */
class AlignmentGoldenTest {
  private static final Path FILE = Path.of("src/test/resources/dev/sinter/align/alignment.json");
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final double TOLERANCE = 1e-12;

  private static JsonNode golden;

  @BeforeAll
  static void read() throws IOException {
    golden = JSON.readTree(FILE.toFile());
  }

  private static double[] numbers(JsonNode node) {
    return JSON.convertValue(node, double[].class);
  }

  private static double[][] rows(JsonNode node) {
    return JSON.convertValue(node, double[][].class);
  }

  private static double[] flat(double[][] rows) {
    return Arrays.stream(rows).flatMapToDouble(Arrays::stream).toArray();
  }

  private static double[] flat(JsonNode node) {
    return flat(rows(node));
  }

  private static void check(JsonNode expected, double[] got, String what) {
    double[] flat = expected.get(0).isArray() ? flat(expected) : numbers(expected);
    assertArrayEquals(flat, got, TOLERANCE * Math.max(1, most(flat)), what);
  }

  private static double most(double[] values) {
    return Arrays.stream(values).map(Math::abs).max().orElse(0);
  }

  private static List<Rollout> rollouts(JsonNode node) {
    List<Rollout> rollouts = new ArrayList<>();
    for (int i = 0; i < node.get("old").size(); i++) {
      double[] before = numbers(node.get("old").get(i));
      rollouts.add(
          new Rollout(
              null,
              2,
              true,
              before,
              numbers(node.get("reference").get(i)),
              numbers(node.get("values").get(i)),
              node.get("scores").get(i).doubleValue()));
    }
    return rollouts;
  }

  @Test
  void rewardsAndTheirDivergence() {
    for (JsonNode node : golden.get("rollouts")) {
      List<Rollout> rollouts = rollouts(node);
      double beta = node.get("beta").doubleValue();
      double[][] rewards = rollouts.stream().map(one -> one.rewards(beta)).toArray(double[][]::new);
      check(node.get("rewards"), flat(rewards), "rewards");
      double kl = rollouts.stream().mapToDouble(Rollout::kl).average().orElseThrow();
      assertEquals(node.get("kl").doubleValue(), kl, TOLERANCE * 10);
      Advantages.whiten(rewards, true);
      check(node.get("white_rewards"), flat(rewards), "whitened rewards");
    }
  }

  @Test
  void advantagesAndReturns() {
    for (JsonNode node : golden.get("rollouts")) {
      double[][] advantages = rows(node.get("rewards"));
      double[][] returns = new double[advantages.length][];
      for (int i = 0; i < advantages.length; i++) {
        Advantages one =
            Advantages.of(
                advantages[i],
                rows(node.get("values"))[i],
                node.get("gamma").doubleValue(),
                node.get("lam").doubleValue());
        advantages[i] = one.advantages();
        returns[i] = one.returns();
      }
      check(node.get("advantages"), flat(advantages), "advantages");
      check(node.get("returns"), flat(returns), "returns");
      Advantages.whiten(advantages, false);
      check(node.get("white"), flat(advantages), "whitened advantages");
    }
  }

  @Test
  void clippedLossesAndTheirGradients() {
    for (JsonNode node : golden.get("rollouts")) {
      double[] now = flat(node.get("new"));
      double[] before = flat(node.get("old"));
      PpoLoss policy =
          PpoLoss.ofPolicy(now, before, flat(node.get("white")), node.get("clip").doubleValue());
      assertEquals(node.get("policy_loss").doubleValue(), policy.loss(), TOLERANCE);
      assertEquals(node.get("policy_clipped").doubleValue(), policy.clipped(), TOLERANCE);
      check(node.get("policy_gradient"), policy.gradient(), "policy gradient");
      PpoLoss value =
          PpoLoss.ofValue(
              flat(node.get("new_values")),
              flat(node.get("values")),
              flat(node.get("returns")),
              node.get("value_clip").doubleValue());
      assertEquals(node.get("value_loss").doubleValue(), value.loss(), TOLERANCE);
      assertEquals(node.get("value_clipped").doubleValue(), value.clipped(), TOLERANCE);
      check(node.get("value_gradient"), value.gradient(), "value gradient");
      assertEquals(
          node.get("approximate_kl").doubleValue(), PpoLoss.approximateKl(now, before), TOLERANCE);
    }
  }

  @Test
  void pairsOfARanking() {
    for (JsonNode node : golden.get("rankings")) {
      PairLoss loss =
          PairLoss.of(
              numbers(node.get("rewards")), JSON.convertValue(node.get("ranks"), int[].class));
      assertEquals(
          node.get("loss").doubleValue(), loss.loss(), TOLERANCE * (1 + Math.abs(loss.loss())));
      check(node.get("gradient"), loss.gradient(), "gradient");
      assertEquals(node.get("pairs").intValue(), loss.pairs());
      assertEquals(node.get("right").intValue(), loss.right());
    }
  }

  @Test
  void allTiedGiveNoLoss() {
    PairLoss loss = PairLoss.of(new double[] {1, 2, 3}, new int[] {4, 4, 4});
    assertEquals(0, loss.loss());
    assertEquals(0, loss.pairs());
    assertArrayEquals(new double[3], loss.gradient());
  }

  @Test
  void preferences() {
    for (JsonNode node : golden.get("preferences")) {
      double[] at = numbers(node.get("logprobs"));
      DpoLoss loss =
          DpoLoss.of(
              at[0],
              at[1],
              at[2],
              at[3],
              node.get("beta").doubleValue(),
              node.get("smoothing").doubleValue());
      assertEquals(
          node.get("loss").doubleValue(), loss.loss(), TOLERANCE * (1 + Math.abs(loss.loss())));
      check(node.get("gradient"), new double[] {loss.gradient(), -loss.gradient()}, "gradient");
      assertEquals(node.get("chosen").doubleValue(), loss.chosenReward(), TOLERANCE * 1000);
      assertEquals(node.get("rejected").doubleValue(), loss.rejectedReward(), TOLERANCE * 1000);
    }
  }

  @Test
  void theCoefficientFollowsItsTarget() {
    JsonNode node = golden.get("control");
    KlControl control =
        new KlControl(
            node.get("beta").doubleValue(),
            node.get("target").doubleValue(),
            node.get("horizon").doubleValue());
    for (int i = 0; i < node.get("steps").size(); i++) {
      JsonNode step = node.get("steps").get(i);
      control = control.after(step.get(0).doubleValue(), step.get(1).intValue());
      assertEquals(node.get("betas").get(i).doubleValue(), control.beta(), TOLERANCE);
    }
    assertEquals(0.1, KlControl.fixed(0.1).after(100, 1000).beta());
  }
}
