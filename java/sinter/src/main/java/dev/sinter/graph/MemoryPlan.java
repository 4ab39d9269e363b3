package dev.sinter.graph;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Lays all activations of a list of operations out in one arena: two tensors share memory where the
 * last read of one comes before the first write of the other.
 */
final class MemoryPlan {
  private static final long ALIGNMENT = 256;

  /** A stretch of memory that is in use from operation {@code first} to operation {@code last}. */
  private static final class Block {
    final long bytes;
    final int first;
    int last;
    long offset = -1;

    Block(long bytes, int first, int last) {
      this.bytes = align(bytes);
      this.first = first;
      this.last = last;
    }

    boolean overlaps(Block other) {
      return first <= other.last && other.first <= last;
    }
  }

  private final Map<Tensor, Block> blocks = new IdentityHashMap<>();
  private final List<Block> workspaces = new ArrayList<>();
  private final long bytes;

  /**
   * @param operations in the order in which they run
   * @param inputs tensors that are written before the first
   * @param outputs tensors that are read after the last
   */
  MemoryPlan(List<Operation> operations, Set<Tensor> inputs, Set<Tensor> outputs, Device device) {
    Map<Tensor, Integer> lastUse = new IdentityHashMap<>();
    for (int i = 0; i < operations.size(); i++) {
      for (Tensor tensor : operations.get(i).reads()) {
        lastUse.put(tensor.storage(), i);
      }
      for (Tensor tensor : operations.get(i).writes()) {
        lastUse.put(tensor.storage(), i);
      }
    }
    int end = operations.size();
    Set<Tensor> persistent = new LinkedHashSet<>(inputs);
    persistent.addAll(outputs);
    for (Tensor tensor : persistent) {
      if (tensor.role() == Tensor.Role.RESIDENT) {
        continue;
      }
      blocks.put(tensor.storage(), new Block(tensor.bytes(), -1, end));
    }
    for (int i = 0; i < end; i++) {
      Operation operation = operations.get(i);
      for (Tensor tensor : operation.writes()) {
        Tensor storage = tensor.storage();
        if (storage.role() != Tensor.Role.ACTIVATION || blocks.containsKey(storage)) {
          continue;
        }
        Block reused =
            tensor == operation.writes().get(0) ? inPlaceBlock(operation, storage, i) : null;
        if (reused != null) {
          reused.last = lastUse.get(storage);
          blocks.put(storage, reused);
        } else {
          blocks.put(storage, new Block(tensor.bytes(), i, lastUse.get(storage)));
        }
      }
      long workspace = operation.keepsWorkspace() ? 0 : operation.workspace(device);
      workspaces.add(new Block(workspace, i, i));
    }
    bytes = place();
  }

  private Block inPlaceBlock(Operation operation, Tensor output, int index) {
    Tensor input = operation.inPlace();
    if (input == null) {
      return null;
    }
    Block block = blocks.get(input.storage());
    boolean free = block != null && block.last == index && block.bytes == align(output.bytes());
    return free ? block : null;
  }

  private long place() {
    List<Block> all = new ArrayList<>(workspaces);
    blocks.values().stream().distinct().forEach(all::add);
    all.sort(
        Comparator.comparingLong((Block b) -> -b.bytes)
            .thenComparingInt(b -> b.first)
            .thenComparingInt(b -> b.last));
    List<Block> placed = new ArrayList<>();
    long top = 0;
    for (Block block : all) {
      if (block.bytes == 0) {
        block.offset = 0;
        continue;
      }
      long offset = 0;
      for (Block other : placed) { // sorted by offset: the first gap that is wide enough
        if (!block.overlaps(other)) {
          continue;
        }
        if (other.offset - offset >= block.bytes) {
          break;
        }
        offset = Math.max(offset, other.offset + other.bytes);
      }
      block.offset = offset;
      int at = 0;
      while (at < placed.size() && placed.get(at).offset <= offset) {
        at++;
      }
      placed.add(at, block);
      top = Math.max(top, offset + block.bytes);
    }
    return top;
  }

  static long align(long bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  /** The size of the arena. */
  long bytes() {
    return bytes;
  }

  /** Where a tensor stands in the arena. */
  long offset(Tensor tensor) {
    return blocks.get(tensor.storage()).offset;
  }

  /** All tensors that have a place. */
  Set<Tensor> tensors() {
    return blocks.keySet();
  }

  /** Where the workspace of an operation stands, or -1 where it has none in the arena. */
  long workspaceOffset(int operation) {
    Block block = workspaces.get(operation);
    return block.bytes == 0 ? -1 : block.offset;
  }

  /** First and last operation that use a tensor's memory. */
  int[] lifetime(Tensor tensor) {
    Block block = blocks.get(tensor.storage());
    return new int[] {block.first, block.last};
  }
}
