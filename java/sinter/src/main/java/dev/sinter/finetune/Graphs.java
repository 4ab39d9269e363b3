package dev.sinter.finetune;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.IntFunction;

/**
 * Graphs by the length of their sequences, which is rounded up so that a handful of them serve all
 * batches; those used last are kept.
 */
final class Graphs<G extends AutoCloseable> implements AutoCloseable {
  private static final int KEPT = 6;

  private final Map<Integer, G> kept = new LinkedHashMap<>(2 * KEPT, 0.75f, true);
  private final IntFunction<G> trace;
  private final int most;
  private final Closing<G> closing;

  /** Closes a graph; none of them throws what must be caught. */
  interface Closing<G> {
    void close(G graph);
  }

  Graphs(int most, IntFunction<G> trace, Closing<G> closing) {
    this.most = most;
    this.trace = trace;
    this.closing = closing;
  }

  /** A graph for sequences of at most this length, of which at most a quarter is padding. */
  G of(int length) {
    int step = Math.max(8, Integer.highestOneBit(length) / 4);
    int rounded = Math.min(most, (length + step - 1) / step * step);
    G graph = kept.get(rounded);
    if (graph == null) {
      if (kept.size() == KEPT) {
        closing.close(kept.remove(kept.keySet().iterator().next()));
      }
      graph = trace.apply(rounded);
      kept.put(rounded, graph);
    }
    return graph;
  }

  @Override
  public void close() {
    new ArrayList<>(kept.values()).forEach(closing::close);
    kept.clear();
  }
}
