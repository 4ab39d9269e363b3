package dev.sinter.align;

/**
 * The clipped losses of proximal policy optimisation (Schulman et al. 2017, eq. 7; the value's
 * clipping as in their code), means over tokens.
 *
 * @param loss to be made small
 * @param gradient of the loss by each token's new log-probability, or new value
 * @param clipped share of the tokens whose gradient the clipping took away, or would have
 */
record PpoLoss(double loss, double[] gradient, double clipped) {
  /**
   * The policy's: {@code mean max(-A r, -A clip(r, 1 - clip, 1 + clip))} with {@code r = exp(now -
   * before)}.
   *
   * @param now log-probability of each token under the policy as it is
   * @param before the same under the policy that chose it
   * @param advantages of each token
   * @param clip how far the ratio may go before its gradient ends
   */
  static PpoLoss ofPolicy(double[] now, double[] before, double[] advantages, double clip) {
    int count = now.length;
    double[] gradient = new double[count];
    double loss = 0;
    int clipped = 0;
    for (int i = 0; i < count; i++) {
      double ratio = Math.exp(now[i] - before[i]);
      double plain = -advantages[i] * ratio;
      double limited = -advantages[i] * Math.min(Math.max(ratio, 1 - clip), 1 + clip);
      loss += Math.max(plain, limited) / count;
      gradient[i] = plain >= limited ? plain / count : 0;
      clipped += limited > plain ? 1 : 0;
    }
    return new PpoLoss(loss, gradient, (double) clipped / count);
  }

  /**
   * The value's: {@code mean max((v - R)^2, (clip(v, before - clip, before + clip) - R)^2) / 2}.
   *
   * @param now value of each token's state under the model as it is
   * @param before the same at the time of the rollout
   * @param returns what it should be
   * @param clip how far a value may go before its gradient ends
   */
  static PpoLoss ofValue(double[] now, double[] before, double[] returns, double clip) {
    int count = now.length;
    double[] gradient = new double[count];
    double loss = 0;
    int clipped = 0;
    for (int i = 0; i < count; i++) {
      double near = Math.min(Math.max(now[i], before[i] - clip), before[i] + clip);
      double plain = (now[i] - returns[i]) * (now[i] - returns[i]);
      double limited = (near - returns[i]) * (near - returns[i]);
      loss += 0.5 * Math.max(plain, limited) / count;
      gradient[i] = plain >= limited ? (now[i] - returns[i]) / count : 0;
      clipped += limited > plain ? 1 : 0;
    }
    return new PpoLoss(loss, gradient, (double) clipped / count);
  }

  /**
   * How far the policy has gone since the rollout: {@code mean (now - before)^2 / 2}, which is the
   * KL divergence to second order.
   */
  static double approximateKl(double[] now, double[] before) {
    double sum = 0;
    for (int i = 0; i < now.length; i++) {
      sum += 0.5 * (now[i] - before[i]) * (now[i] - before[i]) / now.length;
    }
    return sum;
  }
}
