package dev.sinter.graph;

import dev.sinter.natives.sn_stream;
import java.util.List;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * One call of the C ABI on given tensors. An operation knows what it reads and writes, how to call
 * the backend, and, if it stands in a forward pass, which operations make up its backward pass.
 */
abstract class Operation {
  private final String name;
  private final List<Tensor> reads;
  private final List<Tensor> writes;
  private boolean repeats;

  /**
   * @param name the operation's name in sinter.h, without the prefix
   * @param reads every tensor that it reads, parameters included
   * @param writes every tensor that it writes
   */
  Operation(String name, List<Tensor> reads, List<Tensor> writes) {
    this.name = name;
    this.reads = List.copyOf(reads);
    this.writes = List.copyOf(writes);
  }

  /** A native call with all its arguments in place, which allocates nothing. Returns the status. */
  @FunctionalInterface
  interface Call {
    int run(sn_stream stream, Run run);
  }

  /**
   * Where a bound operation finds what is no tensor.
   *
   * @param device that it runs on
   * @param workspace or null where it needs none
   * @param clock the number that keys a run's randomness, in device memory
   */
  record Place(Device device, Pointer workspace, LongPointer clock) {}

  /** What changes from run to run. */
  static final class Run {
    /** Whether parameter gradients are added to what is there: micro-batches after the first. */
    boolean accumulating;
  }

  final String name() {
    return name;
  }

  final List<Tensor> reads() {
    return reads;
  }

  final List<Tensor> writes() {
    return writes;
  }

  /**
   * An input whose memory the first output may take over if nothing reads that input later; or
   * null.
   */
  Tensor inPlace() {
    return null;
  }

  /** Bytes of workspace on this device. */
  long workspace(Device device) {
    return product() == null ? 0 : product().workspace(device);
  }

  /**
   * Whether what a call leaves in the workspace is what the next call of this operation has to find
   * there, zeros the first: such a workspace is used by nothing else.
   */
  boolean keepsWorkspace() {
    return false;
  }

  /**
   * This operation with a norm in front, in one call.
   *
   * @param norm whose result it reads
   * @return null where it is no product of just that, or where one call would not be faster
   */
  Operation behind(RowNorm norm) {
    return null;
  }

  /** The matrix product that this operation is; null where it is none. */
  Gemm product() {
    return null;
  }

  /**
   * The multiplications and additions of matrix products and attention that a run takes, each once:
   * 0 of an operation that is there to compute something again.
   */
  final double flops() {
    return repeats ? 0 : arithmetic();
  }

  /** The same, whatever it is there for. */
  double arithmetic() {
    return product() == null ? 0 : product().flops();
  }

  /** Notes that this computes again what was not kept. */
  final void repeats() {
    repeats = true;
  }

  /** Whether it takes tensors with padded rows: matrix products do. */
  boolean heedsStrides() {
    return product() != null;
  }

  /**
   * Whether gradients begin here: a loss. Other operations pass on the gradient of what they wrote.
   */
  boolean isRoot() {
    return false;
  }

  /** Adds the operations of the backward pass. */
  void differentiate(Backward backward) {
    throw new IllegalStateException("operation " + name + " has no backward pass");
  }

  /**
   * Writes {@code output} once more from tensors that were kept.
   *
   * @return the tensor of the same content
   */
  Tensor recompute(Tensor output, Backward backward) {
    throw new IllegalStateException("operation " + name + " cannot be computed again");
  }

  /** Makes the native call, after all tensors have been placed. */
  abstract Call bind(Place at);

  /**
   * A number that changes with what the call does and a recording would keep: settings that are not
   * in device memory.
   */
  int version() {
    return 0;
  }
}
