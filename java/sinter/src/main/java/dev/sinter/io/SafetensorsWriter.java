package dev.sinter.io;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;

/**
 * Writes a safetensors file of fp32 tensors, without holding them in memory: equal tensors and metadata give equal bytes.
 */
public final class SafetensorsWriter {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final List<Tensor> tensors = new ArrayList<>();
  private final ObjectNode metadata = JSON.createObjectNode().put("format", "pt");

  private record Tensor(String name, long[] shape, Data data) {
    long bytes() {
      return 4 * new TensorInfo(name, TensorInfo.Dtype.F32, shape).elements();
    }
  }

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

  /** Gives the elements of a tensor. */
  @FunctionalInterface
  public interface Data {
    /**
     * Gives all elements in order.
     *
     * @param sink takes them, in as many pieces as there are
     * @throws IOException from the sink
     */
    void writeTo(Sink sink) throws IOException;
  }

  /**
   * Adds metadata.
   *
   * @param key its name
   * @param value its text
   * @return this
   */
  public SafetensorsWriter metadata(String key, String value) {
    metadata.put(key, value);
    return this;
  }

  /**
   * Adds a tensor.
   *
   * @param name of the tensor
   * @param shape its sizes
   * @param data gives its elements when the file is written
   * @return this
   */
  public SafetensorsWriter add(String name, long[] shape, Data data) {
    tensors.add(new Tensor(name, shape.clone(), data));
    return this;
  }

  /**
   * Writes the file: beside it first, then in its place.
   *
   * @param path of the file
   * @throws IOException where it cannot be written; an old file stays as it was
   */
  public void write(Path path) throws IOException {
    List<Tensor> sorted = new ArrayList<>(tensors);
    sorted.sort(Comparator.comparing(Tensor::name));
    AtomicFiles.write(
        path,
        channel -> {
          channel.write(header(sorted));
          ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20).order(ByteOrder.LITTLE_ENDIAN);
          for (Tensor tensor : sorted) {
            long start = channel.position();
            tensor.data.writeTo(elements -> write(channel, buffer, elements));
            long written = channel.position() - start;
            if (written != tensor.bytes()) {
              throw new IllegalStateException(
                  "tensor " + tensor.name + Arrays.toString(tensor.shape) + " gave " + written + " bytes");
            }
          }
        });
  }

  private static void write(FileChannel channel, ByteBuffer buffer, FloatBuffer elements) throws IOException {
    while (elements.hasRemaining()) {
      int count = Math.min(elements.remaining(), buffer.capacity() / 4);
      buffer.clear();
      buffer.asFloatBuffer().put(elements.slice().limit(count));
      elements.position(elements.position() + count);
      buffer.limit(4 * count);
      while (buffer.hasRemaining()) {
        channel.write(buffer);
      }
    }
  }

  private ByteBuffer header(List<Tensor> sorted) throws IOException {
    ObjectNode root = JSON.createObjectNode();
    root.set("__metadata__", metadata);
    long offset = 0;
    for (Tensor tensor : sorted) {
      ObjectNode entry = root.putObject(tensor.name);
      entry.put("dtype", "F32");
      ArrayNode shape = entry.putArray("shape");
      for (long size : tensor.shape) {
        shape.add(size);
      }
      entry.putArray("data_offsets").add(offset).add(offset + tensor.bytes());
      offset += tensor.bytes();
    }
    byte[] json = JSON.writeValueAsBytes(root);
    int padded = (json.length + 7) / 8 * 8;
    ByteBuffer header = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN);
    header.putLong(padded).put(json);
    while (header.hasRemaining()) {
      header.put((byte) ' ');
    }
    return header.flip();
  }

  /**
   * Adds several entries of metadata.
   *
   * @param entries texts by name
   * @return this
   */
  public SafetensorsWriter metadata(Map<String, String> entries) {
    entries.forEach(metadata::put);
    return this;
  }
}
