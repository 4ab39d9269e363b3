package dev.sinter.align;

/**
 * A reward model's loss on the ranked responses to one prompt (Ouyang et al. 2022, eq. 1): {@code
 * -1 / pairs * sum log sigmoid(better - worse)} over all pairs that are not tied.
 *
 * @param loss mean over the pairs; 0 where all are tied
 * @param gradient of the loss by each response's reward
 * @param pairs that are not tied
 * @param right those of them whose better response has the greater reward
 */
record PairLoss(double loss, double[] gradient, int pairs, int right) {
  /**
   * Compares all pairs.
   *
   * @param rewards of the responses
   * @param ranks of the responses: less is better, equal ones are tied
   */
  static PairLoss of(double[] rewards, int[] ranks) {
    int count = rewards.length;
    double[] gradient = new double[count];
    double loss = 0;
    int pairs = 0;
    int right = 0;
    for (int better = 0; better < count; better++) {
      for (int worse = 0; worse < count; worse++) {
        if (ranks[better] < ranks[worse]) {
          double margin = rewards[better] - rewards[worse];
          double slope = Logistic.sigmoid(-margin);
          loss -= Logistic.logSigmoid(margin);
          gradient[better] -= slope;
          gradient[worse] += slope;
          pairs++;
          right += margin > 0 ? 1 : 0;
        }
      }
    }
    for (int i = 0; i < count && pairs > 0; i++) {
      gradient[i] /= pairs;
    }
    return new PairLoss(pairs == 0 ? 0 : loss / pairs, gradient, pairs, right);
  }
}
