package dev.sinter.io;

import static dev.sinter.io.FormatException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * The tensors of a model in the safetensors format, in one file or in the shards that an index
 * names.
 *
 * <p>Opening reads and checks the headers only; data is mapped or read when it is asked for. Any
 * number of threads may read at once.
 *
 * <pre>{@code
 * try (SafetensorsFile file = SafetensorsFile.open(Path.of("model"))) {
 *   file.floats("wte.weight").fill(buffer);
 * }
 * }</pre>
 */
public final class SafetensorsFile implements AutoCloseable {
  /** The name of a model's weights in its folder. */
  public static final String FILE_NAME = "model.safetensors";

  /** The name of the index in the folder of a model whose weights are in several files. */
  public static final String INDEX_NAME = "model.safetensors.index.json";

  private static final int CHUNK = 1 << 16;

  private final Path path;
  private final List<Shard> shards = new ArrayList<>();
  private final Map<String, Data> tensors = new LinkedHashMap<>();
  private final Map<String, String> metadata = new HashMap<>();
  private volatile boolean closed;

  private SafetensorsFile(Path path) {
    this.path = path;
  }

  /** An open file and what its header says. */
  private record Shard(Path path, FileChannel channel, long dataStart, SafetensorsHeader header) {}

  /** A tensor and the place of its data, counted from the start of the shard. */
  private record Data(TensorInfo tensor, Shard shard, long position) {}

  /**
   * Opens a model's tensors and checks all headers.
   *
   * @param path a {@code .safetensors} file, an {@code .index.json} that names several, or a folder
   *     with either under the name that Hugging Face gives it
   * @return the open file
   * @throws FormatException where a header breaks any rule of the format
   * @throws IOException where a file is missing or cannot be read
   */
  public static SafetensorsFile open(Path path) throws IOException {
    var file = new SafetensorsFile(locate(path));
    try {
      if (file.path.toString().endsWith(".json")) {
        file.openShards();
      } else {
        file.openSingle();
      }
      return file;
    } catch (IOException | RuntimeException | Error e) {
      file.close();
      throw e;
    }
  }

  /**
   * Returns what is here.
   *
   * @return the tensors' names, in the order of their data
   */
  public Set<String> names() {
    return Collections.unmodifiableSet(tensors.keySet());
  }

  /**
   * Describes a tensor.
   *
   * @param name its name
   * @return its type and shape, or null where there is no such tensor
   */
  public TensorInfo info(String name) {
    Data data = tensors.get(name);
    return data == null ? null : data.tensor();
  }

