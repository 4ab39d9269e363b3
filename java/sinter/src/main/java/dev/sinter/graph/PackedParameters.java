package dev.sinter.graph;

import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.Parameters.Source;
import dev.sinter.natives.global.sinter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.javacpp.Pointer;

/**
 * All weights of a model that no longer changes: matrices are packed, everything else is fp32, in
 * which such a model computes. Each parameter gets its values once: packed here, or as a file holds
 * them.
 */
public final class PackedParameters extends Weights {
  /** What a packed matrix is aligned to. */
  public static final int ALIGNMENT = 64;

  private static final int STAGING = 1 << 20;

  /** What each parameter is aligned to in memory. */
  private static final long BLOCK = 256;

  /** Outputs that are packed at a time: whole panels. */
  private static final int BAND = 1024;

  private final Device device;
  private final Stream stream;
  private final WeightFormat format;
  private final Map<String, Layout> matrices;
  private final Map<String, Long> offsets = new HashMap<>();
  private final long size;
  private final Set<String> written = new HashSet<>();

  /** All parameters that are not used where they lie, in one block: pages may be large. */
  private Memory memory;

  /** What is used where it lies, kept from the garbage collector. */
  private final Map<String, ByteBuffer> adopted = new HashMap<>();

  private HostBuffer staging;

  /** A matrix, or a band of one, that is to be packed: one for all, so that nothing is torn. */
  private Memory plain;

  /**
   * Names the parameters; none has memory yet.
   *
   * @param device where
   * @param format of matrices
   * @param specs of all parameters, in the order of the model
   * @param matrices which of them are packed, and what their layout is unpacked
   */
  public PackedParameters(
      Device device, WeightFormat format, List<ParameterSpec> specs, Map<String, Layout> matrices) {
    super(device, DType.F32, specs);
    this.device = device;
    this.stream = stream();
    this.format = format;
    this.matrices = Map.copyOf(matrices);
    long end = 0;
    for (ParameterSpec spec : specs) {
      Layout layout = matrices.get(spec.name());
      put(
          layout == null
              ? Tensor.resident(spec.name(), DType.F32, null, spec.shape())
              : Tensor.packed(spec.name(), DType.F32, format, in(spec, layout), out(spec, layout)));
      offsets.put(spec.name(), end);
      long bytes = Math.addExact(bytes(spec.name()), BLOCK - 1);
      end = Math.addExact(end, bytes / BLOCK * BLOCK);
    }
    size = end;
  }

  @Override
  Parameters trained() {
    return null;
  }

  private static long in(ParameterSpec spec, Layout layout) {
    return spec.shape()[layout == Layout.IN_OUT ? 0 : 1];
  }

  private static long out(ParameterSpec spec, Layout layout) {
    return spec.shape()[layout == Layout.IN_OUT ? 1 : 0];
  }

  /**
   * Returns how matrices are held.
   *
   * @return the format
   */
  public WeightFormat format() {
    return format;
  }

  /**
   * Says how a parameter is held.
   *
   * @param name of the parameter
   * @return whether it is a packed matrix; else it is fp32 in its own shape
   */
  public boolean isPacked(String name) {
    return get(name).format() != null;
  }

  /**
   * Returns the size of a parameter as it is held.
   *
   * @param name of the parameter
   * @return bytes
   */
  public long bytes(String name) {
    return get(name).bytes();
  }

  /**
   * Gives a parameter its values, a matrix packed.
   *
   * @param name of the parameter
   * @param source gives the elements in order, in the parameter's own shape
   * @throws IOException from the source
   * @throws IllegalArgumentException where a matrix has an element that is not finite
   */
  public void write(String name, Source source) throws IOException {
    Tensor tensor = allocated(name);
    Layout layout = matrices.get(name);
    if (layout == null) {
      fill(tensor.address(), tensor.elements(), source);
      return;
    }
    long in = tensor.size(0);
    long out = tensor.size(1);
    // Rows of [out, in] are packed as they come; [in, out] has to be there as a whole.
    long band = layout == Layout.OUT_IN ? Math.min(BAND, out) : out;
    Pointer start = plain(Math.multiplyExact(4 * band, in)).at(0);
    for (long done = 0; done < out; done += band) {
      long outs = Math.min(band, out - done);
      fill(start, outs * in, source);
      pack(tensor, layout, done, outs, DType.F32, start);
    }
    stream.settle();
  }

  /** Copies fp32 elements to the device. */
  private void fill(Pointer target, long elements, Source source) throws IOException {
    HostBuffer host = staging();
    for (long done = 0; done < elements; done += STAGING) {
      int count = (int) Math.min(STAGING, elements - done);
      source.fill(host.floats().limit(count));
      stream.write(new Natives.Address(target.address() + 4 * done), host, 4L * count);
    }
  }

  /**
   * Packs a copy of another model's parameter of this name.
   *
   * @param name of the parameter
   * @param from on the same device
   * @throws IllegalArgumentException where a matrix has an element that is not finite
   * @throws IllegalStateException where it is closed
   */
  public void copy(String name, Parameters from) {
    from.checkOpen();
    checkOpen();
    Tensor tensor = allocated(name);
    Tensor plain = from.get(name);
    from.stream().settle();
    Layout layout = matrices.get(name);
    if (layout != null) {
      pack(tensor, layout, 0, tensor.size(1), plain.dtype(), plain.address());
    } else if (plain.dtype() == DType.F32) {
      queue(sinter.sn_copy(stream.handle(), tensor.address(), plain.address(), tensor.bytes()));
    } else {
      queue(
          sinter.sn_cast(
              stream.handle(),
              tensor.elements(),
              plain.dtype().code(),
              plain.address(),
              DType.F32.code(),
              tensor.address()));
    }
    stream.settle();
  }

