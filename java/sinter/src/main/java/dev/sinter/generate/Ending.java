package dev.sinter.generate;

import java.util.List;
import java.util.Set;

/**
 * When a completion ends, beside the model's context.
 *
 * @param maxNewTokens the most tokens to generate; 0: what maxLength leaves
 * @param maxLength the most tokens of prompt and completion together, as Hugging Face counts; 0:
 *     none, and where maxNewTokens is given that one alone counts
 * @param tokens ids that end the completion, which has them as its last; empty: the tokenizer's
 *     end-of-text
 * @param stop texts that end the completion; they are not part of it
 */
public record Ending(int maxNewTokens, int maxLength, Set<Integer> tokens, List<String> stop) {
  /** Checks the ranges and copies. */
  public Ending {
    if (maxNewTokens < 0 || maxLength < 0 || maxNewTokens + maxLength == 0) {
      throw new IllegalArgumentException(
          "max new tokens " + maxNewTokens + ", max length " + maxLength + "; one is 1 or more");
    }
    tokens = Set.copyOf(tokens);
    if (tokens.stream().anyMatch(id -> id < 0)) {
      throw new IllegalArgumentException("end tokens " + tokens + "; each is 0 or more");
    }
    stop = List.copyOf(stop);
    if (stop.stream().anyMatch(String::isEmpty)) {
      throw new IllegalArgumentException("a stop text is empty");
    }
  }

  /**
   * The most tokens that a prompt and its completion may have together.
   *
   * @param prompt tokens of the prompt
   * @param context the model's
   */
  int limit(int prompt, int context) {
    if (asked(prompt) <= prompt) {
      throw new IllegalArgumentException(
          "max length " + maxLength + " leaves no room behind a prompt of " + prompt + " tokens");
    }
    return (int) Math.min(context, asked(prompt));
  }

  /** Why a completion of that length ends. */
  FinishReason atLimit(int prompt, int context) {
    return asked(prompt) <= context ? FinishReason.LENGTH : FinishReason.CONTEXT;
  }

  private long asked(int prompt) {
    return maxNewTokens > 0 ? (long) prompt + maxNewTokens : maxLength;
  }
}
