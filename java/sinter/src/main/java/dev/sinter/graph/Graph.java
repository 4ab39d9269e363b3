package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_stream;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * A list of operations for one shape, planned and bound: running it allocates nothing, in Java or
 * in native code. A GPU runs it once as it is, records it the second time, and from then on replays
 * the recording: one launch for all of it, the copies of inputs and outputs included. To be used by
 * one thread at a time.
 */
public final class Graph implements AutoCloseable {
  private final Weights weights;
  private final Device device;
  private final List<Operation> operations;
  private final Operation.Call[] calls;
  private final Operation.Run run = new Operation.Run();
  private final MemoryPlan plan;
  private final Arena arena;
  private final boolean ownsArena;
  private final Memory activations;
  private final Memory inputMemory;
  private final Stream stream;
  private final Map<Tensor, Mirror> mirrors = new IdentityHashMap<>();
  private final Map<Tensor, Held> held = new IdentityHashMap<>();
  private final LongBuffer clockOnHost;
  private final int forward;
  private boolean closed;

  private final List<Mirror> callersGradients = new ArrayList<>();

  /** Of whole runs, without accumulating and with it. */
  private final List<Recorder> whole;

  /** The same of runs that end with an update. */
  private final List<Recorder> updating;

  private final Recorder firstHalf;

  /** Of the second half, without accumulating and with it. */
  private final List<Recorder> secondHalf;

  private boolean halfway;

  /**
   * @param shared memory of other graphs too; null: of this one alone
   * @param inputs tensors that the caller writes before a run
   * @param callersGradients tensors that it writes between the halves of one
   * @param outputs tensors that the caller reads after it
   * @param held tensors of which it may read rows after it
   * @param uploads what else a run writes to the device first; it may change when the version of an
   *     operation does
   * @param downloads what else it reads back
   */
  Graph(
      Weights weights,
      Arena shared,
      List<Operation> operations,
      int forward,
      Set<Tensor> inputs,
      List<Tensor> callersGradients,
      Set<Tensor> outputs,
      Set<Tensor> held,
      Supplier<List<Mirror>> uploads,
      List<Mirror> downloads) {
    this.weights = weights;
    this.device = weights.device();
    this.stream = weights.stream();
    this.operations = List.copyOf(operations);
    this.forward = forward;
    Set<Tensor> kept = new LinkedHashSet<>(outputs);
    kept.addAll(held);
    plan = new MemoryPlan(operations, new LinkedHashSet<>(callersGradients), kept, device);
    ownsArena = shared == null;
    arena = ownsArena ? new Arena(device) : shared;
    activations = arena.activations(plan.bytes());
    for (Tensor tensor : plan.tensors()) {
      tensor.place(activations.at(plan.offset(tensor)));
    }
    // The clock and the inputs lie side by side: one copy brings them all.
    long bytes = MemoryPlan.align(Long.BYTES);
    for (Tensor tensor : inputs) {
      bytes += MemoryPlan.align(tensor.bytes());
    }
    inputMemory = new Memory(device, bytes);
    Mirror all =
        new Mirror(device, Tensor.resident("inputs", DType.I32, inputMemory.at(0), bytes / 4));
    clockOnHost = all.host().bytes().asLongBuffer();
    LongPointer clockPointer = new LongPointer(inputMemory.at(0));
    long at = MemoryPlan.align(Long.BYTES);
    for (Tensor tensor : inputs) {
      tensor.place(inputMemory.at(at));
      mirrors.put(tensor, new Mirror(tensor, new HostBuffer(all.host(), at, tensor.bytes())));
      at += MemoryPlan.align(tensor.bytes());
    }
    calls = new Operation.Call[operations.size()];
    for (int i = 0; i < calls.length; i++) {
      Operation operation = operations.get(i);
      checkRows(operation);
      calls[i] = operation.bind(new Operation.Place(device, workspace(operation, i), clockPointer));
    }
    Supplier<List<Mirror>> written =
        () -> {
          List<Mirror> first = new ArrayList<>(List.of(all));
          first.addAll(uploads.get());
          return first;
        };
    List<Mirror> read = new ArrayList<>(downloads);
    for (Tensor tensor : outputs) {
      read.add(mirror(tensor));
    }
    for (Tensor tensor : held) {
      this.held.put(tensor, new Held(device, tensor));
    }
    for (Tensor tensor : callersGradients) {
      this.callersGradients.add(mirror(tensor));
    }
    int end = calls.length;
    Supplier<List<Mirror>> gradients = () -> this.callersGradients;
    whole = twice(() -> new Recorder(0, end, written, read, null));
    updating = twice(() -> new Recorder(0, end, written, read, weights.trained()));
    firstHalf = new Recorder(0, forward, written, read, null);
    secondHalf = twice(() -> new Recorder(forward, end, gradients, List.of(), null));
  }

