package dev.sinter.model;

import static dev.sinter.model.AdapterConfig.check;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * AdaLoRA (Zhang et al. 2023): y = W x + factor B diag(E) A dropout(x), where A [rank, in] and B
 * [out, rank] begin with a deviation of 0.02 and E [rank] as zeros. All modules begin with one
 * rank; while it trains, the least important triplets (an element of E, a row of A, a column of B)
 * are set to zero until the target is left. The factor, alpha / (initial rank + 1e-5), stays.
 *
 * <p>With b0 = initial rank and bT = target rank, each times the number of modules, the budget
 * after step t is b0 up to tinit; bT + (b0 - bT) (1 - (t - tinit) / (T - tfinal - tinit))³, rounded
 * down, from then on, at every deltaT-th step; and bT for the last tfinal steps, in which what was
 * kept no longer changes.
 *
 * @param initialRank of each module's update
 * @param targetRank that is left, in the mean over the modules
 * @param alpha scales the update
 * @param dropout of x before A, in training
 * @param targets the modules that are changed
 * @param tinit steps before the first that prunes
 * @param tfinal steps after the last that prunes
 * @param deltaT steps from one pruning to the next
 * @param totalSteps T, of the training
 * @param beta1 decay of the running mean of importance
 * @param beta2 decay of the running mean of its uncertainty
 * @param orthogonality weight of the regulariser: the mean, over all A and B, of the Frobenius
 *     norms of A Aᵀ - I and Bᵀ B - I
 * @param kept which triplets of the initial rank each module has, by its path; empty: all, and
 *     training decides
 * @param modulesToSave ends of the paths of modules that train whole
 * @param base what the adapter is made over; empty: not known
 */
public record AdaLoraConfig(
    int initialRank,
    int targetRank,
    double alpha,
    double dropout,
    Targets targets,
    long tinit,
    long tfinal,
    long deltaT,
    long totalSteps,
    double beta1,
    double beta2,
    double orthogonality,
    Map<String, List<Boolean>> kept,
    List<String> modulesToSave,
    String base)
    implements AdapterConfig {
  /** Checks the ranges. */
  public AdaLoraConfig {
    check(initialRank >= 1, "initial rank " + initialRank + "; 1 or more");
    check(
        targetRank >= 0 && targetRank <= initialRank,
        "target rank " + targetRank + "; 0 to the initial rank, " + initialRank);
    check(Double.isFinite(alpha), "alpha " + alpha + "; a finite number");
    AdapterConfig.checkDropout(dropout);
    check(
        tinit >= 0 && tfinal >= 0 && deltaT >= 1,
        "tinit " + tinit + ", tfinal " + tfinal + ", deltaT " + deltaT + "; 0, 0, 1 or more");
    check(
        tinit < totalSteps - tfinal,
        "tinit "
            + tinit
            + " and tfinal "
            + tfinal
            + " leave no step of "
            + totalSteps
            + " to prune in");
    check(beta1 > 0 && beta1 < 1, "beta1 " + beta1 + "; more than 0 and less than 1");
    check(beta2 > 0 && beta2 < 1, "beta2 " + beta2 + "; more than 0 and less than 1");
    check(
        orthogonality >= 0 && Double.isFinite(orthogonality),
        "orthogonality " + orthogonality + "; 0 or more");
    Map<String, List<Boolean>> copy = new LinkedHashMap<>();
    kept.forEach((path, triplets) -> copy.put(path, List.copyOf(triplets)));
    kept = Collections.unmodifiableMap(copy);
    modulesToSave = List.copyOf(modulesToSave);
  }

  /**
   * PEFT's defaults but for the ranks: alpha 8, no dropout, the usual targets, pruning at every
   * step, betas 0.85, orthogonality 0.5.
   *
   * @param initialRank of each module's update
   * @param targetRank that is left, in the mean over the modules
   * @param totalSteps of the training
   * @return the settings
   */
  public static AdaLoraConfig of(int initialRank, int targetRank, long totalSteps) {
    return new AdaLoraConfig(
        initialRank,
        targetRank,
        8,
        0,
        Targets.USUAL,
        0,
        0,
        1,
        totalSteps,
        0.85,
        0.85,
        0.5,
        Map.of(),
        List.of(),
        "");
  }

  /** What every module's update is multiplied by. */
  double factor() {
    return alpha / (initialRank + 1e-5);
  }

  private AdaLoraConfig with(
      double newAlpha,
      double newDropout,
      Targets newTargets,
      List<String> newModulesToSave,
      String newBase) {
    return new AdaLoraConfig(
        initialRank,
        targetRank,
        newAlpha,
        newDropout,
        newTargets,
        tinit,
        tfinal,
        deltaT,
        totalSteps,
        beta1,
        beta2,
        orthogonality,
        kept,
        newModulesToSave,
        newBase);
  }

  /**
   * Changes alpha.
   *
   * @param value scales the update
   * @return new settings
   */
  public AdaLoraConfig withAlpha(double value) {
    return with(value, dropout, targets, modulesToSave, base);
  }

  /**
   * Changes the dropout.
   *
   * @param value its probability
   * @return new settings
   */
  public AdaLoraConfig withDropout(double value) {
    return with(alpha, value, targets, modulesToSave, base);
  }

  /**
   * Changes the targets.
   *
   * @param value the modules that are changed
   * @return new settings
   */
  public AdaLoraConfig withTargets(Targets value) {
    return with(alpha, dropout, value, modulesToSave, base);
  }

  @Override
  public AdaLoraConfig withModulesToSave(String... modules) {
    return with(alpha, dropout, targets, List.of(modules), base);
  }

  @Override
  public AdaLoraConfig withBase(String name) {
    return with(alpha, dropout, targets, modulesToSave, name);
  }

  /**
   * Changes when triplets are pruned.
   *
   * @param first steps before the first that prunes
   * @param last steps after the last that prunes
   * @param every steps from one pruning to the next
   * @return new settings
   */
  public AdaLoraConfig withSchedule(long first, long last, long every) {
    return new AdaLoraConfig(
        initialRank,
        targetRank,
        alpha,
        dropout,
        targets,
        first,
        last,
        every,
        totalSteps,
        beta1,
        beta2,
        orthogonality,
        kept,
        modulesToSave,
        base);
  }

  /**
   * Changes the weight of the regulariser.
   *
   * @param value times the mean of the norms
   * @return new settings
   */
  public AdaLoraConfig withOrthogonality(double value) {
    return new AdaLoraConfig(
        initialRank,
        targetRank,
        alpha,
        dropout,
        targets,
        tinit,
        tfinal,
        deltaT,
        totalSteps,
        beta1,
        beta2,
        value,
        kept,
        modulesToSave,
        base);
  }

  /**
   * Fixes what is kept.
   *
   * @param triplets by the paths of their modules, each of the initial rank's length
   * @return new settings
   */
  public AdaLoraConfig withKept(Map<String, List<Boolean>> triplets) {
    return new AdaLoraConfig(
        initialRank,
        targetRank,
        alpha,
        dropout,
        targets,
        tinit,
        tfinal,
        deltaT,
        totalSteps,
        beta1,
        beta2,
        orthogonality,
        triplets,
        modulesToSave,
        base);
  }
}