  /**
   * @param first output of the band, at the beginning of a panel
   */
  private void pack(
      Tensor tensor, Layout layout, long first, long outs, DType dtype, Pointer plain) {
    long offset = first == 0 ? 0 : format.bytes(tensor.size(0), first);
    queue(
        sinter.sn_pack(
            stream.handle(),
            format.code(),
            dtype.code(),
            tensor.size(0),
            outs,
            layout == Layout.OUT_IN ? 1 : 0,
            plain,
            new Natives.Address(tensor.address().address() + offset)));
  }

  private void queue(int status) {
    Natives.check(status);
    stream.queued();
  }

  /** Takes a parameter's bytes piece by piece. */
  @FunctionalInterface
  public interface ByteSink {
    /**
     * Takes the next bytes.
     *
     * @param bytes valid during the call
     * @throws IOException as it likes
     */
    void accept(ByteBuffer bytes) throws IOException;
  }

  /** Gives a parameter's bytes piece by piece. */
  @FunctionalInterface
  public interface ByteSource {
    /**
     * Fills the next bytes.
     *
     * @param bytes to be filled to its limit
     * @throws IOException as it likes
     */
    void fill(ByteBuffer bytes) throws IOException;
  }

  /**
   * Reads a parameter as it is held: packed, or fp32.
   *
   * @param name of the parameter
   * @param sink takes the bytes in order, little-endian
   * @throws IOException from the sink
   */
  public void readBytes(String name, ByteSink sink) throws IOException {
    Tensor tensor = get(name);
    HostBuffer host = staging();
    for (long done = 0; done < tensor.bytes(); done += host.size()) {
      int count = (int) Math.min(host.size(), tensor.bytes() - done);
      stream.read(new Natives.Address(tensor.address().address() + done), host, count);
      sink.accept(host.bytes().clear().limit(count));
    }
  }

  /**
   * Gives a parameter the bytes that {@link #readBytes} read.
   *
   * @param name of the parameter
   * @param source gives the bytes in order
   * @throws IOException from the source
   */
  public void writeBytes(String name, ByteSource source) throws IOException {
    Tensor tensor = allocated(name);
    HostBuffer host = staging();
    for (long done = 0; done < tensor.bytes(); done += host.size()) {
      int count = (int) Math.min(host.size(), tensor.bytes() - done);
      source.fill(host.bytes().clear().limit(count));
      stream.write(new Natives.Address(tensor.address().address() + done), host, count);
    }
  }

  /**
   * Gives a parameter the bytes that {@link #readBytes} read: a CPU uses them where they lie, a
   * mapped file for example, so they must not change; a GPU gets a copy.
   *
   * @param name of the parameter
   * @param bytes direct, all of them; on a CPU the first is aligned to {@link #ALIGNMENT}
   * @throws IllegalArgumentException where they are not
   */
  public void adopt(String name, ByteBuffer bytes) {
    Tensor tensor = get(name);
    if (!bytes.isDirect() || bytes.remaining() != tensor.bytes()) {
      throw new IllegalArgumentException(
          tensor
              + ": "
              + bytes.remaining()
              + (bytes.isDirect() ? " bytes of " : " bytes in a heap buffer; direct ones of ")
              + tensor.bytes());
    }
    if (device.isCuda()) {
      ByteBuffer from = bytes.duplicate();
      try {
        writeBytes(
            name,
            target -> {
              int count = target.remaining();
              target.put(from.slice(from.position(), count));
              from.position(from.position() + count);
            });
      } catch (IOException e) {
        throw new AssertionError("a buffer reads nothing", e);
      }
      return;
    }
    ByteBuffer kept = bytes.slice();
    Pointer start = new Pointer(kept);
    if (start.address() % ALIGNMENT != 0) {
      throw new IllegalArgumentException(
          tensor + ": its bytes are not aligned to " + ALIGNMENT + "; copy them with writeBytes");
    }
    stream.settle();
    tensor.place(start);
    adopted.put(name, kept);
    written.remove(name);
  }

  /** The tensor of this name, with memory of its own. */
  private Tensor allocated(String name) {
    Tensor tensor = get(name);
    if (written.add(name)) {
      if (memory == null) {
        memory = new Memory(device, size);
      }
      tensor.place(memory.at(offsets.get(name)));
      adopted.remove(name);
    }
    return tensor;
  }

  private Memory plain(long bytes) {
    if (plain == null || plain.bytes() < bytes) {
      closePlain();
      plain = new Memory(device, bytes);
    }
    return plain;
  }

  private void closePlain() {
    if (plain != null) {
      plain.close();
      plain = null;
    }
  }

  private HostBuffer staging() {
    if (staging == null) {
      staging = new HostBuffer(device, 4L * STAGING);
    }
    return staging;
  }

  /**
   * Ends the filling: holds all parameters to have values, and gives back what only filling needs.
   *
   * @throws IllegalStateException where a parameter has none
   */
  public void seal() {
    for (ParameterSpec spec : specs()) {
      if (!written.contains(spec.name()) && !adopted.containsKey(spec.name())) {
        throw new IllegalStateException("parameter " + spec.name() + " has no values");
      }
    }
    staging = null;
    closePlain();
  }

  @Override
  public void close() {
    super.close();
    closePlain();
    if (memory != null) {
      memory.close();
    }
    adopted.clear();
  }
}
