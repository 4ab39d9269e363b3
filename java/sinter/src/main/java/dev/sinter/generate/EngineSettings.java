package dev.sinter.generate;

import dev.sinter.model.PagedDecoder;
import java.util.Objects;

/**
 * How large an {@link Engine} is.
 *
 * @param slots the most requests that decode together
 * @param pages of the cache; 0: as many as four contexts of the model fill
 * @param pageSize positions of a page; prompts share whole pages
 * @param chunk the most tokens of prompts a step; more bring the first token sooner, and make those
 *     that decode wait longer
 * @param queue the most requests that wait for a slot
 * @param speculation of requests that name none
 */
public record EngineSettings(
    int slots, int pages, int pageSize, int chunk, int queue, Speculation speculation) {
  /** Checks the ranges. */
  public EngineSettings {
    check(slots >= 1, "slots " + slots + "; 1 or more");
    check(pages >= 0, "pages " + pages + "; 0 (four contexts) or more");
    check(pageSize >= 1, "page size " + pageSize + "; 1 or more");
    check(chunk >= 1, "chunk " + chunk + "; 1 or more");
    check(
        (long) slots + chunk <= PagedDecoder.MOST,
        "slots " + slots + " and chunk " + chunk + "; together at most " + PagedDecoder.MOST);
    check(queue >= 1, "queue " + queue + "; 1 or more");
    Objects.requireNonNull(speculation, "speculation; Speculation.none() for none");
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /**
   * 16 requests together, a cache of four contexts in pages of 16, 256 tokens of prompts a step, a
   * queue of 256, no speculation.
   *
   * @return the settings
   */
  public static EngineSettings defaults() {
    return new EngineSettings(16, 0, 16, 256, 256, Speculation.none());
  }

  /**
   * Changes how many requests decode together.
   *
   * @param value the most
   * @return new settings
   */
  public EngineSettings withSlots(int value) {
    return new EngineSettings(value, pages, pageSize, chunk, queue, speculation);
  }

  /**
   * Changes the size of the cache.
   *
   * @param value pages; 0: as many as four contexts fill
   * @return new settings
   */
  public EngineSettings withPages(int value) {
    return new EngineSettings(slots, value, pageSize, chunk, queue, speculation);
  }

  /**
   * Changes the size of a page.
   *
   * @param value positions
   * @return new settings
   */
  public EngineSettings withPageSize(int value) {
    return new EngineSettings(slots, pages, value, chunk, queue, speculation);
  }

  /**
   * Changes how much of the prompts a step computes.
   *
   * @param value the most tokens
   * @return new settings
   */
  public EngineSettings withChunk(int value) {
    return new EngineSettings(slots, pages, pageSize, value, queue, speculation);
  }

  /**
   * Changes how many requests may wait.
   *
   * @param value the most
   * @return new settings
   */
  public EngineSettings withQueue(int value) {
    return new EngineSettings(slots, pages, pageSize, chunk, value, speculation);
  }

  /**
   * Changes how tokens are proposed.
   *
   * @param value of requests that name none
   * @return new settings
   */
  public EngineSettings withSpeculation(Speculation value) {
    return new EngineSettings(slots, pages, pageSize, chunk, queue, value);
  }

  /** The most rows of a step. */
  int rows() {
    return slots + chunk;
  }

  /** Pages for a model of that context. */
  int pagesFor(int context) {
    int each = (context + pageSize - 1) / pageSize;
    return pages == 0 ? Math.multiplyExact(4, each) : pages;
  }
}
