package dev.sinter.evaluate;

import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.ToDoubleBiFunction;
import java.util.regex.Pattern;

/**
 * Exact match and F1 of answers (SQuAD: Rajpurkar et al. 2016, section 6.1; version 2: Rajpurkar et
 * al. 2018), by the rule of version 2's script: an unanswerable question wants the empty text.
 */
public final class Squad {
  private static final Pattern PUNCTUATION = Pattern.compile("[!-/:-@\\[-`{-~]");

  /** Between what Python's {@code \b} takes for words: letters, numbers, underscore; no marks. */
  private static final Pattern ARTICLES =
      Pattern.compile("(?<![\\p{L}\\p{N}_])(?:a|an|the)(?![\\p{L}\\p{N}_])");

  private Squad() {}

  /**
   * A question and what people answered.
   *
   * @param id of the question
   * @param answers any of them is right; none: the question has no answer
   */
  public record Question(String id, List<String> answers) {}

  /**
   * Means over some of the questions.
   *
   * @param exact share of answers that equal one of the references, from 0 to 1
   * @param f1 mean F1, from 0 to 1
   * @param questions how many; 0 gives scores of 0
   */
  public record Scores(double exact, double f1, int questions) {}

  /**
   * What an evaluation found.
   *
   * @param all over all questions
   * @param answerable over questions that have an answer
   * @param unanswerable over those that have none
   * @param missing questions without a prediction: they count, with a score of 0, as in version 1's
   *     script
   */
  public record Report(Scores all, Scores answerable, Scores unanswerable, int missing) {}

  /**
   * Scores predictions.
   *
   * @param questions with their answers
   * @param predictions an answer for each question's id, empty where it has none
   * @return the means
   * @throws IllegalArgumentException where there are no questions
   */
  public static Report score(List<Question> questions, Map<String, String> predictions) {
    if (questions.isEmpty()) {
      throw new IllegalArgumentException("there are no questions");
    }
    Sum answerable = new Sum();
    Sum unanswerable = new Sum();
    int missing = 0;
    for (Question question : questions) {
      String prediction = predictions.get(question.id());
      Sum sum = question.answers().isEmpty() ? unanswerable : answerable;
      sum.questions++;
      if (prediction == null) {
        missing++;
        continue;
      }
      sum.exact += best(question.answers(), prediction, Squad::exactMatch);
      sum.f1 += best(question.answers(), prediction, Squad::f1);
    }
    Sum all = new Sum();
    all.exact = answerable.exact + unanswerable.exact;
    all.f1 = answerable.f1 + unanswerable.f1;
    all.questions = questions.size();
    return new Report(all.means(), answerable.means(), unanswerable.means(), missing);
  }

  private static final class Sum {
    private double exact;
    private double f1;
    private int questions;

    Scores means() {
      int divisor = Math.max(1, questions);
      return new Scores(exact / divisor, f1 / divisor, questions);
    }
  }

  private static double best(
      List<String> answers, String prediction, ToDoubleBiFunction<String, String> score) {
    // An answer that is nothing but articles and punctuation is none.
    List<String> golds = answers.stream().filter(answer -> !normalize(answer).isEmpty()).toList();
    if (golds.isEmpty()) {
      return score.applyAsDouble(prediction, "");
    }
    return golds.stream()
        .mapToDouble(gold -> score.applyAsDouble(prediction, gold))
        .max()
        .getAsDouble();
  }

  /**
   * Compares two answers.
   *
   * @param prediction an answer
   * @param gold the reference
   * @return 1 where they are equal once {@link #normalize normalized}, else 0
   */
  public static double exactMatch(String prediction, String gold) {
    return normalize(prediction).equals(normalize(gold)) ? 1 : 0;
  }

  /**
   * The harmonic mean of precision and recall of the prediction's words, as a bag.
   *
   * @param prediction an answer
   * @param gold the reference
   * @return from 0 to 1; where one has no words, 1 if the other has none either
   */
  public static double f1(String prediction, String gold) {
    List<String> predicted = Words.split(normalize(prediction));
    List<String> wanted = Words.split(normalize(gold));
    if (predicted.isEmpty() || wanted.isEmpty()) {
      return predicted.equals(wanted) ? 1 : 0;
    }
    Map<String, Integer> left = new HashMap<>();
    wanted.forEach(word -> left.merge(word, 1, Integer::sum));
    int common = 0;
    for (String word : predicted) {
      if (left.merge(word, -1, Integer::sum) >= 0) {
        common++;
      }
    }
    return 2.0 * common / (predicted.size() + wanted.size());
  }

  /**
   * Takes out what is no part of an answer: case, ASCII punctuation, articles, white space but one
   * blank between words.
   *
   * @param answer any text
   * @return what is compared
   */
  public static String normalize(String answer) {
    String text = answer.toLowerCase(Locale.ROOT);
    text = PUNCTUATION.matcher(text).replaceAll("");
    text = ARTICLES.matcher(text).replaceAll(" ");
    return String.join(" ", Words.split(text));
  }
}
