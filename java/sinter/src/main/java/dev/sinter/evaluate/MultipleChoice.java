package dev.sinter.evaluate;

import java.util.List;

/**
 * Choosing the likeliest of several endings (HellaSwag: Zellers et al. 2019). What a length is
 * divided out by differs between evaluations, and with it the result: all three are given.
 */
public final class MultipleChoice {
  private MultipleChoice() {}

  /** By what endings of different length are compared. */
  public enum Rule {
    /** The sum of log-probabilities: {@code acc}. */
    SUM,

    /** Their mean over tokens: {@code acc_norm} of llm.c. */
    PER_TOKEN,

    /** Their sum over the number of characters: {@code acc_norm} of lm-evaluation-harness. */
    PER_CHARACTER;

    double of(Ending ending) {
      return switch (this) {
        case SUM -> ending.logprob;
        case PER_TOKEN -> ending.logprob / ending.tokens;
        case PER_CHARACTER -> ending.logprob / ending.characters;
      };
    }
  }

  /**
   * What a model thinks of an ending.
   *
   * @param logprob sum of the natural logarithms of its tokens' probabilities
   * @param tokens how many, at least 1
   * @param characters code points of its text, without the blank before it, at least 1
   */
  public record Ending(double logprob, int tokens, int characters) {
    /** Checks the lengths. */
    public Ending {
      if (tokens < 1 || characters < 1) {
        throw new IllegalArgumentException("an ending has no text");
      }
    }
  }

  /**
   * A question as a model sees it.
   *
   * @param endings at least one
   * @param gold index of the right one
   */
  public record Question(List<Ending> endings, int gold) {
    /** Checks the index. */
    public Question {
      if (gold < 0 || gold >= endings.size()) {
        throw new IllegalArgumentException(
            "label " + gold + "; 0 to " + (endings.size() - 1) + " are the endings");
      }
    }
  }

  /**
   * Shares of questions whose right ending was chosen.
   *
   * @param accuracy by the sum of log-probabilities
   * @param accuracyPerToken by their mean
   * @param accuracyPerCharacter by their sum over characters
   * @param questions how many
   */
  public record Report(
      double accuracy, double accuracyPerToken, double accuracyPerCharacter, int questions) {}

  /**
   * Chooses an ending.
   *
   * @param endings at least one
   * @param rule of comparison
   * @return index of the best; of equals the first
   */
  public static int best(List<Ending> endings, Rule rule) {
    int best = 0;
    for (int i = 1; i < endings.size(); i++) {
      if (rule.of(endings.get(i)) > rule.of(endings.get(best))) {
        best = i;
      }
    }
    return best;
  }

  /**
   * Scores questions.
   *
   * @param questions at least one
   * @return the shares by each rule
   * @throws IllegalArgumentException where there are no questions
   */
  public static Report score(List<Question> questions) {
    if (questions.isEmpty()) {
      throw new IllegalArgumentException("there are no questions");
    }
    return new Report(
        accuracy(questions, Rule.SUM),
        accuracy(questions, Rule.PER_TOKEN),
        accuracy(questions, Rule.PER_CHARACTER),
        questions.size());
  }

  private static double accuracy(List<Question> questions, Rule rule) {
    long right = questions.stream().filter(q -> best(q.endings, rule) == q.gold).count();
    return (double) right / questions.size();
  }
}
