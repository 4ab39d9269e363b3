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
 */
public record Completion(
    String text,
    List<Token> tokens,
    FinishReason finishReason,
    double score,
    int promptTokens,
    Duration prefill,
    Duration decode) {
  /** Copies the list. */
  public Completion {
    tokens = List.copyOf(tokens);
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
