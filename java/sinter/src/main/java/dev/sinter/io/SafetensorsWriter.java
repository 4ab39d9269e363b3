package dev.sinter.io;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Writes a safetensors file without holding its data in memory: first say what comes, then each
 * tensor is asked for its bytes when its turn comes.
 *
 * <p>The same tensors give the same bytes, in whatever order they were added: wide types first,
 * names in the order of their UTF-8, data at a multiple of eight bytes, or of more where it is
 * {@link #aligned}.
 *
 * <pre>{@code
 * new SafetensorsWriter()
 *     .add("wte.weight", new long[] {50257, 768}, sink -> sink.accept(floats))
 *     .write(Path.of("model/model.safetensors"));
 * }</pre>
 */
public final class SafetensorsWriter {
  private static final int ALIGNMENT = 8;
  private static final int CHUNK = 1 << 18;

  private static final Comparator<Tensor> ORDER =
      Comparator.comparingInt((Tensor t) -> -t.description().dtype().bits())
          .thenComparing(t -> utf8(t.description().name()), Arrays::compareUnsigned);

  private final SortedMap<String, Tensor> tensors = new TreeMap<>();
  private final SortedMap<String, String> metadata = new TreeMap<>(Map.of("format", "pt"));
  private int alignment = ALIGNMENT;

  /**
   * Starts an empty file, with the metadata that Hugging Face asks for: {@code format}, {@code pt}.
   */
  public SafetensorsWriter() {}

  /** Takes elements. */
  @FunctionalInterface
  public interface Sink {
    /**
     * Writes elements.
     *
     * @param elements up to the limit
     * @throws IOException where they cannot be written
     */
    void accept(FloatBuffer elements) throws IOException;
  }

  /** Gives the elements of an fp32 tensor. */
  @FunctionalInterface
  public interface Elements {
    /**
     * Gives all elements in order.
     *
     * @param sink takes them, in as many pieces as there are
     * @throws IOException from the sink
     */
    void writeTo(Sink sink) throws IOException;
  }

  /** Gives the bytes of a tensor of any type: row-major, little-endian. */
  @FunctionalInterface
  public interface Bytes {
    /**
     * Writes all bytes, in one or many parts.
     *
     * @param out takes every buffer whole; direct buffers go to the file without a copy on the heap
     * @throws IOException where writing fails
     */
    void writeTo(WritableByteChannel out) throws IOException;
  }

  private record Tensor(TensorInfo description, Bytes data) {}

  /**
   * Adds an fp32 tensor.
   *
   * @param name of the tensor
   * @param shape its sizes
   * @param elements called once for each writing of the file
   * @return this
   * @throws IllegalArgumentException where the name is taken, or is none that a reader would accept
   */
  public SafetensorsWriter add(String name, long[] shape, Elements elements) {
    return add(
        new TensorInfo(name, TensorInfo.Dtype.F32, shape),
        out -> {
          var chunk = ByteBuffer.allocateDirect(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
          elements.writeTo(floats -> writeFloats(out, chunk, floats));
        });
  }

  /**
   * Adds a tensor of any type.
   *
   * @param tensor its name, type and shape
   * @param data called once for each writing of the file
   * @return this
   * @throws IllegalArgumentException where the name is taken, or is none that a reader would accept
   */
  public SafetensorsWriter add(TensorInfo tensor, Bytes data) {
    String name = tensor.name();
    if (name.equals(SafetensorsHeader.METADATA)
        || name.length() > SafetensorsHeader.MAX_NAME_LENGTH
        || !StandardCharsets.UTF_8.newEncoder().canEncode(name)) {
      throw new IllegalArgumentException("not a tensor's name: " + FormatException.quote(name));
    }
    if (tensor.shape().length > SafetensorsHeader.MAX_RANK) {
      throw new IllegalArgumentException(
          "tensor "
              + FormatException.quote(name)
              + " has more than "
              + SafetensorsHeader.MAX_RANK
              + " dimensions");
    }
    if (tensors.putIfAbsent(name, new Tensor(tensor, data)) != null) {
      throw new IllegalArgumentException("two tensors " + FormatException.quote(name));
    }
    return this;
  }

  /**
   * Has data begin at a multiple of so many bytes in the file, and tensors whose size is such a
   * multiple come first: all of these then lie at multiples, and can be mapped where they are.
   *
   * @param bytes a multiple of 8
   * @return this
   * @throws IllegalArgumentException where it is none
   */
  public SafetensorsWriter aligned(int bytes) {
    if (bytes < ALIGNMENT || bytes % ALIGNMENT != 0) {
      throw new IllegalArgumentException(
          "alignment " + bytes + "; a multiple of " + ALIGNMENT + " bytes");
    }
    alignment = bytes;
    return this;
  }

  /**
   * Notes something about the file.
   *
   * @param key what
   * @param value its value; replaces an earlier one
   * @return this
   */
  public SafetensorsWriter metadata(String key, String value) {
    metadata.put(key, value);
    return this;
  }

  /**
   * Notes several things about the file.
   *
   * @param entries what and its value
   * @return this
   */
  public SafetensorsWriter metadata(Map<String, String> entries) {
    metadata.putAll(entries);
    return this;
  }

  /**
   * Writes the file, atomically.
   *
   * @param file where to; an existing file is replaced when all is written
   * @throws IOException where writing fails; what was there before is still there
   * @throws IllegalStateException where a tensor writes more or fewer bytes than its shape has
   */
  public void write(Path file) throws IOException {
    AtomicFiles.write(file, this::writeTo);
  }

  /**
   * Writes header and data.
   *
   * @param out where to
   * @throws IOException where writing fails
   * @throws IllegalStateException where a tensor writes more or fewer bytes than its shape has
   */
  public void writeTo(WritableByteChannel out) throws IOException {
    List<Tensor> ordered = new ArrayList<>(tensors.values());
    ordered.sort(
        alignment == ALIGNMENT
            ? ORDER
            : Comparator.comparing((Tensor t) -> t.description().bytes() % alignment != 0)
                .thenComparing(ORDER));
    writeFully(out, header(ordered));
    for (Tensor tensor : ordered) {
      var counted = new CountedChannel(out, tensor.description());
      tensor.data().writeTo(counted);
      counted.finish();
    }
  }

  private ByteBuffer header(List<Tensor> ordered) throws IOException {
    var text = new StringWriter();
    try (JsonGenerator generator = Json.FACTORY.createGenerator(text)) {
      generator.writeStartObject();
      generator.writeObjectFieldStart(SafetensorsHeader.METADATA);
      for (var entry : metadata.entrySet()) {
        generator.writeStringField(entry.getKey(), entry.getValue());
      }
      generator.writeEndObject();
      long offset = 0;
      for (Tensor each : ordered) {
        TensorInfo tensor = each.description();
        long end = Math.addExact(offset, tensor.bytes());
        generator.writeObjectFieldStart(tensor.name());
        generator.writeStringField("dtype", tensor.dtype().name());
        generator.writeArrayFieldStart("shape");
        for (long dimension : tensor.shape()) {
          generator.writeNumber(dimension);
        }
        generator.writeEndArray();
        generator.writeArrayFieldStart("data_offsets");
        generator.writeNumber(offset);
        generator.writeNumber(end);
        generator.writeEndArray();
        generator.writeEndObject();
        offset = end;
      }
      generator.writeEndObject();
    }
    byte[] json = utf8(text.toString());
    int end = (Long.BYTES + json.length + alignment - 1) / alignment * alignment;
    int padded = end - Long.BYTES;
    ByteBuffer header =
        ByteBuffer.allocate(end).order(ByteOrder.LITTLE_ENDIAN).putLong(padded).put(json);
    while (header.hasRemaining()) {
      header.put((byte) ' ');
    }
    return header.flip();
  }

  private static void writeFloats(WritableByteChannel out, ByteBuffer chunk, FloatBuffer elements)
      throws IOException {
    while (elements.hasRemaining()) {
      int count = Math.min(elements.remaining(), chunk.capacity() / Float.BYTES);
      chunk.clear().asFloatBuffer().put(elements.slice().limit(count));
      elements.position(elements.position() + count);
      out.write(chunk.limit(count * Float.BYTES));
    }
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static void writeFully(WritableByteChannel out, ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      // Java copies a heap buffer into a direct one of the same size, which it then keeps: go in
      // small steps.
      int limit = buffer.limit();
      if (!buffer.isDirect()) {
        buffer.limit(Math.min(limit, buffer.position() + CHUNK));
      }
      out.write(buffer);
      buffer.limit(limit);
    }
  }

  /**
   * Lets exactly the bytes of one tensor through: one too many or too few would shift all that
   * follow.
   */
  private static final class CountedChannel implements WritableByteChannel {
    private final WritableByteChannel out;
    private final TensorInfo tensor;
    private long remaining;
    private boolean open = true;

    CountedChannel(WritableByteChannel out, TensorInfo tensor) {
      this.out = out;
      this.tensor = tensor;
      this.remaining = tensor.bytes();
    }

    @Override
    public int write(ByteBuffer source) throws IOException {
      if (!open) {
        throw new ClosedChannelException();
      }
      int count = source.remaining();
      if (count > remaining) {
        throw new IllegalStateException(
            "tensor "
                + FormatException.quote(tensor.name())
                + " writes more than its "
                + tensor.bytes()
                + " bytes");
      }
      writeFully(out, source);
      remaining -= count;
      return count;
    }

    @Override
    public boolean isOpen() {
      return open;
    }

    @Override
    public void close() {
      open = false;
    }

    void finish() {
      open = false;
      if (remaining != 0) {
        throw new IllegalStateException(
            String.format(
                "tensor %s wrote %d of its %d bytes",
                FormatException.quote(tensor.name()), tensor.bytes() - remaining, tensor.bytes()));
      }
    }
  }
}
