package dev.sinter.generate;

import dev.sinter.generate.PagePool.Page;

/**
 * An adapter that the model has. Keys and values depend on it: it has pages of its own, below its
 * own root.
 */
final class EngineAdapter {
  /** The index of none. */
  static final int NONE = -1;

  private final int index;
  private final Page root = PagePool.root();

  /**
   * @param index the decoder's
   */
  EngineAdapter(int index) {
    this.index = index;
  }

  int index() {
    return index;
  }

  /** What the first page of its sequences stands below. */
  Page root() {
    return root;
  }
}