  private static List<Recorder> twice(Supplier<Recorder> recorder) {
    return List.of(recorder.get(), recorder.get());
  }

  private static void checkRows(Operation operation) {
    for (List<Tensor> tensors : List.of(operation.reads(), operation.writes())) {
      for (Tensor tensor : tensors) {
        if (tensor.isPadded() && !operation.heedsStrides()) {
          throw new IllegalArgumentException(
              operation.name() + " takes no padded rows, as " + tensor + " has them");
        }
      }
    }
  }

  /** Whether it has a backward pass. */
  private boolean trains() {
    return forward < calls.length;
  }

  /**
   * Counts the arithmetic of a run: the multiplications and additions of matrix products and of
   * attention, as the PaLM paper counts them (Chowdhery et al. 2022, appendix B). Of a GPT that
   * trains whole they are 6 N + 6 L C T a token: N the elements of all matrices that tokens are
   * multiplied by, the output matrix included, which is the token table once more, without tables
   * that are looked up, biases and norms; L layers of width C; T tokens a sequence, of which a
   * causal mask shows half. A forward pass has a third of it. Attention without a mask has twice
   * that of a causal one. What {@link Recompute} computes again counts once, a frozen weight's
   * gradient not at all, and padding like tokens. Attention over a cache is left out.
   *
   * @return floating-point operations
   */
  public double flops() {
    return flops(0, calls.length);
  }

  private double flops(int from, int to) {
    return operations.subList(from, to).stream().mapToDouble(Operation::flops).sum();
  }

  private Pointer workspace(Operation operation, int index) {
    if (operation.keepsWorkspace()) {
      long bytes = operation.workspace(device);
      return bytes == 0 ? null : arena.workspace(operation.name(), bytes).at(0);
    }
    long offset = plan.workspaceOffset(index);
    return offset < 0 ? null : activations.at(offset);
  }

  private Mirror mirror(Tensor tensor) {
    if (tensor.isPadded()) {
      throw new IllegalArgumentException(tensor + " has padded rows: the host cannot read it");
    }
    Mirror mirror = new Mirror(device, tensor);
    mirrors.put(tensor, mirror);
    return mirror;
  }

  /**
   * Writes the inputs to the device, runs all operations in order and reads the outputs back.
   *
   * @param step the number that keys this run's random numbers
   * @param accumulating whether parameter gradients are added to those of the run before
   * @throws SinterException where an operation fails
   * @throws IllegalStateException after {@link #close}, and where the caller computes the loss
   */
  public void run(long step, boolean accumulating) {
    run(step, accumulating, null, null);
  }

  /**
   * The same as the last run of a step: norm and update of the trained parameters follow the
   * gradients at once, in the same recording.
   *
   * @param step the number that keys this run's random numbers
   * @param accumulating whether parameter gradients are added to those of the run before
   * @param update of the step; null: none now
   * @param loss an fp32 output; where it is not finite, the weights stay as they were
   * @throws SinterException where an operation fails
   * @throws IllegalStateException after {@link #close}, and where the caller computes the loss
   */
  public void run(long step, boolean accumulating, Parameters.Update update, Tensor loss) {
    if (!callersGradients.isEmpty() && trains()) {
      throw new IllegalStateException(
          "the caller computes this graph's loss: forward and backward run it");
    }
    if (update != null) {
      if (!trains()) {
        throw new IllegalStateException("a graph that does not train updates nothing");
      }
      buffer(loss); // an output: nothing has taken its place when the update reads it
    }
    List<Recorder> recorders = update == null ? whole : updating;
    run(step, accumulating, recorders.get(accumulating ? 1 : 0), update, loss);
  }

