package dev.sinter.generate;

import java.time.Duration;
import java.util.List;

/**
 * A finished completion.
 *
 * @param text without the prompt and without the stop text
 * @param tokens as they were generated
 * @param finishReason why it ended
 * @param score of a beam search the hypothesis's score; else the sum of the tokens' logprobs
 * @param promptTokens number of tokens of the prompt
 * @param prefill time until the first token was chosen
 * @param decode time of all tokens after the first
 * @param queue time for which an {@link Engine}'s queue had it, before prefill
 * @param cachedTokens tokens of the prompt that an engine's cache had from other prompts
 * @param proposed tokens that were proposed by {@link Speculation}
 * @param accepted tokens of those that the model chose as well
 */
public record Completion(
    String text,
    List<Token> tokens,
    FinishReason finishReason,
    double score,
    int promptTokens,
    Duration prefill,
    Duration decode,
    Duration queue,
    int cachedTokens,
    int proposed,
    int accepted) {
  /** Copies the list. */
  public Completion {
    tokens = List.copyOf(tokens);
  }

  /**
   * The time that the caller waited for the first token.
   *
   * @return in the queue and at the prompt
   */
  public Duration timeToFirstToken() {
    return queue.plus(prefill);
  }

  /**
   * The rate of decoding.
   *
   * @return tokens a second after the first; 0 where there is only one
   */
  public double tokensPerSecond() {
    double seconds = decode.toNanos() / 1e9;
    return tokens.size() < 2 || seconds == 0 ? 0 : (tokens.size() - 1) / seconds;
  }
}
