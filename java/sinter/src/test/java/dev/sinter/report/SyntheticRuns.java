package dev.sinter.report;

import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.Entities;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.report.RunRecord.Better;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Runs such as a fine-tuning leaves: noisy curves that fall, taggers and classifiers that err. */
final class SyntheticRuns {
  private static final List<String> NAMES = List.of("Ada", "Grace", "Alan", "Edsger", "Barbara");
  private static final List<String> PLACES = List.of("London", "Zürich", "New York", "東京");
  private static final List<String> FIRMS = List.of("Acme", "Initech", "Globex AG");
  private static final Instant DATE = Instant.parse("2026-11-26T01:40:00Z");

  private SyntheticRuns() {}

  /** A tagger of names, places and firms, right with some probability. */
  static RunRecord tagger(String name, double rate, double skill, long seed) {
    Random random = new Random(seed);
    RunRecord.Builder run =
        RunRecord.of(name, "tag", DATE.plusSeconds(seed))
            .setting("model", "bert-base-cased")
            .setting("learning rate", rate)
            .setting("adapter", skill > 0.94 ? "none" : "lora rank 8")
            .setting("epochs", 3)
            .setting("batch", 32);
    curves(run, rate * 2e4, 600, random);
    List<List<String>> gold = new ArrayList<>();
    List<List<String>> predicted = new ArrayList<>();
    List<Double> probabilities = new ArrayList<>();
    for (int i = 0; i < 400; i++) {
      List<String> words = new ArrayList<>();
      List<String> tags = new ArrayList<>();
      add(words, tags, NAMES.get(random.nextInt(NAMES.size())), "PER");
      add(words, tags, random.nextBoolean() ? "moved to" : "has never been in", null);
      add(words, tags, PLACES.get(random.nextInt(PLACES.size())), "LOC");
      add(words, tags, random.nextBoolean() ? "and joined" : ", far from", null);
      add(words, tags, FIRMS.get(random.nextInt(FIRMS.size())), "ORG");
      List<String> guesses = new ArrayList<>();
      double sure = 1;
      for (String tag : tags) {
        double probability = 1 - Math.pow(random.nextDouble(), 3) * 0.6;
        boolean isRight =
            random.nextDouble() < (tag.equals("O") ? 0.995 : skill * Math.sqrt(probability));
        guesses.add(
            isRight ? tag : tag.equals("B-LOC") ? "B-ORG" : tag.equals("O") ? "B-PER" : "O");
        probabilities.add(probability);
        sure = Math.min(sure, probability);
      }
      gold.add(tags);
      predicted.add(guesses);
      if (i < 40) {
        run.sample(
            String.join(" ", words),
            String.join(" ", tags),
            String.join(" ", guesses),
            "least probability " + Numbers.show(sure));
      }
    }
    List<String> right = gold.stream().flatMap(List::stream).toList();
    List<String> guessed = predicted.stream().flatMap(List::stream).toList();
    LabelReport entities = Entities.score(gold, predicted, Entities.Scheme.CONLL);
    return run.predictions(
            right, guessed, probabilities.stream().mapToDouble(Double::doubleValue).toArray())
        .entities(entities)
        .metric("entity F1", entities.micro().f1(), Better.HIGHER)
        .metric("tag accuracy", Confusion.of(right, guessed).accuracy(), Better.HIGHER)
        .metric("validation loss", 0.31 - 0.2 * skill, Better.LOWER)
        .metric("seconds", 62.5 + seed, Better.LOWER)
        .build();
  }

  /** An alignment: curves by the dozen, samples of which none is right or wrong. */
  static RunRecord alignment(String name, double beta, long seed) {
    Random random = new Random(seed);
    RunRecord.Builder run =
        RunRecord.of(name, "ppo", DATE).setting("kl coefficient", beta).setting("episodes", 1280);
    for (int step = 1; step <= 80; step++) {
      double done = 1 - Math.exp(-step / 30.0);
      run.point("ppo/reward", step, 3 * done - 1 + random.nextGaussian() / 5);
      run.point("ppo/kl", step, done * 0.4 / beta + random.nextGaussian() / 40);
      run.point("ppo/policy loss", step, -0.02 * (1 - done) + random.nextGaussian() / 300);
      run.point("ppo/value loss", step, 1.2 - done + random.nextGaussian() / 30);
    }
    return run.metric("reward", 2 - beta, Better.HIGHER)
        .metric("kl", 0.4 / beta, Better.LOWER)
        .sample(
            "How do I return a parcel?",
            "",
            "Please bring it to any of our shops.",
            "reward " + Numbers.show(2 - beta))
        .build();
  }

  private static void add(List<String> words, List<String> tags, String text, String type) {
    String prefix = "B-";
    for (String word : text.split(" ", -1)) {
      words.add(word);
      tags.add(type == null ? "O" : prefix + type);
      prefix = "I-";
    }
  }

  private static void curves(RunRecord.Builder run, double speed, int steps, Random random) {
    for (int step = 1; step <= steps; step++) {
      double fall = Math.exp(-step * speed / 100);
      double noise = 1 + random.nextGaussian() / 4;
      run.point("train/loss", step, (2.1 * fall + 0.05) * Math.abs(noise));
      run.point(
          "train/learning rate", step, speed / 2e4 * Math.min(step / 60.0, (steps - step) / 540.0));
      if (step % 50 == 0) {
        run.point("validation/loss", step, 2.1 * fall + 0.09 + step / 9000.0);
        run.point("validation/f1", step, 0.95 - fall * 0.9);
      }
    }
  }
}
