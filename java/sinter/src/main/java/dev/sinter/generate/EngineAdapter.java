package dev.sinter.generate;

import dev.sinter.generate.PagePool.Page;

/**
 * An adapter that the model has. Keys and values depend on it: it has pages of its own, below its
 * own root.
 *
 * @param name that requests ask for
 * @param index the decoder's
 * @param root what the first page of its sequences stands below
 */
record EngineAdapter(String name, int index, Page root) {
  /** The index of none. */
  static final int NONE = -1;
}
