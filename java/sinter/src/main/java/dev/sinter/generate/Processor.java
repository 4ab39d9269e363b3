package dev.sinter.generate;

/**
 * Changes the scores of the next token. {@link Processors} has those of the field; any other is
 * called behind them and before the ones of sampling.
 */
@FunctionalInterface
public interface Processor {
  /**
   * Changes scores in place.
   *
   * @param scores [vocabulary]: logits, or log-probabilities in a beam search; negative infinity
   *     rules a token out
   * @param sequence the tokens before it
   */
  void process(float[] scores, Sequence sequence);
}
