package dev.sinter.graph;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The memory of graphs that run one after the other: what a graph leaves in it, its outputs on the
 * device included, is gone when another runs.
 */
public final class Arena implements AutoCloseable {
  private static final String ACTIVATIONS = "";

  private final Device device;

  /** By what they are for; the last is the largest. Graphs stay where they were bound. */
  private final Map<String, List<Memory>> blocks = new HashMap<>();

  private boolean closed;

  /**
   * An arena that grows with its graphs.
   *
   * @param parameters of the model whose graphs share it
   */
  public Arena(Weights parameters) {
    this(parameters.device());
  }

  Arena(Device device) {
    this.device = device;
  }

  /** A place for a graph's activations. */
  Memory activations(long bytes) {
    return block(ACTIVATIONS, bytes);
  }

  /** A workspace that nothing but this operation uses: zeros before its first call. */
  Memory workspace(String operation, long bytes) {
    return block(operation, bytes);
  }

  private Memory block(String use, long bytes) {
    if (closed) {
      throw new IllegalStateException("the arena is closed");
    }
    List<Memory> all = blocks.computeIfAbsent(use, key -> new ArrayList<>());
    Memory last = all.isEmpty() ? null : all.get(all.size() - 1);
    if (last == null || last.bytes() < bytes) {
      // Twice as large: all before it are together no more than it is.
      last = new Memory(device, last == null ? bytes : Math.max(bytes, 2 * last.bytes()));
      all.add(last);
    }
    return last;
  }

  /** Gives the memory back; the graphs are closed before. Closing twice is harmless. */
  @Override
  public void close() {
    closed = true;
    blocks.values().forEach(all -> all.forEach(Memory::close));
  }
}
