package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.BitSet;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.bytedeco.javacpp.Pointer;

/**
 * Low-rank updates of a frozen model's matrices, of several adapters, beside each other on the
 * device: graphs of {@link GraphBuilder#adapters} take those of another adapter for each row. A
 * matrix has memory here from the first adapter on that changes it; ranks are filled up with zeros
 * to the largest that it has had. For one thread.
 */
public final class AdapterBank implements AutoCloseable {
  private static final int STAGING = 1 << 18;

  private final PackedParameters parameters;
  private final Device device;
  private final Stream stream;
  private final Map<String, Table> tables = new TreeMap<>();
  private final BitSet taken = new BitSet();
  private int version;
  private boolean closed;

  /**
   * An update of a matrix's product: y += (x a^T) b.
   *
   * @param weight name of the matrix
   * @param rank 1 or more
   * @param a [rank, in]
   * @param b [rank, out], with all that the update is multiplied by
   */
  public record Update(String weight, int rank, float[] a, float[] b) {}

  /** The updates of one matrix: a [adapters, rank, in] and b [adapters, rank, out]. */
  private static final class Table {
    final Memory memory;
    final Tensor a;
    final Tensor b;

    Table(Device device, Tensor weight, long adapters, long rank) {
      long in = weight.size(0);
      long out = weight.size(1);
      long bytes = MemoryPlan.align(bytes(adapters, rank, in));
      memory = new Memory(device, Math.addExact(bytes, bytes(adapters, rank, out)));
      a = Tensor.resident(weight.name() + " a", DType.F32, memory.at(0), adapters, rank, in);
      b = Tensor.resident(weight.name() + " b", DType.F32, memory.at(bytes), adapters, rank, out);
    }

    private static long bytes(long adapters, long rank, long columns) {
      return Math.multiplyExact(Math.multiplyExact(adapters, rank), 4 * columns);
    }

    long adapters() {
      return a.size(0);
    }

    long rank() {
      return a.size(1);
    }
  }

  /**
   * A bank without adapters, which has no memory.
   *
   * @param parameters of the model
   */
  public AdapterBank(PackedParameters parameters) {
    this.parameters = parameters;
    this.device = parameters.device();
    this.stream = parameters.stream();
  }

  /** The updates' first factor [adapters, rank, in] of a matrix; null: no adapter changes it. */
  Tensor a(Tensor weight) {
    Table table = tables.get(weight.name());
    return table == null ? null : table.a;
  }

  /** The updates' second factor [adapters, rank, out] of a matrix that has a first. */
  Tensor b(Tensor weight) {
    return tables.get(weight.name()).b;
  }

  /**
   * Whether no adapter has ever been here: graphs without it compute the same.
   *
   * @return true until the first is loaded
   */
  public boolean isEmpty() {
    return tables.isEmpty();
  }

  /**
   * A number that changes where matrices get other memory: graphs that were traced before are to be
   * closed, and traced again.
   *
   * @return from 0 on
   */
  public int version() {
    return version;
  }

  /**
   * Takes an adapter in. No graph of this bank runs meanwhile.
   *
   * @param updates one a matrix
   * @return its index, which rows name; the least that is free
   * @throws IllegalArgumentException where a matrix is not packed, is there twice, or its update
   *     has other sizes
   * @throws DeviceMemoryException where it does not fit; the bank is then as it was
   */
  public int load(List<Update> updates) {
    checkOpen();
    Map<String, Update> byWeight = new HashMap<>();
    for (Update update : updates) {
      check(update);
      if (byWeight.put(update.weight(), update) != null) {
        throw new IllegalArgumentException("two updates of " + update.weight());
      }
    }
    int index = taken.nextClearBit(0);
    stream.lock();
    try {
      stream.settle();
      grow(byWeight, index);
      HostBuffer staging = new HostBuffer(device, 4L * STAGING);
      tables.forEach(
          (weight, table) -> {
            Update update = byWeight.get(weight);
            write(table.a, index, update == null ? new float[0] : update.a, staging);
            write(table.b, index, update == null ? new float[0] : update.b, staging);
          });
      stream.settle();
    } finally {
      stream.unlock();
    }
    taken.set(index);
    return index;
  }

