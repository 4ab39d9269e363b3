package dev.sinter.graph;

import java.nio.IntBuffer;

/**
 * Keys and values of all positions that sequences have behind them, for each layer, and how many
 * those are. Graphs that extend and read the cache share it.
 */
public final class KvCache implements AutoCloseable {
  private final Memory memory;
  private final Stream stream;
  private final Tensor[] keys;
  private final Tensor[] values;
  private final Tensor lengths;
  private final HostBuffer staging;
  private final IntBuffer lengthsOnHost;
  private final long capacity;

  /**
   * Allocates an empty cache.
   *
   * @param device where
   * @param dtype storage type of keys and values
   * @param layers number of attention layers
   * @param batch number of sequences
   * @param kvHeads heads of keys and values
   * @param headSize width of a head
   * @param capacity the most positions a sequence can have
   */
  public KvCache(
      Device device, DType dtype, int layers, int batch, int kvHeads, int headSize, int capacity) {
    this.capacity = capacity;
    long perLayer = Math.multiplyExact((long) batch * kvHeads * headSize, (long) capacity);
    long bytes = Math.multiplyExact(MemoryPlan.align(perLayer * dtype.bytes()), 2L * layers);
    long lengthsBytes = MemoryPlan.align(4L * batch);
    memory = new Memory(device, bytes + lengthsBytes);
    stream = new Stream(device);
    keys = new Tensor[layers];
    values = new Tensor[layers];
    long[] shape = {batch, kvHeads, capacity, headSize};
    long step = MemoryPlan.align(perLayer * dtype.bytes());
    for (int layer = 0; layer < layers; layer++) {
      keys[layer] = Tensor.resident("keys." + layer, dtype, memory.at(2L * layer * step), shape);
      values[layer] =
          Tensor.resident("values." + layer, dtype, memory.at((2L * layer + 1) * step), shape);
    }
    lengths = Tensor.resident("lengths", DType.I32, memory.at(bytes), batch);
    staging = new HostBuffer(4L * batch);
    lengthsOnHost = staging.ints();
  }

  Tensor keys(int layer) {
    return keys[layer];
  }

  Tensor values(int layer) {
    return values[layer];
  }

  /**
   * The number of positions of each sequence, as graphs read it.
   *
   * @return int32 [batch]
   */
  public Tensor lengths() {
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
    lengthsOnHost.put(sequence, length);
    stream.write(lengths.address(), staging, staging.size());
  }

  /**
   * Adds to every sequence's length.
   *
   * @param positions how many
   */
  public void advance(int positions) {
    for (int i = 0; i < lengthsOnHost.capacity(); i++) {
      lengthsOnHost.put(i, lengthsOnHost.get(i) + positions);
    }
    stream.write(lengths.address(), staging, staging.size());
  }

  @Override
  public void close() {
    stream.close();
    memory.close();
  }
}
