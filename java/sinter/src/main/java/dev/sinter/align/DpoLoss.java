package dev.sinter.align;

/**
 * Direct preference optimisation's loss on one pair (Rafailov et al. 2023, eq. 7), with labels that
 * may be wrong (Mitchell 2023, conservative DPO): {@code -(1 - s) log sigmoid(m) - s log
 * sigmoid(-m)}, where the margin {@code m = beta ((chosen - its reference) - (rejected - its
 * reference))}.
 *
 * @param loss to be made small
 * @param gradient of the loss by the chosen response's log-probability; that by the rejected one's
 *     is its negative
 * @param chosenReward beta times what the chosen response has won over the reference
 * @param rejectedReward the same of the rejected one
 */
record DpoLoss(double loss, double gradient, double chosenReward, double rejectedReward) {
  /**
   * Compares a pair.
   *
   * @param chosen log-probability of the better response, the sum over its tokens
   * @param rejected log-probability of the worse one
   * @param chosenReference the same under the reference
   * @param rejectedReference the same under the reference
   * @param beta how much it costs to leave the reference
   * @param smoothing probability that the labels are the wrong way round
   */
  static DpoLoss of(
      double chosen,
      double rejected,
      double chosenReference,
      double rejectedReference,
      double beta,
      double smoothing) {
    double chosenReward = beta * (chosen - chosenReference);
    double rejectedReward = beta * (rejected - rejectedReference);
    double margin = chosenReward - rejectedReward;
    double loss =
        -(1 - smoothing) * Logistic.logSigmoid(margin) - smoothing * Logistic.logSigmoid(-margin);
    double slope = smoothing - Logistic.sigmoid(-margin);
    return new DpoLoss(loss, beta * slope, chosenReward, rejectedReward);
  }

  double margin() {
    return chosenReward - rejectedReward;
  }
}
