package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_stream;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.bytedeco.javacpp.Pointer;

/**
 * A list of operations for one shape, planned and bound: running it allocates nothing, in Java or
 * in native code. To be used by one thread at a time.
 */
public final class Graph implements AutoCloseable {
  private final List<Operation> operations;
  private final Operation.Call[] calls;
  private final Operation.Run run = new Operation.Run();
  private final MemoryPlan plan;
  private final Memory arena;
  private final Stream stream;
  private final Map<Tensor, HostBuffer> staging = new IdentityHashMap<>();
  private final int forward;

  Graph(Device device, List<Operation> operations, int forward, Set<Tensor> persistent) {
    this.operations = List.copyOf(operations);
    this.forward = forward;
    plan = new MemoryPlan(operations, persistent, device);
    arena = new Memory(device, plan.bytes());
    stream = new Stream(device);
    for (Tensor tensor : plan.tensors()) {
      tensor.place(arena.at(plan.offset(tensor)));
    }
    calls = new Operation.Call[operations.size()];
    for (int i = 0; i < calls.length; i++) {
      long workspace = plan.workspaceOffset(i);
      Pointer at = workspace < 0 ? null : arena.at(workspace);
      calls[i] = operations.get(i).bind(at);
    }
    for (Tensor tensor : persistent) {
      staging.put(tensor, new HostBuffer(tensor.bytes()));
    }
  }

  /**
   * Runs all operations in order.
   *
   * @param step the number that keys this run's random numbers
   * @param accumulating whether parameter gradients are added to those of the run before
   * @throws SinterException where an operation fails
   */
  public void run(long step, boolean accumulating) {
    run.step = step;
    run.accumulating = accumulating;
    sn_stream handle = stream.handle();
    for (int i = 0; i < calls.length; i++) {
      int status = calls[i].run(handle, run);
      if (status != sinter.SN_OK) {
        throw Natives.failure(status, operations.get(i).name());
      }
    }
  }

  /**
   * Writes int32 elements of an input.
   *
   * @param input a tensor of this graph's inputs
   * @return its host side: put all elements, then call {@link #upload}
   */
  public IntBuffer ints(Tensor input) {
    return buffer(input).ints();
  }

  /**
   * Copies an input's host side to the device.
   *
   * @param input a tensor of this graph's inputs
   */
  public void upload(Tensor input) {
    HostBuffer buffer = buffer(input);
    stream.write(input.address(), buffer, buffer.size());
  }

  /**
   * Copies an output to the host and waits for it.
   *
   * @param output an fp32 tensor of this graph's outputs
   * @return its host side, valid until the next call for this tensor
   */
  public FloatBuffer floats(Tensor output) {
    return download(output).floats();
  }

  /**
   * Copies an int32 output to the host and waits for it.
   *
   * @param output an int32 tensor of this graph's outputs
   * @return its host side, valid until the next call for this tensor
   */
  public IntBuffer downloadInts(Tensor output) {
    return download(output).ints();
  }

  private HostBuffer download(Tensor output) {
    HostBuffer buffer = buffer(output);
    stream.read(output.address(), buffer, buffer.size());
    return buffer;
  }

  private HostBuffer buffer(Tensor tensor) {
    HostBuffer buffer = staging.get(tensor);
    if (buffer == null) {
      throw new IllegalArgumentException(
          "tensor " + tensor.name() + " is no input or output of this graph");
    }
    return buffer;
  }

  /**
   * Returns the size of the arena that holds all activations.
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
    stream.close();
    arena.close();
  }
}
