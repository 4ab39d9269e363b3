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
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;

/**
 * A model in llama.cpp's GGUF format, version 2 or 3, little-endian: its settings and its tensors.
 *
 * <p>Opening reads and checks the header only; data is read in pieces when it is asked for. Any
 * number of threads may read at once.
 *
 * <pre>{@code
 * try (GgufFile file = GgufFile.open(Path.of("model.gguf"))) {
 *   file.floats("token_embd.weight").fill(buffer);
 * }
 * }</pre>
 */
public final class GgufFile implements AutoCloseable {
  /** The end of such files' names. */
  public static final String EXTENSION = ".gguf";

  /** Elements that are widened together: a multiple of every block. */
  private static final int CHUNK = 1 << 16;

  private final Path path;
  private final FileChannel channel;
  private final GgufHeader header;

  private GgufFile(Path path, FileChannel channel, GgufHeader header) {
    this.path = path;
    this.channel = channel;
    this.header = header;
  }

  /** How elements are stored: alone, or in blocks that share scales. */
  public enum Type {
    /** IEEE single. */
    F32(0, 1, 4),
    /** IEEE half. */
    F16(1, 1, 2),
    /** Upper half of a single. */
    BF16(30, 1, 2),
    /** 4-bit integers, a scale for 32. */
    Q4_0(2, 32, 18),
    /** 8-bit integers, a scale for 32. */
    Q8_0(8, 32, 34),
    /** 6-bit integers, an 8-bit scale for 16 and a scale for 256. */
    Q6_K(14, 256, 210);

    /** What others are called, by their codes. */
    private static final List<String> OTHERS =
        List.of(
            ("F32 F16 Q4_0 Q4_1 Q4_2 Q4_3 Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K"
                    + " IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64"
                    + " IQ1_M BF16")
                .split(" ", -1));

    private final int code;
    private final int block;
    private final int bytes;

    Type(int code, int block, int bytes) {
      this.code = code;
      this.block = block;
      this.bytes = bytes;
    }

    /**
     * Returns how many elements are stored together.
     *
     * @return 1 where each stands alone
     */
    public int block() {
      return block;
    }

    static Type of(int code) {
      return Arrays.stream(values()).filter(type -> type.code == code).findFirst().orElse(null);
    }

    static String describe(int code) {
      boolean known = code >= 0 && code < OTHERS.size();
      return known ? OTHERS.get(code) : Integer.toUnsignedString(code);
    }
  }

  /**
   * A tensor, without its data.
   *
   * @param name of the tensor
   * @param type of its elements
   * @param shape its sizes, outermost first: the other way round than in the file
   */
  public record Tensor(String name, Type type, long[] shape) {
    /** Keeps a copy of the sizes. */
    public Tensor {
      shape = shape.clone();
    }

    /** A copy of the sizes. */
    @Override
    public long[] shape() {
      return shape.clone();
    }

    /**
     * Counts the elements.
     *
     * @return the product of the shape
     */
    public long elements() {
      long product = 1;
      for (long size : shape) {
        product *= size;
      }
      return product;
    }

    /**
     * Counts the bytes.
     *
     * @return bytes in the file
     */
    public long bytes() {
      return elements() / type.block * type.bytes;
    }

    @Override
    public String toString() {
      return quote(name) + " " + type + Arrays.toString(shape);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Tensor that
          && name.equals(that.name)
          && type == that.type
          && Arrays.equals(shape, that.shape);
    }

    @Override
    public int hashCode() {
      return name.hashCode() * 31 + Arrays.hashCode(shape);
    }
  }

  /**
   * Tells by its name whether a path is meant as a GGUF file.
   *
   * @param path any
   * @return whether it ends in .gguf and is no folder
   */
  public static boolean isNamed(Path path) {
    return path.toString().toLowerCase(Locale.ROOT).endsWith(EXTENSION) && !Files.isDirectory(path);
  }

  /**
   * Opens a file and checks its header.
   *
   * @param path of the file
   * @return the open file
   * @throws FormatException where the header breaks a rule of the format, or a tensor is of a type
   *     that is not read
   * @throws IOException where the file is missing or cannot be read
   */
  public static GgufFile open(Path path) throws IOException {
    if (!Files.isRegularFile(path)) {
      throw new FormatException(
          path, Files.exists(path) ? "is no regular file" : "there is no such file");
    }
    FileChannel channel = FileChannel.open(path);
    try {
      return new GgufFile(path, channel, GgufHeader.read(path, channel));
    } catch (IOException | RuntimeException | Error e) {
      channel.close();
      throw e;
    }
  }

  /**
   * Returns what is here.
   *
   * @return the tensors' names, in the order of the header
   */
  public Set<String> names() {
    return Collections.unmodifiableSet(header.tensors.keySet());
  }

  /**
   * Describes a tensor.
   *
   * @param name its name
   * @return its type and shape, or null where there is no such tensor
   */
  public Tensor info(String name) {
    GgufHeader.Entry entry = header.tensors.get(name);
    return entry == null ? null : entry.tensor();
  }

  /**
   * Returns the settings' names.
   *
   * @return keys, in the order of the header
   */
  public Set<String> keys() {
    return Collections.unmodifiableSet(header.settings.keySet());
  }

  /**
   * Reads a setting.
   *
   * @param key its name
   * @return a Long, Double, Boolean, String or a List of such; null where there is none
   */
  public Object setting(String key) {
    Object value = header.settings.get(key);
    return value instanceof List<?> list ? Collections.unmodifiableList(list) : value;
  }

