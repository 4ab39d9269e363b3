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
 * @param flops floating-point operations of its passes, as {@link dev.sinter.graph.Graph#flops()}
 *     counts them
 */
public record Step(
    long number,
    double loss,
    double gradientNorm,
    double learningRate,
    long tokens,
    double seconds,
    double flops) {
  /**
   * The rate of training.
   *
   * @return tokens a second
   */
  public double tokensPerSecond() {
    return tokens / seconds;
  }

  /**
   * The rate of arithmetic: against the device's {@link dev.sinter.graph.Device#peak peak} it is
   * the model's utilisation (MFU).
   *
   * @return floating-point operations a second
   */
  public double flopsPerSecond() {
    return flops / seconds;
  }
}
