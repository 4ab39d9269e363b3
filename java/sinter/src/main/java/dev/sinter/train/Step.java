package dev.sinter.train;

/**
 * A step that has been taken.
 *
 * @param number from 1
 * @param loss mean of its tokens before the update, in nats
 * @param gradientNorm before clipping
 * @param learningRate of the update
 * @param tokens that it read
 * @param seconds that it took
 */
public record Step(
    long number,
    double loss,
    double gradientNorm,
    double learningRate,
    long tokens,
    double seconds) {
  /**
   * The rate of training.
   *
   * @return tokens a second
   */
  public double tokensPerSecond() {
    return tokens / seconds;
  }
}