  /**
   * Writes the inputs to the device, runs the forward pass and reads the outputs back: the first
   * half of a run whose loss the caller computes ({@link GraphBuilder#callersGradient}).
   *
   * @param step the number that keys this run's random numbers
   * @throws SinterException where an operation fails
   * @throws IllegalStateException after {@link #close}
   */
  public void forward(long step) {
    halfway = false;
    run(step, false, firstHalf, null, null);
    halfway = true;
  }

  /**
   * Writes the caller's gradients to the device and runs the backward pass, once for a {@link
   * #forward}.
   *
   * @param accumulating whether parameter gradients are added to those of the run before
   * @throws SinterException where an operation fails
   * @throws IllegalStateException where no forward pass came before, and after {@link #close}
   */
  public void backward(boolean accumulating) {
    if (!halfway || !trains()) {
      throw new IllegalStateException("forward() of a graph that trains comes before backward()");
    }
    halfway = false;
    run(clockOnHost.get(0), accumulating, secondHalf.get(accumulating ? 1 : 0), null, null);
  }

  private void run(
      long step, boolean accumulating, Recorder recorder, Parameters.Update update, Tensor loss) {
    checkOpen();
    stream.lock();
    try {
      stream.settle();
      clockOnHost.put(0, step);
      run.accumulating = accumulating;
      if (update != null) {
        recorder.updated.prepare(update, loss);
      }
      recorder.run();
    } finally {
      stream.unlock();
    }
  }

  /**
   * Runs some of the operations with one setting of what their calls are given, and then the update
   * of these parameters, if any.
   */
  private final class Recorder {
    private final int from;
    private final int to;
    private final Supplier<List<Mirror>> given;
    private final List<Mirror> read;
    private final Parameters updated;
    private final double flops;
    private List<Mirror> written;
    private Recording recording;
    private int version;
    private boolean ran;

    Recorder(
        int from, int to, Supplier<List<Mirror>> given, List<Mirror> read, Parameters updated) {
      this.from = from;
      this.to = to;
      this.given = given;
      this.read = read;
      this.updated = updated;
      this.flops = flops(from, to);
    }

    void run() {
      int now = updated == null ? 0 : updated.updateVersion();
      for (int i = from; i < to; i++) { // an iterator would be an allocation
        now += operations.get(i).version();
      }
      if (written == null || now != version) {
        forget();
        written = given.get();
        version = now;
      }
      if (!device.isCuda() || !ran) {
        queue();
        ran = true;
      } else {
        if (recording == null) {
          recording = Recording.of(stream, this::queue);
        }
        recording.replay();
      }
      stream.queued();
      if (trains()) {
        weights.trained().count(flops);
      }
    }

    private void queue() {
      sn_stream handle = stream.handle();
      for (int i = 0; i < written.size(); i++) {
        Natives.check(written.get(i).upload(handle));
      }
      for (int i = from; i < to; i++) {
        int status = calls[i].run(handle, run);
        if (status != sinter.SN_OK) {
          throw Natives.failure(status, operations.get(i).name());
        }
      }
      if (updated != null) {
        updated.queueUpdate();
      }
      for (int i = 0; i < read.size(); i++) {
        Natives.check(read.get(i).download(handle));
      }
    }

    void forget() {
      if (recording != null) {
        recording.close();
        recording = null;
      }
    }
  }

  /**
   * Gives an int32 input or output; waits for the last run.
   *
   * @param tensor an input, to be filled before {@link #run}, or an output
   * @return its host side, valid until the next run
   */
  public IntBuffer ints(Tensor tensor) {
    stream.settle();
    return buffer(tensor).ints();
  }

  /**
   * Waits for the last run and reads an fp32 output.
   *
   * @param output a tensor of this graph's outputs
   * @return its host side, valid until the next run
   */
  public FloatBuffer floats(Tensor output) {
    stream.settle();
    return buffer(output).floats();
  }

