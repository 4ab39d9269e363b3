package dev.sinter.finetune;

import dev.sinter.data.DataException;
import java.nio.file.Path;
import java.util.List;

/**
 * A row of a user's data, whatever its task.
 *
 * @param file where it comes from, as its user named it
 * @param line of the file, from 1; 0: unknown
 * @param column that says what is right; empty: nothing does
 * @param id of a question, or of a query; may be empty
 * @param texts what the model reads: a text or two; words; question and context; prompt and
 *     choices; query, positive and negatives
 * @param gold what is right: labels, a tag for each word, a number, answers, a translation; of a
 *     question without an answer an empty one
 * @param places of answers in their context
 */
public record Sample(
    Path file,
    long line,
    String column,
    String id,
    List<String> texts,
    List<String> gold,
    List<Integer> places) {
  /** Takes copies. */
  public Sample {
    texts = List.copyOf(texts);
    gold = List.copyOf(gold);
    places = List.copyOf(places);
  }

  Sample(Path file, long line, String column, List<String> texts, List<String> gold) {
    this(file, line, column, "", texts, gold, List.of());
  }

  /**
   * Tells whether it is known what is right.
   *
   * @return whether {@link #gold} says it
   */
  public boolean known() {
    return !column.isEmpty();
  }

  /** The same with other names for what is right. */
  Sample withGold(List<String> other) {
    return new Sample(file, line, column, id, texts, other, places);
  }

  /** What is wrong with what should be right. */
  DataException wrong(String what) {
    return new DataException(file, line, column, what);
  }
}
