package dev.sinter.align;

import java.util.Arrays;

/**
 * A response that the policy has given, and what is known of each of its tokens.
 *
 * @param example prompt and response, of which the latter is to be learned
 * @param prompt how many of its tokens are the prompt
 * @param ended whether the response came to its end
 * @param before log-probability of each of the response's tokens under the policy that chose it
 * @param reference the same under the model that training began with
 * @param values of the state before each token
 * @param score of the whole response
 */
record Rollout(
    Example example,
    int prompt,
    boolean ended,
    double[] before,
    double[] reference,
    double[] values,
    double score) {
  /** The divergence from the reference, estimated by this response: a sum over its tokens. */
  double kl() {
    double sum = 0;
    for (int i = 0; i < before.length; i++) {
      sum += before[i] - reference[i];
    }
    return sum;
  }

  /** What each token earns: a penalty for leaving the reference, and at the end the score. */
  double[] rewards(double beta) {
    double[] rewards = new double[before.length];
    Arrays.setAll(rewards, i -> -beta * (before[i] - reference[i]));
    rewards[rewards.length - 1] += score;
    return rewards;
  }
}
