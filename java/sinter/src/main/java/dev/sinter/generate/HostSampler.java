package dev.sinter.generate;

import java.util.List;

/**
 * Chooses tokens on the host, for processors that the device does not know, with the numbers that
 * the sampler on the device would draw.
 */
final class HostSampler {
  private final boolean greedy;
  private final Processors processors;

  HostSampler(Sampling sampling) {
    greedy = sampling.temperature() == 0;
    processors = Processors.of(sampling);
  }

  /**
   * Chooses a token.
   *
   * @param logits [vocabulary]; they stay as they are
   * @param sequence the tokens before it
   * @return -1 where no score is finite
   */
  int choose(float[] logits, Sequence sequence, long seed, long step) {
    float[] scores = logits.clone();
    processors.process(new float[][] {scores}, List.of(sequence));
    return greedy
        ? Distribution.best(scores)
        : Distribution.draw(scores, Philox.uniform(seed, step));
  }
}