  /**
   * Waits for the last run and copies a row of a tensor that is held for it.
   *
   * @param tensor of {@link GraphBuilder#hold}
   * @param row from 0
   * @param into as long as a row, written
   * @throws IllegalArgumentException where the tensor is not held or has no such row
   * @throws IllegalStateException after {@link #close}
   */
  public void read(Tensor tensor, int row, float[] into) {
    checkOpen();
    Held rows = held.get(tensor);
    if (rows == null) {
      throw new IllegalArgumentException("tensor " + tensor.name() + " is not held by this graph");
    }
    stream.settle();
    rows.read(stream, row, into);
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the graph is closed");
    }
    activations.at(0); // a shared arena may be closed too
  }

  private HostBuffer buffer(Tensor tensor) {
    Mirror mirror = mirrors.get(tensor);
    if (mirror == null) {
      throw new IllegalArgumentException(
          "tensor " + tensor.name() + " is no input or output of this graph");
    }
    return mirror.host();
  }

  /** Its matrix products, each once. */
  Set<Gemm> products() {
    Set<Gemm> products = new LinkedHashSet<>();
    for (Operation operation : operations) {
      if (operation.product() != null) {
        products.add(operation.product());
      }
    }
    return products;
  }

  /**
   * Says how many kernels a run launches on a GPU.
   *
   * @return their number; 0 before the second run, which is recorded
   */
  public long kernels() {
    Recording recording = whole.get(0).recording;
    return recording == null ? 0 : recording.kernels();
  }

  /**
   * Returns the size of the part of the arena that holds all activations.
   *
   * @return bytes
   */
  public long arenaBytes() {
    return plan.bytes();
  }

  /**
   * Prints the graph: an operation a line with its inputs, outputs, and the lifetimes and places of
   * what it writes.
   *
   * @return lines of text
   */
  public String describe() {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%d operations (%d forward), arena %,d bytes%n",
            operations.size(),
            forward,
            plan.bytes()));
    for (int i = 0; i < operations.size(); i++) {
      Operation operation = operations.get(i);
      text.append(String.format(Locale.ROOT, "%4d %-20s ", i, operation.name()));
      text.append(operation.reads().stream().map(Tensor::name).collect(Collectors.joining(", ")));
      text.append(" -> ");
      text.append(operation.writes().stream().map(this::placed).collect(Collectors.joining(", ")));
      text.append(System.lineSeparator());
    }
    return text.toString();
  }

  private String placed(Tensor tensor) {
    if (tensor.role() == Tensor.Role.RESIDENT) {
      return tensor.toString();
    }
    int[] lifetime = plan.lifetime(tensor);
    return tensor + " @" + plan.offset(tensor) + " until " + lifetime[1];
  }

  /**
   * Exports the graph for Graphviz: operations as boxes, tensors as labelled edges with their
   * sizes.
   *
   * @return a {@code digraph}
   */
  public String toGraphviz() {
    StringBuilder text =
        new StringBuilder("digraph sinter {\n  rankdir=TB;\n  node [shape=box];\n");
    Map<Tensor, Integer> writers = new IdentityHashMap<>();
    for (int i = 0; i < operations.size(); i++) {
      Operation operation = operations.get(i);
      text.append(String.format(Locale.ROOT, "  o%d [label=\"%s\"];%n", i, operation.name()));
      for (Tensor tensor : operation.reads()) {
        Integer writer = writers.get(tensor);
        if (writer != null) {
          text.append(
              String.format(
                  Locale.ROOT,
                  "  o%d -> o%d [label=\"%s\\n%,d KiB\"];%n",
                  writer,
                  i,
                  tensor.toString().replace("\"", "'"),
                  tensor.bytes() / 1024));
        }
      }
      for (Tensor tensor : operation.writes()) {
        writers.put(tensor, i);
      }
    }
    return text.append("}\n").toString();
  }

  /** Gives the arena back. Closing twice is harmless. */
  @Override
  public void close() {
    closed = true;
    whole.forEach(Recorder::forget);
    updating.forEach(Recorder::forget);
    firstHalf.forget();
    secondHalf.forEach(Recorder::forget);
    inputMemory.close();
    if (ownsArena) {
      arena.close();
    }
  }
}