  /**
   * Reads a text.
   *
   * @param key its name
   * @param otherwise the value where there is none
   * @return the text
   * @throws FormatException where it is something else
   */
  public String text(String key, String otherwise) throws FormatException {
    return header.settings.containsKey(key) ? required(key, String.class, "text") : otherwise;
  }

  /**
   * Reads a whole number that must be there.
   *
   * @param key its name
   * @return the number
   * @throws FormatException where there is none, or it is something else, or beyond 32 bits
   */
  public int number(String key) throws FormatException {
    return toInt(key, required(key, Long.class, "whole number"));
  }

  /**
   * Reads a whole number.
   *
   * @param key its name
   * @param otherwise the value where there is none
   * @return the number
   * @throws FormatException where it is something else, or beyond 32 bits
   */
  public int number(String key, int otherwise) throws FormatException {
    return header.settings.containsKey(key) ? number(key) : otherwise;
  }

  /**
   * Reads a number that must be there.
   *
   * @param key its name
   * @return the number
   * @throws FormatException where there is none, or it is something else
   */
  public double fraction(String key) throws FormatException {
    return required(key, Double.class, "number with a fraction");
  }

  /**
   * Reads a list of texts.
   *
   * @param key its name
   * @return the texts, in order
   * @throws FormatException where there is none, or it is something else
   */
  public List<String> texts(String key) throws FormatException {
    List<String> texts = new ArrayList<>();
    for (Object value : required(key, List.class, "list")) {
      if (!(value instanceof String text)) {
        throw new FormatException(path, "setting " + quote(key) + " is no list of texts");
      }
      texts.add(text);
    }
    return texts;
  }

  /**
   * Reads a list of whole numbers.
   *
   * @param key its name
   * @return the numbers, in order; none where there is no such list
   * @throws FormatException where it is something else, or a number is beyond 32 bits
   */
  public List<Integer> numbers(String key) throws FormatException {
    List<Integer> numbers = new ArrayList<>();
    if (header.settings.containsKey(key)) {
      for (Object value : required(key, List.class, "list")) {
        if (!(value instanceof Long number)) {
          throw new FormatException(path, "setting " + quote(key) + " is no list of whole numbers");
        }
        numbers.add(toInt(key, number));
      }
    }
    return numbers;
  }

  private <T> T required(String key, Class<T> kind, String name) throws FormatException {
    Object value = header.settings.get(key);
    if (!kind.isInstance(value)) {
      throw new FormatException(
          path, (value == null ? "lacks setting " : "is no " + name + ": ") + quote(key));
    }
    return kind.cast(value);
  }

  private int toInt(String key, long value) throws FormatException {
    if (value != (int) value) {
      throw new FormatException(path, "setting " + quote(key) + " is beyond 32 bits: " + value);
    }
    return (int) value;
  }

  /**
   * Reads a tensor's elements, widened to fp32.
   *
   * @param name of the tensor
   * @return a reader at its first element
   * @throws FormatException where there is no such tensor
   */
  public FloatReader floats(String name) throws FormatException {
    GgufHeader.Entry entry = header.tensors.get(name);
    if (entry == null) {
      throw new FormatException(path, "there is no tensor " + quote(name));
    }
    return new FloatReader(entry);
  }

  /** Reads the elements of one tensor in order, from any place. */
  public final class FloatReader {
    private final GgufHeader.Entry entry;
    private final Type type;
    private final long elements;
    private final ByteBuffer stored;
    private final FloatBuffer widened = FloatBuffer.allocate(CHUNK).limit(0);

    /** The element behind those that are widened. */
    private long next;

    private FloatReader(GgufHeader.Entry entry) {
      this.entry = entry;
      this.type = entry.tensor().type();
      this.elements = entry.tensor().elements();
      this.stored =
          ByteBuffer.allocateDirect(CHUNK / type.block * type.bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /**
     * Goes to a place.
     *
     * @param element the next to be read: the first of a block
     * @throws IndexOutOfBoundsException where the tensor has fewer
     */
    public void seek(long element) {
      Objects.checkIndex(element, elements);
      if (element % type.block != 0) {
        throw new IllegalArgumentException("element " + element + " is inside a block of " + type);
      }
      next = element;
      widened.limit(0);
    }

    /**
     * Fills a buffer with the next elements.
     *
     * @param target filled to its limit
     * @throws IndexOutOfBoundsException where the tensor has fewer elements left
     * @throws IOException where the file cannot be read, or is closed
     */
    public void fill(FloatBuffer target) throws IOException {
      Objects.checkFromIndexSize(next - widened.remaining(), target.remaining(), elements);
      while (target.hasRemaining()) {
        if (!widened.hasRemaining()) {
          widen(target.remaining());
        }
        int count = Math.min(target.remaining(), widened.remaining());
        target.put(widened.slice(widened.position(), count));
        widened.position(widened.position() + count);
      }
    }

    private void widen(int wanted) throws IOException {
      int blocks = Math.min(CHUNK, wanted + type.block - 1) / type.block;
      stored.clear().limit(blocks * type.bytes);
      long position = entry.position() + next / type.block * type.bytes;
      while (stored.hasRemaining()) {
        int read = channel.read(stored, position + stored.position());
        if (read < 0) {
          throw new FormatException(
              path, "became shorter while tensor " + quote(entry.tensor().name()) + " was read");
        }
      }
      stored.flip();
      widened.clear();
      GgufBlocks.widen(type, stored, widened);
      widened.flip();
      next += widened.remaining();
    }
  }

  /** Closes the file. Closing twice is harmless. */
  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      // The channel was only read from: nothing can be lost, and there is nothing to do about it.
    }
  }

  @Override
  public String toString() {
    return path.toString();
  }
}
