package dev.sinter.graph;

import java.nio.IntBuffer;
import java.util.Objects;

/**
 * Keys and values of all layers in pages, each of some consecutive positions, and a table for each
 * slot that says in which pages the positions of its sequence lie. Sequences that begin alike may
 * share pages (Kwon et al. 2023, section 4). Graphs that extend and read the cache share it.
 */
public final class PagedCache implements AutoCloseable {
  private static final int NONE = -1;

  private final Memory memory;
  private final Stream stream;
  private final Tensor[] keys;
  private final Tensor[] values;
  private final Mirror tables;
  private final IntBuffer tablesOnHost;
  private final int pages;
  private final int pageSize;
  private final int slots;
  private final int pagesPerSlot;

  /** How many pages of each slot are there without a gap. */
  private final int[] filled;

  private boolean closed;

  /**
   * Allocates pages that no table names yet. Keys and values are fp32 beside fp32 weights, else
   * bf16.
   *
   * @param parameters of the model whose keys and values these are
   * @param layers number of attention layers
   * @param kvHeads heads of keys and values
   * @param headSize width of a head
   * @param pages how many there are for all sequences together
   * @param pageSize positions of a page
   * @param slots number of sequences
   * @param pagesPerSlot the most pages that a sequence can have
   * @throws DeviceMemoryException where they do not fit
   */
  public PagedCache(
      PackedParameters parameters,
      int layers,
      int kvHeads,
      int headSize,
      int pages,
      int pageSize,
      int slots,
      int pagesPerSlot) {
    this.pages = pages;
    this.pageSize = pageSize;
    this.slots = slots;
    this.pagesPerSlot = pagesPerSlot;
    this.stream = parameters.stream();
    Device device = parameters.device();
    DType dtype = parameters.format().cacheType();
    long perPage = Math.multiplyExact((long) kvHeads * headSize, (long) pageSize) * dtype.bytes();
    long step = MemoryPlan.align(Math.multiplyExact(perPage, (long) pages));
    long bytes = Math.multiplyExact(step, 2L * layers);
    memory = new Memory(device, Math.addExact(bytes, 4L * slots * pagesPerSlot));
    keys = new Tensor[layers];
    values = new Tensor[layers];
    long[] shape = {pages, kvHeads, pageSize, headSize};
    for (int layer = 0; layer < layers; layer++) {
      keys[layer] = Tensor.resident("keys." + layer, dtype, memory.at(2L * layer * step), shape);
      values[layer] =
          Tensor.resident("values." + layer, dtype, memory.at((2L * layer + 1) * step), shape);
    }
    tables =
        new Mirror(
            device, Tensor.resident("pages", DType.I32, memory.at(bytes), slots, pagesPerSlot));
    tablesOnHost = tables.host().ints();
    for (int i = 0; i < tablesOnHost.capacity(); i++) {
      tablesOnHost.put(i, NONE);
    }
    filled = new int[slots];
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

  /** The tables with their copy on the host, which graphs write to the device at each run. */
  Mirror tables() {
    return tables;
  }

  /**
   * Says in which page some positions of a sequence lie. Pages that several sequences name are for
   * them all to read; two that write to the same place leave either's keys there.
   *
   * @param slot the sequence's
   * @param index which of its pages: positions from {@code index * pageSize} on
   * @param page which of the cache's; -1: none
   * @throws IndexOutOfBoundsException where one of them is not there
   */
  public void setPage(int slot, int index, int page) {
    Objects.checkIndex(slot, slots);
    if (index < 0 || index >= pagesPerSlot || page < NONE || page >= pages) {
      throw new IndexOutOfBoundsException(
          String.format(
              "page %d of slot %d is page %d of the cache; a slot has 0 to %d, the cache 0 to %d,"
                  + " -1 for none",
              index, slot, page, pagesPerSlot - 1, pages - 1));
    }
    stream.settle();
    tablesOnHost.put(slot * pagesPerSlot + index, page);
    if (page == NONE) {
      filled[slot] = Math.min(filled[slot], index);
      return;
    }
    while (filled[slot] < pagesPerSlot
        && tablesOnHost.get(slot * pagesPerSlot + filled[slot]) != NONE) {
      filled[slot]++;
    }
  }

  /**
   * Counts the positions that a sequence has pages for, from the first on without a gap.
   *
   * @param slot the sequence's
   * @return positions
   */
  public int positions(int slot) {
    return filled[slot] * pageSize;
  }

  @Override
  public void close() {
    closed = true;
    memory.close();
  }
}
