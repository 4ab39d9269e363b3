package dev.sinter.model;

import static dev.sinter.model.AdapterConfig.check;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * LoRA (Hu et al. 2021, section 4.1): y = W x + factor B A dropout(x), where A [rank, in] begins
 * uniform in ±1/√in and B [out, rank] as zeros. The factor is alpha / rank, or, stabilised, alpha /
 * √rank (Kalajdzievski 2023).
 *
 * @param rank of the update
 * @param alpha scales it
 * @param dropout of x before A, in training
 * @param rankStabilized whether alpha is divided by √rank, not by the rank
 * @param targets the modules that are changed
 * @param ranks of modules that have another, by the expression that the end of a path matches; the
 *     first counts
 * @param alphas likewise
 * @param modulesToSave ends of the paths of modules that train whole
 * @param base what the adapter is made over; empty: not known
 */
public record LoraConfig(
    int rank,
    double alpha,
    double dropout,
    boolean rankStabilized,
    Targets targets,
    Map<String, Integer> ranks,
    Map<String, Double> alphas,
    List<String> modulesToSave,
    String base)
    implements AdapterConfig {
  /** Checks the ranges. */
  public LoraConfig {
    checkRank(rank);
    checkAlpha(alpha);
    AdapterConfig.checkDropout(dropout);
    // Their order counts.
    ranks = Collections.unmodifiableMap(new LinkedHashMap<>(ranks));
    alphas = Collections.unmodifiableMap(new LinkedHashMap<>(alphas));
    ranks.values().forEach(LoraConfig::checkRank);
    alphas.values().forEach(LoraConfig::checkAlpha);
    ranks.keySet().forEach(Targets::compile);
    alphas.keySet().forEach(Targets::compile);
    modulesToSave = List.copyOf(modulesToSave);
  }

  private static void checkRank(int rank) {
    check(rank >= 1, "rank " + rank + "; 1 or more");
  }

  private static void checkAlpha(double alpha) {
    check(Double.isFinite(alpha), "alpha " + alpha + "; a finite number");
  }

  /**
   * PEFT's defaults but for the rank: alpha 8, no dropout, the usual targets.
   *
   * @param rank of the update
   * @return the settings
   */
  public static LoraConfig of(int rank) {
    return new LoraConfig(rank, 8, 0, false, Targets.USUAL, Map.of(), Map.of(), List.of(), "");
  }

  /** The rank of a module's update. */
  int rank(String path) {
    return of(ranks, path, rank);
  }

  /** What a module's update is multiplied by. */
  double factor(String path) {
    double r = rank(path);
    return of(alphas, path, alpha) / (rankStabilized ? Math.sqrt(r) : r);
  }

  private static <T> T of(Map<String, T> patterns, String path, T otherwise) {
    return patterns.entrySet().stream()
        .filter(entry -> Targets.matchesEnd(entry.getKey(), path))
        .findFirst()
        .map(Map.Entry::getValue)
        .orElse(otherwise);
  }

  /**
   * Changes alpha.
   *
   * @param value scales the update
   * @return new settings
   */
  public LoraConfig withAlpha(double value) {
    return new LoraConfig(
        rank, value, dropout, rankStabilized, targets, ranks, alphas, modulesToSave, base);
  }

  /**
   * Changes the dropout.
   *
   * @param value its probability
   * @return new settings
   */
  public LoraConfig withDropout(double value) {
    return new LoraConfig(
        rank, alpha, value, rankStabilized, targets, ranks, alphas, modulesToSave, base);
  }

  /**
   * Divides alpha by the root of the rank: rsLoRA.
   *
   * @return new settings
   */
  public LoraConfig withRankStabilized() {
    return new LoraConfig(rank, alpha, dropout, true, targets, ranks, alphas, modulesToSave, base);
  }

  /**
   * Changes the targets.
   *
   * @param value the modules that are changed
   * @return new settings
   */
  public LoraConfig withTargets(Targets value) {
    return new LoraConfig(
        rank, alpha, dropout, rankStabilized, value, ranks, alphas, modulesToSave, base);
  }

  @Override
  public LoraConfig withModulesToSave(String... modules) {
    return new LoraConfig(
        rank, alpha, dropout, rankStabilized, targets, ranks, alphas, List.of(modules), base);
  }

  @Override
  public LoraConfig withBase(String name) {
    return new LoraConfig(
        rank, alpha, dropout, rankStabilized, targets, ranks, alphas, modulesToSave, name);
  }
}
