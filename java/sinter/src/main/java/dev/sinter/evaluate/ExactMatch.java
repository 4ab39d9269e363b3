package dev.sinter.evaluate;

import java.util.List;

/** The share of texts that equal a reference, character for character. */
public final class ExactMatch {
  private ExactMatch() {}

  /**
   * Scores texts.
   *
   * @param predictions one for each task
   * @param references the right texts of each task
   * @return from 0 to 1
   * @throws IllegalArgumentException where there are not as many of both, or none
   */
  public static double score(List<String> predictions, List<List<String>> references) {
    Check.sameSize("predictions", predictions.size(), "tasks", references.size());
    int right = 0;
    for (int i = 0; i < predictions.size(); i++) {
      right += references.get(i).contains(predictions.get(i)) ? 1 : 0;
    }
    return (double) right / predictions.size();
  }
}