  /**
   * Returns what the writer noted about the file.
   *
   * @return the strings of {@code __metadata__}, empty where it is absent
   */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(metadata);
  }

  /**
   * Copies bytes of a tensor, at any place and in a tensor of any size.
   *
   * @param name the tensor
   * @param offset the first byte to copy, counted from the tensor's first
   * @param target takes as many bytes as it has remaining; a direct buffer is filled without a copy
   *     on the heap
   * @throws IndexOutOfBoundsException where the tensor has fewer bytes than that
   * @throws IllegalStateException after {@link #close}
   * @throws IOException where the file cannot be read
   */
  public void read(String name, long offset, ByteBuffer target) throws IOException {
    Data data = data(name);
    Objects.checkFromIndexSize(offset, target.remaining(), data.tensor().bytes());
    long position = data.position() + offset;
    while (target.hasRemaining()) {
      int count = data.shard().channel().read(target, position);
      if (count < 0) {
        throw new FormatException(
            data.shard().path(), "became shorter while tensor " + quote(name) + " was read");
      }
      position += count;
    }
  }

  /**
   * Reads a tensor's elements in order, widened to fp32 from F32, BF16 or F16.
   *
   * @param name of the tensor
   * @return a reader at its first element
   * @throws FormatException where the tensor is stored in another type, or is not there
   * @throws IllegalStateException after {@link #close}
   */
  public FloatReader floats(String name) throws FormatException {
    if (info(name) == null) {
      throw new FormatException(path, "there is no tensor " + quote(name));
    }
    Data data = data(name);
    if (!isFloat(data.tensor())) {
      throw new FormatException(
          data.shard().path(),
          "tensor " + data.tensor() + ": weights are F32, F16 or BF16; convert the file");
    }
    return new FloatReader(data.tensor());
  }

  /** Reads the elements of one tensor in order. */
  public final class FloatReader {
    private final TensorInfo tensor;
    private final int width;
    private final ByteBuffer chunk;
    private long offset;

    private FloatReader(TensorInfo tensor) {
      this.tensor = tensor;
      this.width = tensor.dtype().bits() / 8;
      this.chunk =
          ByteBuffer.allocateDirect((int) Math.min(CHUNK, tensor.bytes()))
              .order(ByteOrder.LITTLE_ENDIAN);
    }

    /**
     * Fills a buffer with the next elements.
     *
     * @param target filled to its limit
     * @throws IndexOutOfBoundsException where the tensor has fewer elements left
     * @throws IllegalStateException after the file's {@link #close}
     * @throws IOException where the file cannot be read
     */
    public void fill(FloatBuffer target) throws IOException {
      Objects.checkFromIndexSize(offset, (long) target.remaining() * width, tensor.bytes());
      while (target.hasRemaining()) {
        int bytes = Math.min(CHUNK / width, target.remaining()) * width;
        read(tensor.name(), offset, chunk.clear().limit(bytes));
        offset += bytes;
        widen(chunk.flip(), target);
      }
    }

    private void widen(ByteBuffer source, FloatBuffer target) {
      switch (tensor.dtype()) {
        case F32 -> target.put(source.asFloatBuffer());
        case BF16 -> {
          while (source.hasRemaining()) {
            target.put(Float.intBitsToFloat(source.getShort() << 16));
          }
        }
        default -> {
          while (source.hasRemaining()) {
            target.put(halfToFloat(source.getShort()));
          }
        }
      }
    }
  }

  /**
   * Maps bytes of a tensor: nothing is read before it is touched, and several processes share one
   * copy.
   *
   * <p>The file may place data at odd addresses; where it does, the bytes are copied, so that the
   * buffer's start is always aligned for its element type if {@code offset} is a multiple of the
   * element's size. The buffer stays valid after {@link #close}; the system unmaps it when it is no
   * longer reachable. Another process that truncates the file meanwhile makes access to the buffer
   * fail.
   *
   * @param name the tensor
   * @param offset the first byte, counted from the tensor's first
   * @param length how many bytes; for a tensor of 2 GiB or more call this for part after part
   * @return a direct, read-only, little-endian buffer
   * @throws IndexOutOfBoundsException where the tensor has fewer bytes than that
   * @throws IllegalStateException after {@link #close}
   * @throws IOException where the file cannot be mapped
   */
  public ByteBuffer map(String name, long offset, int length) throws IOException {
    Data data = data(name);
    Objects.checkFromIndexSize(offset, length, data.tensor().bytes());
    long position = data.position() + offset;
    FileChannel channel = data.shard().channel();
    if (position + length > channel.size()) {
      throw new FormatException(
          data.shard().path(), "became shorter before tensor " + quote(name) + " was mapped");
    }
    // The start of a mapping is page-aligned, so the address is as aligned as the position.
    int alignment = Math.max(1, data.tensor().dtype().bits() / 8);
    if (position % alignment == 0 || offset % alignment != 0) {
      ByteBuffer mapped = channel.map(FileChannel.MapMode.READ_ONLY, position, length);
      return mapped.order(ByteOrder.LITTLE_ENDIAN);
    }
    ByteBuffer copy = ByteBuffer.allocateDirect(length);
    read(name, offset, copy);
    return copy.flip().asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * Reports names that should be there and are not, that are there and should not be, shapes that
   * differ and types that {@link #floats} does not read, together.
   *
   * @param expected shapes by name
   * @param ignored names that may be there
   * @throws FormatException where there is anything to report
   */
  public void requireTensors(Map<String, long[]> expected, Set<String> ignored)
      throws FormatException {
    requireTensors(
        expected, ignored, "its weights are not of the model that config.json describes");
  }

  /**
   * Reports the same in other words.
   *
   * @param expected shapes by name
   * @param ignored names that may be there
   * @param complaint what is wrong where there is anything to report
   * @throws FormatException where there is
   */
  public void requireTensors(Map<String, long[]> expected, Set<String> ignored, String complaint)
      throws FormatException {
    List<String> problems = new ArrayList<>();
    for (Map.Entry<String, long[]> tensor : expected.entrySet()) {
      TensorInfo found = info(tensor.getKey());
      if (found == null) {
        problems.add("missing " + tensor.getKey());
      } else if (!Arrays.equals(found.shape(), tensor.getValue())) {
        problems.add(
            tensor.getKey()
                + " is "
                + Arrays.toString(found.shape())
                + ", not "
                + Arrays.toString(tensor.getValue()));
      } else if (!isFloat(found)) {
        problems.add(tensor.getKey() + " is " + found.dtype() + ", not F32, F16 or BF16");
      }
    }
    Set<String> unexpected = new HashSet<>(tensors.keySet());
    unexpected.removeAll(expected.keySet());
    unexpected.removeAll(ignored);
    unexpected.stream().sorted().forEach(name -> problems.add("unexpected " + quote(name)));
    if (!problems.isEmpty()) {
      int more = problems.size() - 5;
      throw new FormatException(
          path,
          complaint
              + ": "
              + (more > 0 ? problems.size() + " differ, among them " : "")
              + String.join("; ", problems.subList(0, Math.min(5, problems.size()))));
    }
  }

  private static boolean isFloat(TensorInfo tensor) {
    return switch (tensor.dtype()) {
      case F32, F16, BF16 -> true;
      default -> false;
    };
  }

  /** Closes the files. Buffers from {@link #map} stay valid. Closing twice is harmless. */
  @Override
  public void close() {
    closed = true;
    for (Shard shard : shards) {
      try {
        shard.channel().close();
      } catch (IOException e) {
        // The channel was only read from: nothing can be lost, and there is nothing to do about it.
      }
    }
  }

  @Override
  public String toString() {
    return path.toString();
  }

  private Data data(String name) {
    if (closed) {
      throw new IllegalStateException(path + " is closed");
    }
    Data data = tensors.get(name);
    if (data == null) {
      throw new IllegalArgumentException(path + " has no tensor " + quote(name));
    }
    return data;
  }

  private static Path locate(Path path) throws FormatException {
    if (!Files.exists(path)) {
      throw new FormatException(path, "there is no such file or folder");
    }
    if (!Files.isDirectory(path)) {
      return path;
    }
    for (String name : List.of(FILE_NAME, INDEX_NAME)) {
      if (Files.exists(path.resolve(name))) {
        return path.resolve(name);
      }
    }
    throw new FormatException(path, "this folder has neither " + FILE_NAME + " nor " + INDEX_NAME);
  }

  private void openSingle() throws IOException {
    Shard shard = openShard(path);
    metadata.putAll(shard.header().metadata());
    shard.header().tensors().keySet().forEach(name -> add(shard, name));
  }

  private void openShards() throws IOException {
    Map<String, Shard> opened = new HashMap<>();
    for (var mapping : SafetensorsIndex.read(path).entrySet()) {
      String name = mapping.getKey();
      Shard shard = opened.get(mapping.getValue());
      if (shard == null) {
        shard = openShard(path.resolveSibling(mapping.getValue()));
        opened.put(mapping.getValue(), shard);
        metadata.putAll(shard.header().metadata());
      }
      if (!shard.header().tensors().containsKey(name)) {
        throw new FormatException(
            shard.path(),
            "lacks tensor " + quote(name) + ", which " + path.getFileName() + " places there");
      }
      add(shard, name);
    }
  }

  private void add(Shard shard, String name) {
    SafetensorsHeader.Entry entry = shard.header().tensors().get(name);
    tensors.put(name, new Data(entry.tensor(), shard, shard.dataStart() + entry.begin()));
  }

  private Shard openShard(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      throw new FormatException(
          file, Files.exists(file) ? "is no regular file" : "there is no such file");
    }
    FileChannel channel = FileChannel.open(file);
    try {
      long size = channel.size();
      if (size < Long.BYTES) {
        throw new FormatException(
            file, "the file has " + size + " bytes; it is truncated or not a safetensors file");
      }
      long headerSize = readFully(file, channel, 0, Long.BYTES).getLong();
      if (headerSize < 0 || headerSize > size - Long.BYTES) {
        throw new FormatException(
            file,
            String.format(
                "header says %s bytes, the file has %d; it is truncated or not a safetensors file",
                Long.toUnsignedString(headerSize), size));
      }
      if (headerSize > SafetensorsHeader.MAX_BYTES) {
        throw new FormatException(
            file,
            String.format(
                "header says %d bytes, at most %d are read",
                headerSize, SafetensorsHeader.MAX_BYTES));
      }
      byte[] json = readFully(file, channel, Long.BYTES, (int) headerSize).array();
      long dataStart = Long.BYTES + headerSize;
      var shard =
          new Shard(
              file, channel, dataStart, SafetensorsHeader.parse(file, json, size - dataStart));
      shards.add(shard);
      return shard;
    } catch (IOException | RuntimeException | Error e) {
      channel.close();
      throw e;
    }
  }

  private static ByteBuffer readFully(Path file, FileChannel channel, long position, int length)
      throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
    while (buffer.hasRemaining()) {
      if (channel.read(buffer, position + buffer.position()) < 0) {
        throw new FormatException(file, "became shorter while its header was read");
      }
    }
    return buffer.flip();
  }

  /** IEEE 754 half to single, exact: Java 17 has no method for it. */
  static float halfToFloat(short half) {
    int sign = (half & 0x8000) << 16;
    int exponent = half >>> 10 & 0x1f;
    int mantissa = half & 0x3ff;
    if (exponent == 0) { // zero and subnormals: a multiple of 2^-24
      return Float.intBitsToFloat(sign | Float.floatToRawIntBits(mantissa * 0x1p-24f));
    }
    if (exponent == 0x1f) { // infinity and NaN
      return Float.intBitsToFloat(sign | 0x7f800000 | mantissa << 13);
    }
    return Float.intBitsToFloat(sign | exponent + (127 - 15) << 23 | mantissa << 13);
  }
}
