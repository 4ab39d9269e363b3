package dev.sinter.align;

import java.util.List;

/**
 * Responses to one prompt, ranked by who compared them.
 *
 * @param prompt what was said before
 * @param responses two or more
 * @param ranks of the responses: less is better, equal ones are tied
 */
public record Ranking(Conversation prompt, List<String> responses, List<Integer> ranks) {
  /** Copies the lists. */
  public Ranking {
    responses = List.copyOf(responses);
    ranks = List.copyOf(ranks);
    if (responses.size() < 2 || ranks.size() != responses.size()) {
      throw new IllegalArgumentException(
          responses.size()
              + " responses and "
              + ranks.size()
              + " ranks; two responses or more, and a rank for each");
    }
    if (ranks.stream().distinct().count() < 2) {
      throw new IllegalArgumentException("all responses are tied, which says nothing");
    }
  }

  /**
   * A better and a worse response.
   *
   * @param prompt what was said before
   * @param chosen the better one
   * @param rejected the worse one
   * @return the ranking
   */
  public static Ranking of(Conversation prompt, String chosen, String rejected) {
    return new Ranking(prompt, List.of(chosen, rejected), List.of(0, 1));
  }
}
