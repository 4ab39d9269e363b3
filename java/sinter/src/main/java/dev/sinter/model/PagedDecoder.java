package dev.sinter.model;

import dev.sinter.graph.AdapterBank;
import dev.sinter.graph.Arena;
import dev.sinter.graph.Graph;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.PagedCache;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Sampler;
import dev.sinter.graph.Tensor;
import java.nio.IntBuffer;
import java.util.Arrays;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Steps over rows of many sequences, whose keys and values lie in pages. A row is a token at its
 * position of a sequence: one where it decodes, many where a prompt is computed or a guess is
 * verified. What a row gives has the same bits whatever other rows are in its step, whichever steps
 * the rows before it came in, and whichever pages they lie in. All rows of a step are in their
 * pages before any looks at them.
 *
 * <p>A step is {@link #begin}, {@link #add} for each row, {@link #choose} or {@link #wantLogits}
 * for those that something is wanted of, {@link #run}, and then the results. A step of a size that
 * was there before allocates nothing. To be used by one thread at a time.
 *
 * <p>Sequences may have low-rank adapters ({@link #loadAdapter}), each its own: the rows of a step
 * share the products with the weights, and each adds the update of its own sequence's adapter.
 */
public final class PagedDecoder implements AutoCloseable {
  /** The most sequences, and the most rows of a step. */
  public static final int MOST = 4096;

  /** Graphs that are kept beside those in which all of up to 32 rows choose: decoding's. */
  private static final int KEPT_GRAPHS = 12;

  private static final int DECODING = 32;
  private static final int NONE = -1;

  private final FrozenModel model;
  private final int slots;
  private final int maxRows;
  private final PagedCache cache;
  private final Sampler sampler;
  private final Arena arena;
  private final AdapterBank adapters;
  private int tracedVersion; // of the adapters

  /** What numbers of rows are rounded up to, so that few graphs serve all. */
  private final int[] sizes;

  /**
   * By the size of all rows and by which of them give logits: none at 0, then each size, and at
   * {@link #everyRow} all in their order, as when every sequence decodes.
   */
  private final Step[][] steps;

  private final int everyRow;

  private long runs;
  private Step last;
  private State state = State.RAN;

  private int rows;
  private final int[] tokens;
  private final int[] rowSlots;
  private final int[] positions;
  private final int[] rowAdapters;

  /** The adapter of each slot. */
  private final int[] slotAdapters;

  private int chosen;

  /** The row of each that gives logits, and back. */
  private final int[] chosenRows;

  private final int[] choices;

  /** The last row of each slot in this step. */
  private final int[] lastRows;

  private enum State {
    GATHERING,
    RAN,
    CLOSED
  }

  /** A graph for some number of rows, of which some give logits. */
  private static final class Step {
    final Graph graph;
    final Tensor tokens;
    final Tensor slots;
    final Tensor positions;

    /** Null where there are no adapters. */
    final Tensor adapters;

    /** Null where no row gives logits, or every row. */
    final Tensor chosenRows;

    /** Null where no row gives them. */
    final Tensor logits;

    final Tensor chosen;
    long used;

    Step(
        Graph graph,
        Tensor tokens,
        Tensor slots,
        Tensor positions,
        Tensor adapters,
        Tensor chosenRows,
        Tensor logits,
        Tensor chosen) {
      this.graph = graph;
      this.tokens = tokens;
      this.slots = slots;
      this.positions = positions;
      this.adapters = adapters;
      this.chosenRows = chosenRows;
      this.logits = logits;
      this.chosen = chosen;
    }
  }

  /**
   * Allocates the pages.
   *
   * @param model whose weights; it stays the caller's
   * @param pages how many all sequences have together
   * @param pageSize positions of a page
   * @param slots number of sequences
   * @param maxRows the most rows of a step
   * @throws IllegalArgumentException for a size below 1, a page larger than the model's context, or
   *     more than {@link #MOST} slots or rows
   * @throws dev.sinter.graph.DeviceMemoryException where the pages do not fit
   */
  public PagedDecoder(FrozenModel model, int pages, int pageSize, int slots, int maxRows) {
    GptConfig config = model.config();
    check("pages", pages, Integer.MAX_VALUE);
    check("page size", pageSize, config.context());
    check("slots", slots, MOST);
    check("rows", maxRows, MOST);
    this.model = model;
    this.slots = slots;
    this.maxRows = maxRows;
    int pagesPerSlot = (config.context() + pageSize - 1) / pageSize;
    cache =
        new PagedCache(
            model.parameters(),
            config.layers(),
            config.heads(),
            config.width() / config.heads(),
            pages,
            pageSize,
            slots,
            pagesPerSlot);
    sampler = new Sampler(model.parameters(), maxRows, slots, config.context() + 1);
    arena = new Arena(model.parameters());
    adapters = new AdapterBank(model.parameters());
    sizes = sizes(maxRows);
    everyRow = sizes.length + 1;
    steps = new Step[sizes.length][everyRow + 1];
    tokens = new int[maxRows];
    rowSlots = new int[maxRows];
    positions = new int[maxRows];
    rowAdapters = new int[maxRows];
    slotAdapters = new int[slots];
    Arrays.fill(slotAdapters, NONE);
    chosenRows = new int[maxRows];
    choices = new int[maxRows];
    lastRows = new int[slots];
    Arrays.fill(lastRows, NONE);
  }

  private static void check(String name, int value, int most) {
    if (value < 1 || value > most) {
      throw new IllegalArgumentException(name + " " + value + "; 1 to " + most);
    }
  }

  private static int[] sizes(int most) {
    IntStream few = IntStream.rangeClosed(1, 8);
    IntStream more = IntStream.of(16, 24, 32);
    IntStream many = IntStream.iterate(64, size -> size < most, size -> 2 * size);
    return Stream.of(few, more, many, IntStream.of(most))
        .flatMapToInt(all -> all)
        .filter(size -> size <= most)
        .distinct()
        .toArray();
  }

  /**
   * Says in which page some positions of a sequence lie. Several sequences may share a page that is
   * full; one that is not is for its own sequence to write.
   *
   * @param slot the sequence's
   * @param index which of its pages: positions from {@code index * pageSize} on
   * @param page which of all; -1: none
   * @throws IndexOutOfBoundsException where one of them is not there
   */
  public void setPage(int slot, int index, int page) {
    checkOpen();
    cache.setPage(slot, index, page);
  }

  /**
   * Writes a token of a sequence's history, which the repetition penalty looks at.
   *
   * @param slot the sequence's
   * @param position up to the model's context
   * @param token its id
   * @throws IndexOutOfBoundsException where one of them is not there
   */
  public void setToken(int slot, int position, int token) {
    checkOpen();
    checkToken(token);
    sampler.put(slot, position, token);
  }

  /**
   * Takes a low-rank adapter in, between steps. Where the memory of all adapters has to grow, the
   * next step of each size is traced anew.
   *
   * @param adapter for this model
   * @return its index, for {@link #setAdapter}
   * @throws IllegalArgumentException where it changes weights that the model does not have, or that
   *     have another shape: it is another model's
   * @throws dev.sinter.graph.DeviceMemoryException where it does not fit; all is then as before
   */
  public int loadAdapter(LoadedAdapter adapter) {
    checkOpen();
    return adapters.load(adapter.updatesOf(model));
  }

  /**
   * Lets an adapter go, whose index may then be another's. No sequence computes with it any more.
   *
   * @param index that {@link #loadAdapter} gave
   * @throws IndexOutOfBoundsException where there is none
   */
  public void unloadAdapter(int index) {
    checkOpen();
    adapters.clear(index);
    for (int slot = 0; slot < slots; slot++) {
      slotAdapters[slot] = slotAdapters[slot] == index ? NONE : slotAdapters[slot];
    }
  }

  /**
   * Says which adapter a sequence has, from its next row on.
   *
   * @param slot the sequence's
   * @param index that {@link #loadAdapter} gave; -1: none, as at first
   * @throws IndexOutOfBoundsException where one of them is not there
   */
  public void setAdapter(int slot, int index) {
    checkOpen();
    checkSlot(slot);
    if (index != NONE) {
      adapters.check(index);
    }
    slotAdapters[slot] = index;
  }

  private void checkSlot(int slot) {
    if (slot < 0 || slot >= slots) {
      throw new IndexOutOfBoundsException("slot " + slot + "; 0 to " + (slots - 1));
    }
  }

  private void checkOpen() {
    if (state == State.CLOSED) {
      throw new IllegalStateException("the decoder is closed");
    }
  }

  private void checkToken(int token) {
    if (token < 0 || token >= model.config().vocabulary()) {
      throw new IndexOutOfBoundsException(
          "token " + token + "; the vocabulary has 0 to " + (model.config().vocabulary() - 1));
    }
  }

  private void checkState(State wanted, String first) {
    checkOpen();
    if (state != wanted) {
      throw new IllegalStateException(first + " comes first");
    }
  }

  /** Starts a step; what the last one gave is gone. */
  public void begin() {
    checkOpen();
    for (int row = 0; row < rows; row++) {
      lastRows[rowSlots[row]] = NONE;
    }
    rows = 0;
    chosen = 0;
    last = null;
    state = State.GATHERING;
  }

  /**
   * Adds a row. Rows of one sequence stand together, in the order of their positions, behind
   * positions that were computed before or that share another's pages.
   *
   * @param slot the sequence's
   * @param position of the token; there is a page for it and for all before it
   * @param token its id
   * @return the row's number in this step, from 0
   * @throws IndexOutOfBoundsException where there is no such slot, page or token
   * @throws IllegalArgumentException for a row out of order
   * @throws IllegalStateException where the step is full
   */
  public int add(int slot, int position, int token) {
    checkState(State.GATHERING, "begin()");
    if (rows == maxRows) {
      throw new IllegalStateException("the step is full: it has " + rows + " rows");
    }
    checkSlot(slot);
    checkToken(token);
    if (position < 0 || position >= Math.min(cache.positions(slot), model.config().context())) {
      throw new IndexOutOfBoundsException(
          String.format(
              "position %d of slot %d; the slot has pages for %d, the model's context is %d",
              position, slot, cache.positions(slot), model.config().context()));
    }
    int before = lastRows[slot];
    if (before != NONE && (before != rows - 1 || positions[before] >= position)) {
      throw new IllegalArgumentException(
          String.format(
              "position %d of slot %d in row %d after position %d in row %d; a slot's rows stand"
                  + " together, in order",
              position, slot, rows, positions[before], before));
    }
    int row = rows++;
    tokens[row] = token;
    rowSlots[row] = slot;
    positions[row] = position;
    rowAdapters[row] = slotAdapters[slot];
    choices[row] = NONE;
    lastRows[slot] = row;
    return row;
  }

  /**
   * Asks for the token after a row's.
   *
   * @param row of this step
   * @param how it is chosen
   * @param seed equal seeds and steps draw alike
   * @param step the number of the choice
   * @param historyLength how many of the sequence's tokens ({@link #setToken}) the repetition
   *     penalty looks at
   */
  public void choose(int row, Sampler.Settings how, long seed, long step, int historyLength) {
    checkRow(row);
    if (historyLength < 0 || historyLength > model.config().context() + 1) {
      throw new IllegalArgumentException(
          "history of " + historyLength + " tokens; 0 to " + (model.config().context() + 1));
    }
    wantLogits(row);
    sampler.set(choices[row], how, seed, step, rowSlots[row], historyLength);
  }

  /**
   * Asks for the logits after a row's token.
   *
   * @param row of this step
   */
  public void wantLogits(int row) {
    checkRow(row);
    if (choices[row] == NONE) {
      choices[row] = chosen;
      chosenRows[chosen] = row;
      sampler.set(chosen, Sampler.Settings.GREEDY, 0, 0, 0, 0);
      chosen++;
    }
  }

  private void checkRow(int row) {
    checkState(State.GATHERING, "begin()");
    if (row < 0 || row >= rows) {
      throw new IndexOutOfBoundsException("row " + row + "; the step has " + rows);
    }
  }

  /**
   * Computes the step.
   *
   * @throws IllegalStateException for a step without rows
   */
  public void run() {
    checkState(State.GATHERING, "begin()");
    if (rows == 0) {
      throw new IllegalStateException("the step has no rows");
    }
    state = State.RAN;
    Step step = step(indexOf(rows), logitRows());
    fill(step.graph.ints(step.tokens), tokens, rows, 0);
    fill(step.graph.ints(step.slots), rowSlots, rows, NONE);
    fill(step.graph.ints(step.positions), positions, rows, 0);
    if (step.adapters != null) {
      fill(step.graph.ints(step.adapters), rowAdapters, rows, NONE);
    }
    if (chosen > 0) {
      for (int i = chosen; i < step.chosen.elements(); i++) {
        sampler.set(i, Sampler.Settings.GREEDY, 0, 0, 0, 0);
      }
    }
    if (step.chosenRows != null) {
      fill(step.graph.ints(step.chosenRows), chosenRows, chosen, NONE);
    }
    step.graph.run(0, false);
    last = step;
  }

  /** Which rows give logits, as {@link #steps} has them. */
  private int logitRows() {
    boolean inOrder = chosen == rows;
    for (int i = 0; i < chosen && inOrder; i++) {
      inOrder = chosenRows[i] == i;
    }
    return chosen == 0 ? 0 : inOrder ? everyRow : indexOf(chosen) + 1;
  }

  private static void fill(IntBuffer target, int[] values, int count, int padding) {
    target.put(values, 0, count);
    while (target.hasRemaining()) {
      target.put(padding);
    }
  }

  private int indexOf(int count) {
    int index = 0;
    while (sizes[index] < count) {
      index++;
    }
    return index;
  }

  private Step step(int all, int logitRows) {
    if (tracedVersion != adapters.version()) {
      tracedVersion = adapters.version();
      closeGraphs();
    }
    Step step = steps[all][logitRows];
    if (step == null) {
      forgetOldest();
      step = trace(sizes[all], logitRows);
      steps[all][logitRows] = step;
    }
    step.used = ++runs;
    return step;
  }

  /** How many graphs are kept now. */
  int graphs() {
    int count = 0;
    for (Step[] ofSize : steps) {
      for (Step step : ofSize) {
        count += step == null ? 0 : 1;
      }
    }
    return count;
  }

  /** How many kernels the last step launched on a GPU, where it was recorded. */
  long kernels() {
    return last.graph.kernels();
  }

  /** Describes the graph of the last step. */
  String describe() {
    return last.graph.describe();
  }

  private boolean decodes(int all, int logitRows) {
    return logitRows == everyRow && sizes[all] <= DECODING;
  }

  /** Makes room for one more graph that is not decoding's. */
  private void forgetOldest() {
    int count = 0;
    int oldestAll = 0;
    int oldestChosen = 0;
    long least = Long.MAX_VALUE;
    for (int i = 0; i < steps.length; i++) {
      for (int j = 0; j < steps[i].length; j++) {
        if (steps[i][j] == null || decodes(i, j)) {
          continue;
        }
        count++;
        if (steps[i][j].used < least) {
          least = steps[i][j].used;
          oldestAll = i;
          oldestChosen = j;
        }
      }
    }
    if (count >= KEPT_GRAPHS) {
      steps[oldestAll][oldestChosen].graph.close();
      steps[oldestAll][oldestChosen] = null;
    }
  }

  private Step trace(int all, int logitRows) {
    GptLayers layers = model.layers();
    GraphBuilder g = new GraphBuilder(model.parameters(), Mode.INFERENCE, Recompute.NONE, 0);
    Tensor ids = g.input("tokens", all, 1);
    Tensor slot = g.input("slots", all);
    Tensor position = g.input("positions", all);
    Tensor adapter = null;
    if (!adapters.isEmpty()) {
      adapter = g.input("adapters", all);
      g.adapters(adapters, adapter);
    }
    Tensor x =
        layers.blocks(g, model.parameters(), ids, position, layers.paged(g, cache, slot, position));
    if (logitRows == 0) {
      return new Step(g.build(arena), ids, slot, position, adapter, null, null, null);
    }
    Tensor picked = null;
    if (logitRows != everyRow) {
      picked = g.input("chosen rows", sizes[logitRows - 1], 1);
      x = g.gather("chosen hidden", x, picked);
    }
    Tensor logits = g.hold(layers.head(g, model.parameters(), x));
    Tensor next = g.output(g.sample(logits, sampler));
    return new Step(g.build(arena), ids, slot, position, adapter, picked, logits, next);
  }

  /** Which of the rows that gave logits a row is. */
  private int choice(int row) {
    checkOpen();
    if (last == null) {
      throw new IllegalStateException("run() comes first");
    }
    if (row < 0 || row >= rows) {
      throw new IndexOutOfBoundsException("row " + row + "; the step has " + rows);
    }
    if (choices[row] == NONE) {
      throw new IllegalArgumentException(
          "row " + row + " was not asked for anything; choose or wantLogits comes before run()");
    }
    return choices[row];
  }

  /**
   * Gives the token that was chosen after a row's. Waits for the step.
   *
   * @param row that {@link #choose} was called for; after {@link #wantLogits} alone, the likeliest
   * @return its id; -1 where no logit was finite
   */
  public int token(int row) {
    int choice = choice(row);
    return last.graph.ints(last.chosen).get(choice);
  }

  /**
   * Gives the log-probability of that token under the unprocessed logits. Waits for the step.
   *
   * @param row that {@link #choose} was called for
   * @return natural logarithm
   */
  public float logprob(int row) {
    return sampler.logprob(choice(row));
  }

  /**
   * Copies the logits after a row's token. Waits for the step.
   *
   * @param row that {@link #wantLogits} or {@link #choose} was called for
   * @param into [vocabulary], written
   */
  public void logits(int row, float[] into) {
    int choice = choice(row);
    last.graph.read(last.logits, choice, into);
  }

  private void closeGraphs() {
    for (Step[] ofSize : steps) {
      for (Step step : ofSize) {
        if (step != null) {
          step.graph.close();
        }
      }
      Arrays.fill(ofSize, null);
    }
  }

  /** Gives the pages back. Closing twice is harmless. */
  @Override
  public void close() {
    if (state == State.CLOSED) {
      return;
    }
    state = State.CLOSED;
    closeGraphs();
    adapters.close();
    arena.close();
    sampler.close();
    cache.close();
  }
}
