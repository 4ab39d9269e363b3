package dev.sinter.align;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.align.AlignmentExperiment.Measured;
import dev.sinter.align.Ppo.Iteration;
import dev.sinter.model.LanguageModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;

/**
 * The three steps show what they must: one seed in every build, and with {@code
 * -Dsinter.alignment=FOLDER} three seeds, whose table and curves go into that folder.
 */
class AlignmentTest {
  private static final int ITERATIONS = 20;

  /** The divergence's coefficient, a larger one, and one that lets the policy cheat. */
  private static final double BETA = 0.2;

  private static final double LARGER_BETA = 0.5;
  private static final double SMALL_BETA = 0.02;
  private static final double TEXT_WEIGHT = 0.3;

  private static final String TUNED = "SFT";
  private static final String PPO = "PPO";
  private static final String LARGER = "PPO, larger β";
  private static final String SMALL = "PPO, small β";
  private static final String PTX = "PPO-ptx";
  private static final String DPO = "DPO";

  /** What one seed gave. */
  private record Outcome(
      long seed,
      RewardTrainer.Result reward,
      Map<String, Measured> models,
      Map<String, List<Iteration>> curves,
      Map<String, List<String>> samples) {

    static Outcome of(long seed, boolean all) {
      Outcome outcome;
      try (AlignmentExperiment experiment = new AlignmentExperiment(seed)) {
        outcome =
            new Outcome(
                seed,
                experiment.reward(),
                new LinkedHashMap<>(),
                new LinkedHashMap<>(),
                new LinkedHashMap<>());
        outcome.add(experiment, TUNED, experiment.tuned());
        outcome.train(experiment, PPO, BETA, 0);
        outcome.train(experiment, LARGER, LARGER_BETA, 0);
        outcome.train(experiment, PTX, BETA, TEXT_WEIGHT);
        if (all) {
          outcome.train(experiment, SMALL, SMALL_BETA, 0);
        }
        try (LanguageModel model = experiment.dpo()) {
          outcome.add(experiment, DPO, model);
        }
      }
      return outcome;
    }

    private void train(AlignmentExperiment experiment, String name, double beta, double text) {
      List<Iteration> curve = new ArrayList<>();
      try (Ppo ppo = experiment.ppo(beta, text, ITERATIONS)) {
        ppo.onIteration(curve::add).run();
        curves.put(name, curve);
        add(experiment, name, ppo.policy());
      }
    }

    private void add(AlignmentExperiment experiment, String name, LanguageModel model) {
      models.put(name, experiment.measure(model));
      samples.put(name, experiment.samples(model, 4));
    }

    /** How far a model's mean reward is above the tuned model's, in deviations of one answer's. */
    double deviations(String name) {
      Measured tuned = models.get(TUNED);
      return (models.get(name).rewards() - tuned.rewards()) / tuned.deviation();
    }

    void check() {
      String all = "seed " + seed + ": " + reward + " " + models;
      assertTrue(reward.accuracy() > 0.65, all);
      assertTrue(deviations(PPO) > 2, all);
      assertTrue(deviations(PTX) > 2, all);
      assertTrue(deviations(DPO) > 0.5, all);
      for (String name : List.of(PPO, PTX, DPO)) {
        assertTrue(models.get(name).goodness() > models.get(TUNED).goodness() + 0.5, all);
      }
      assertTrue(models.get(PPO).kl() < 12, all);
      assertTrue(models.get(LARGER).kl() < models.get(PPO).kl(), all);
      double before = models.get(TUNED).textLoss();
      double risen = models.get(PPO).textLoss() - before;
      assertTrue(models.get(PTX).textLoss() - before < risen / 2, all);
      curves.forEach(
          (name, curve) -> {
            assertEquals(0, curve.get(0).kl(), 1e-4, name);
            for (Iteration one : curve) {
              assertEquals(0, one.firstRatio(), name + " " + one);
              assertTrue(Double.isFinite(one.kl()) && one.clipped() < 0.3, name + " " + one);
              assertTrue(one.entropy() > 0, name + " " + one);
            }
          });
    }
  }

  @Test
  void answersBecomeBetterWithoutLeavingTheLanguage() {
    Outcome.of(1, false).check();
  }

  @Test
  @EnabledIfSystemProperty(named = "sinter.alignment", matches = ".+")
  void threeSeeds() throws IOException {
    Path folder = Files.createDirectories(Path.of(System.getProperty("sinter.alignment")));
    List<Outcome> outcomes = List.of(Outcome.of(1, true), Outcome.of(2, true), Outcome.of(3, true));
    Files.writeString(folder.resolve("alignment.md"), table(outcomes));
    Files.writeString(folder.resolve("alignment.csv"), curves(outcomes));
    outcomes.forEach(Outcome::check);
  }

  private static String table(List<Outcome> outcomes) {
    StringBuilder text = new StringBuilder();
    text.append("| seed | reward model: held-out accuracy | pairs |\n|---|---|---|\n");
    for (Outcome one : outcomes) {
      line(text, "| %d | %.3f | %d |", one.seed, one.reward.accuracy(), one.reward.pairs());
    }
    text.append("\n| seed | model | mean reward | over SFT, in deviations | goodness, 0 to 4 |");
    text.append(" ended | KL | text loss |\n|---|---|---|---|---|---|---|---|\n");
    for (Outcome one : outcomes) {
      one.models.forEach(
          (name, model) ->
              line(
                  text,
                  "| %d | %s | %.2f ± %.2f | %.2f | %.2f | %.2f | %.2f | %.3f |",
                  one.seed,
                  name,
                  model.rewards(),
                  model.deviation(),
                  one.deviations(name),
                  model.goodness(),
                  model.ended(),
                  model.kl(),
                  model.textLoss()));
    }
    for (Map.Entry<String, List<String>> samples : outcomes.get(0).samples.entrySet()) {
      text.append('\n').append(samples.getKey()).append(":\n\n```\n");
      samples.getValue().forEach(sample -> text.append(sample).append('\n'));
      text.append("```\n");
    }
    return text.toString();
  }

  private static String curves(List<Outcome> outcomes) {
    StringBuilder text = new StringBuilder();
    text.append("seed,model,iteration,score,reward,kl,beta,entropy,length,ended,policy_loss,");
    text.append("value_loss,clipped,approximate_kl,text_loss,held_text_loss\n");
    for (Outcome one : outcomes) {
      one.curves.forEach(
          (name, curve) ->
              curve.forEach(
                  i ->
                      line(
                          text,
                          "%d,\"%s\",%d,%.4f,%.4f,%.4f,%.4f,%.4f,%.2f,%.3f,%.5f,%.5f,%.4f,%.5f"
                              + ",%.4f,%.4f",
                          one.seed,
                          name,
                          i.number(),
                          i.score(),
                          i.reward(),
                          i.kl(),
                          i.beta(),
                          i.entropy(),
                          i.length(),
                          i.ended(),
                          i.policyLoss(),
                          i.valueLoss(),
                          i.clipped(),
                          i.approximateKl(),
                          i.textLoss(),
                          i.heldTextLoss())));
    }
    return text.toString();
  }

  private static void line(StringBuilder text, String format, Object... values) {
    text.append(String.format(Locale.ROOT, format, values)).append('\n');
  }
}