  private void check(Update update) {
    Tensor weight = parameters.get(update.weight);
    boolean fits =
        weight.format() != null
            && update.rank >= 1
            && update.a.length == update.rank * weight.size(0)
            && update.b.length == update.rank * weight.size(1);
    if (!fits) {
      throw new IllegalArgumentException(
          String.format(
              "an update of rank %d by %d and %d numbers does not fit %s",
              update.rank, update.a.length, update.b.length, weight));
    }
  }

  /** Makes room: all of it, or none. */
  private void grow(Map<String, Update> updates, int index) {
    Set<String> weights = new LinkedHashSet<>(tables.keySet());
    weights.addAll(updates.keySet());
    long adapters = index == 0 ? 1 : 2L * Integer.highestOneBit(index); // powers of two
    Map<String, Table> grown = new HashMap<>();
    try {
      for (String weight : weights) {
        Table old = tables.get(weight);
        long most = old == null ? adapters : Math.max(adapters, old.adapters());
        long rank = updates.containsKey(weight) ? updates.get(weight).rank : 1;
        rank = old == null ? rank : Math.max(rank, old.rank());
        if (old == null || most > old.adapters() || rank > old.rank()) {
          grown.put(weight, new Table(device, parameters.get(weight), most, rank));
        }
      }
      for (Map.Entry<String, Table> entry : grown.entrySet()) {
        Table old = tables.get(entry.getKey());
        if (old != null) {
          copy(old.a, entry.getValue().a);
          copy(old.b, entry.getValue().b);
        }
      }
      stream.settle();
    } catch (RuntimeException e) {
      grown.values().forEach(table -> table.memory.close());
      throw e;
    }
    if (!grown.isEmpty()) {
      version++;
    }
    grown.forEach(
        (weight, table) -> {
          Table old = tables.put(weight, table);
          if (old != null) {
            old.memory.close();
          }
        });
  }

  /** Copies every adapter's rows to the first of those that it has in a larger table. */
  private void copy(Tensor from, Tensor to) {
    for (int i = 0; i < from.size(0); i++) {
      queue(
          sinter.sn_copy(
              stream.handle(),
              to.address(i * to.size(1) * to.size(2)),
              from.address(i * from.size(1) * from.size(2)),
              from.size(1) * from.size(2) * 4));
    }
  }

  /** Writes an adapter's first rows, and zeros to the others. */
  private void write(Tensor table, int index, float[] values, HostBuffer staging) {
    long elements = table.size(1) * table.size(2);
    Pointer start = table.address(index * elements);
    queue(sinter.sn_zero(stream.handle(), start, 4 * elements));
    for (int done = 0; done < values.length; done += STAGING) {
      int count = Math.min(STAGING, values.length - done);
      staging.floats().put(values, done, count);
      stream.write(table.address(index * elements + done), staging, 4L * count);
    }
  }

  private void queue(int status) {
    Natives.check(status);
    stream.queued();
  }

  /**
   * Lets an adapter go: its index may be another's next.
   *
   * @param index that {@link #load} gave
   */
  public void clear(int index) {
    check(index);
    taken.clear(index);
  }

  /**
   * Holds an index to be an adapter's.
   *
   * @param index that {@link #load} gave
   * @throws IndexOutOfBoundsException where it is not
   */
  public void check(int index) {
    checkOpen();
    if (index < 0 || !taken.get(index)) {
      throw new IndexOutOfBoundsException("there is no adapter " + index);
    }
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the adapters are closed");
    }
  }

  /** Gives the memory back; graphs are closed before. Closing twice is harmless. */
  @Override
  public void close() {
    closed = true;
    tables.values().forEach(table -> table.memory.close());
    tables.clear();
  }
}
