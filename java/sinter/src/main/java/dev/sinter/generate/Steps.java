package dev.sinter.generate;

import dev.sinter.graph.Sampler;
import dev.sinter.model.LoadedAdapter;

/**
 * A model's decoder as the engine sees it: a step computes rows, each a token of a sequence at its
 * position, over a cache in pages. Sequences have a slot each. All tokens of a step are in the
 * cache before any row looks at it, so a row may see pages that rows of other slots fill in the
 * same step. What a row gives does not depend on the others, nor on the pages' numbers.
 */
interface Steps extends AutoCloseable {
  /** The most positions of a sequence. */
  int context();

  int vocabulary();

  int pages();

  /** Positions of a page. */
  int pageSize();

  int slots();

  /** The most rows of a step. */
  int maxRows();

  /** Says which page holds a slot's positions from index * pageSize on. */
  void setPage(int slot, int index, int page);

  /** Writes a slot's history, which the repetition penalty reads. */
  void setToken(int slot, int position, int token);

  /**
   * Takes an adapter in, between steps.
   *
   * @return its index
   * @throws IllegalArgumentException where it is another model's
   */
  int loadAdapter(LoadedAdapter adapter);

  /** Lets an adapter go, between steps; its index may be the next one's. */
  void unloadAdapter(int index);

  /** Says which adapter a slot's sequence has; -1: none. */
  void setAdapter(int slot, int index);

  /** Starts a step without rows. */
  void begin();

  /**
   * Adds a token to the step: those of one slot together, in the order of their positions.
   *
   * @return the row
   */
  int add(int slot, int position, int token);

  /**
   * Asks for the token behind a row.
   *
   * @param step the number of the draw
   * @param historyLength how many tokens of the slot's history count
   */
  void choose(int row, Sampler.Settings how, long seed, long step, int historyLength);

  /** Asks for the logits of a row. */
  void wantLogits(int row);

  /** Computes the step, and waits for it where anything was asked of a row. */
  void run();

  /** The token that was chosen behind a row; -1 where no logit is finite. */
  int token(int row);

  /** Of the token that was chosen, under the unprocessed logits. */
  float logprob(int row);

  /**
   * Gives the logits of a row.
   *
   * @param into [vocabulary]
   */
  void logits(int row, float[] into);

  @Override
  void close();
}
