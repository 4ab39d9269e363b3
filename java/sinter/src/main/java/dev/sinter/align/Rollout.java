package dev.sinter.align;

import java.util.Arrays;

/**
 * A response that the policy has given, and what is known of each of its tokens.
 *
 * @param tokens prompt and response
 * @param prompt how many of them are the prompt
 * @param before log-probability of each of the response's tokens under the policy that chose it
 * @param reference the same under the model that training began with
 * @param values of the state before each token
 * @param score of the whole response
 */
record Rollout(
    int[] tokens, int prompt, double[] before, double[] reference, double[] values, double score) {
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
