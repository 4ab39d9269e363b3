package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.nio.IntBuffer;
import org.bytedeco.javacpp.Pointer;

/**
 * Keys and values of all positions that sequences have behind them, for each layer, and how many
 * those are. Graphs that extend and read the cache share it.
 */
public final class KvCache implements AutoCloseable {
  private final Device device;
  private final Memory memory;
  private final Stream stream;
  private final Tensor[] keys;
  private final Tensor[] values;
  private final Mirror lengths;
  private final IntBuffer lengthsOnHost;
  private final long capacity;
  private boolean closed;
  private Memory scratch; // a row for each sequence, from the first reorder on

  /**
   * Allocates an empty cache.
   *
   * @param parameters of the model whose keys and values these are
   * @param layers number of attention layers
   * @param batch number of sequences
   * @param kvHeads heads of keys and values
   * @param headSize width of a head
   * @param capacity the most positions a sequence can have
   */
  public KvCache(
      Weights parameters, int layers, int batch, int kvHeads, int headSize, int capacity) {
    this.capacity = capacity;
    this.stream = parameters.stream();
    this.device = parameters.device();
    DType dtype = parameters.dtype();
    long perLayer = Math.multiplyExact((long) batch * kvHeads * headSize, (long) capacity);
    long step = MemoryPlan.align(Math.multiplyExact(perLayer, (long) dtype.bytes()));
    long bytes = Math.multiplyExact(step, 2L * layers);
    memory = new Memory(device, bytes + MemoryPlan.align(4L * batch));
    keys = new Tensor[layers];
    values = new Tensor[layers];
    long[] shape = {batch, kvHeads, capacity, headSize};
    for (int layer = 0; layer < layers; layer++) {
      keys[layer] = Tensor.resident("keys." + layer, dtype, memory.at(2L * layer * step), shape);
      values[layer] =
          Tensor.resident("values." + layer, dtype, memory.at((2L * layer + 1) * step), shape);
    }
    Tensor filled = Tensor.resident("lengths", DType.I32, memory.at(bytes), batch);
    lengths = new Mirror(device, filled);
    lengthsOnHost = lengths.host().ints();
  }

  Tensor keys(int layer) {
    checkOpen();
    return keys[layer];
  }

  Tensor values(int layer) {
    checkOpen();
    return values[layer];
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the cache is closed");
    }
  }

  /**
   * The number of positions of each sequence, as graphs read it.
   *
   * @return int32 [batch]
   */
  public Tensor lengths() {
    return lengths.tensor();
  }

  /** The lengths with their copy on the host, which graphs write to the device at each run. */
  Mirror lengthsMirror() {
    return lengths;
  }

  /**
   * Returns the most positions a sequence can have.
   *
   * @return positions
   */
  public long capacity() {
    return capacity;
  }

  /**
   * Returns the number of positions of a sequence.
   *
   * @param sequence which
   * @return positions
   */
  public int length(int sequence) {
    return lengthsOnHost.get(sequence);
  }

  /**
   * Says how many positions each sequence has now.
   *
   * @param sequence which
   * @param length 0 forgets the sequence
   */
  public void setLength(int sequence, int length) {
    if (length < 0 || length > capacity) {
      throw new IllegalArgumentException("cache length " + length + "; 0 to " + capacity);
    }
    stream.settle();
    lengthsOnHost.put(sequence, length);
  }

  /**
   * Adds to every sequence's length.
   *
   * @param positions how many
   */
  public void advance(int positions) {
    stream.settle();
    for (int i = 0; i < lengthsOnHost.capacity(); i++) {
      lengthsOnHost.put(i, lengthsOnHost.get(i) + positions);
    }
  }

  /**
   * Lets each sequence go on from where another stands: sequence i takes the keys, values and
   * length that sequence {@code parents[i]} had. Queued behind the runs before it.
   *
   * @param parents one a sequence; several may have the same
   */
  public void reorder(int[] parents) {
    checkOpen();
    int batch = lengthsOnHost.capacity();
    if (parents.length != batch) {
      throw new IllegalArgumentException(parents.length + " parents of " + batch + " sequences");
    }
    int[] before = new int[batch];
    boolean stays = true;
    for (int i = 0; i < batch; i++) {
      if (parents[i] < 0 || parents[i] >= batch) {
        throw new IllegalArgumentException("parent " + parents[i] + "; 0 to " + (batch - 1));
      }
      before[i] = length(i);
      stays &= parents[i] == i;
    }
    if (stays) {
      return;
    }
    stream.lock();
    try {
      stream.settle();
      for (int layer = 0; layer < keys.length; layer++) {
        reorder(keys[layer], parents);
        reorder(values[layer], parents);
      }
      stream.queued();
    } finally {
      stream.unlock();
    }
    for (int i = 0; i < batch; i++) {
      lengthsOnHost.put(i, before[parents[i]]);
    }
  }

  /** A row that is itself replaced is read before any is written, by way of the scratch. */
  private void reorder(Tensor tensor, int[] parents) {
    long elements = tensor.elements() / parents.length;
    long bytes = elements * tensor.dtype().bytes();
    if (scratch == null) {
      scratch = new Memory(device, bytes * parents.length);
    }
    for (int i = 0; i < parents.length; i++) {
      if (parents[i] != i && parents[parents[i]] != parents[i]) {
        copy(scratch.at(i * bytes), tensor.address(parents[i] * elements), bytes);
      }
    }
    for (int i = 0; i < parents.length; i++) {
      if (parents[i] != i) {
        boolean kept = parents[parents[i]] == parents[i];
        Pointer from = kept ? tensor.address(parents[i] * elements) : scratch.at(i * bytes);
        copy(tensor.address(i * elements), from, bytes);
      }
    }
  }

  private void copy(Pointer to, Pointer from, long bytes) {
    Natives.check(sinter.sn_copy(stream.handle(), to, from, bytes));
  }

  @Override
  public void close() {
    closed = true;
    memory.close();
    if (scratch != null) {
      scratch.close();
    }
  }
}
