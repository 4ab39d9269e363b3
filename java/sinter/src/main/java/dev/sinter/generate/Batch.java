package dev.sinter.generate;

import dev.sinter.model.LanguageModel;
import dev.sinter.text.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Completes several prompts together, which need not be of one length. */
public final class Batch {
  private Batch() {}

  /**
   * Completes prompts. Each gets the tokens that it would get alone, with the seed of the settings
   * plus its number.
   *
   * @param model whose weights
   * @param tokenizer of the model; null: tokens have ids and no text
   * @param prompts at least one; each at least one token, less than the model's context
   * @param sampling how tokens are chosen
   * @return a completion of each prompt
   * @throws IllegalArgumentException for a prompt that is empty or does not fit
   * @throws ArithmeticException where the model's logits are not finite
   */
  public static List<Completion> complete(
      LanguageModel model, Tokenizer tokenizer, List<int[]> prompts, Sampling sampling) {
    if (prompts.isEmpty()) {
      return List.of();
    }
    int context = model.config().context();
    List<Progress> all = new ArrayList<>();
    for (int row = 0; row < prompts.size(); row++) {
      Sequence sequence =
          Progress.sequence(row, prompts.get(row), context, sampling.ending(), tokenizer);
      all.add(new Progress(sequence, context, sampling.ending(), tokenizer));
    }
    long[] last = new long[all.size()];
    long started = System.nanoTime();
    long first = 0;
    try (Rows rows = new Rows(model, all.stream().map(Progress::sequence).toList(), sampling)) {
      for (int left = all.size(); left > 0; ) {
        rows.next();
        long now = System.nanoTime();
        first = first == 0 ? now : first;
        for (int row = 0; row < last.length; row++) {
          Progress progress = all.get(row);
          if (!progress.ended()) {
            progress.add(rows.logprob(row));
            last[row] = now;
            if (progress.ended()) {
              rows.retire(row);
              left--;
            }
          }
        }
      }
    }
    List<Completion> completions = new ArrayList<>();
    for (int row = 0; row < last.length; row++) {
      completions.add(
          all.get(row)
              .completion(Duration.ofNanos(first - started), Duration.ofNanos(last[row] - first)));
    }
    return completions;
  }
}
