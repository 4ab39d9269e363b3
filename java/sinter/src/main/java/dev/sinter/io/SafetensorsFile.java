package dev.sinter.io;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A safetensors file: a length, a JSON header, data. The header is taken as hostile until all its rules have been checked:
 * each tensor's bytes follow from its shape, and together they cover the data exactly once. Nothing is allocated by what
 * the header says before that.
 */
public final class SafetensorsFile implements AutoCloseable {
  private static final long MOST_HEADER = 100_000_000;
  private static final int MOST_TENSORS = 1_000_000;
  private static final int MOST_NAME = 4096;
  private static final int MOST_RANK = 64;
  private static final int CHUNK = 1 << 20;
  private static final JsonFactory JSON =
      JsonFactory.builder().enable(com.fasterxml.jackson.core.StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

  private final Path path;
  private final FileChannel channel;
  private final Map<String, Entry> entries = new LinkedHashMap<>();
  private final Map<String, String> metadata = new LinkedHashMap<>();
  private long dataStart;

  /** A tensor and where its bytes begin and end, counted from the data's start. */
  private record Entry(TensorInfo info, long begin, long end) {}

  private SafetensorsFile(Path path, FileChannel channel) {
    this.path = path;
    this.channel = channel;
  }

  /**
   * Opens a file and checks its header.
   *
   * @param path of the file
   * @return the file; the caller closes it
   * @throws FormatException where a rule of the format is broken
   * @throws IOException where it cannot be read
   */
  public static SafetensorsFile open(Path path) throws IOException {
    FileChannel channel;
    try {
      channel = FileChannel.open(path, StandardOpenOption.READ);
    } catch (NoSuchFileException e) {
      throw new FormatException(path, "there is no such file", e);
    }
    SafetensorsFile file = new SafetensorsFile(path, channel);
    try {
      file.readHeader();
      return file;
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  private void readHeader() throws IOException {
    long size = channel.size();
    if (size < 8) {
      throw new FormatException(
          path, "has " + size + " bytes; a safetensors file has at least 8: it is truncated");
    }
    ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    readFully(length, 0);
    long header = length.getLong(0);
    if (header < 0 || header > size - 8) {
      throw new FormatException(
          path,
          "header says "
              + Long.toUnsignedString(header)
              + " bytes, the file has "
              + size
              + "; it is truncated or not a safetensors file");
    }
    if (header > MOST_HEADER) {
      throw new FormatException(path, "header of " + header + " bytes; at most " + MOST_HEADER);
    }
    ByteBuffer bytes = ByteBuffer.allocate((int) header);
    readFully(bytes, 8);
    dataStart = 8 + header;
    String text;
    try {
      text =
          StandardCharsets.UTF_8
              .newDecoder()
              .onMalformedInput(CodingErrorAction.REPORT)
              .onUnmappableCharacter(CodingErrorAction.REPORT)
              .decode(bytes.flip())
              .toString();
    } catch (CharacterCodingException e) {
      throw new FormatException(path, "header is not UTF-8; it is damaged", e);
    }
    if (!text.startsWith("{")) {
      throw new FormatException(path, "header does not begin with {; it is damaged or not a safetensors file");
    }
    try (JsonParser json = JSON.createParser(text)) {
      parse(json);
      if (json.nextToken() != null || text.charAt(lastBrace(text) - 1) != '}') {
        throw new FormatException(path, "header has more than spaces after its end; it is damaged");
      }
    } catch (JsonProcessingException e) {
      throw new FormatException(path, "header: " + e.getOriginalMessage() + "; it is damaged", e);
    }
    checkCover(size - dataStart);
  }

  /** The length up to the last brace, after which only spaces may stand. */
  private static int lastBrace(String text) {
    int end = text.length();
    while (end > 0 && text.charAt(end - 1) == ' ') {
      end--;
    }
    return end;
  }

  private void parse(JsonParser json) throws IOException {
    expect(json.nextToken() == JsonToken.START_OBJECT, "header is no JSON object");
    while (json.nextToken() == JsonToken.FIELD_NAME) {
      String name = json.currentName();
      expect(name.length() <= MOST_NAME, "a tensor's name has " + name.length() + " characters; at most " + MOST_NAME);
      expect(json.nextToken() == JsonToken.START_OBJECT, "entry " + name + " is no object");
      if (name.equals("__metadata__")) {
        while (json.nextToken() == JsonToken.FIELD_NAME) {
          String key = json.currentName();
          expect(json.nextToken() == JsonToken.VALUE_STRING, "metadata " + key + " is no text");
          metadata.put(key, json.getText());
        }
      } else {
        entries.put(name, entry(json, name));
        expect(entries.size() <= MOST_TENSORS, "more than " + MOST_TENSORS + " tensors");
      }
    }
  }

  private Entry entry(JsonParser json, String name) throws IOException {
    TensorInfo.Dtype dtype = null;
    List<Long> shape = null;
    List<Long> offsets = null;
    while (json.nextToken() == JsonToken.FIELD_NAME) {
      String field = json.currentName();
      json.nextToken();
      switch (field) {
        case "dtype" -> dtype = dtype(json, name);
        case "shape" -> shape = numbers(json, name, field, MOST_RANK);
        case "data_offsets" -> offsets = numbers(json, name, field, 2);
        default -> throw new FormatException(path, "tensor " + name + ": unknown field " + field);
      }
    }
    expect(
        dtype != null && shape != null && offsets != null && offsets.size() == 2,
        "tensor " + name + ": needs dtype, shape and two data_offsets");
    TensorInfo info =
        new TensorInfo(name, dtype, shape.stream().mapToLong(Long::longValue).toArray());
    long begin = offsets.get(0);
    long end = offsets.get(1);
    try {
      expect(
          end >= begin && end - begin == info.bytes(),
          "tensor " + info + ": data_offsets " + offsets + " do not hold " + info.bytes() + " bytes");
    } catch (ArithmeticException e) {
      throw new FormatException(path, "tensor " + info + ": its size is no possible number of bytes", e);
    }
    return new Entry(info, begin, end);
  }

  private TensorInfo.Dtype dtype(JsonParser json, String name) throws IOException {
    String text = json.getText();
    for (TensorInfo.Dtype dtype : TensorInfo.Dtype.values()) {
      if (dtype.name().equals(text) && json.currentToken() == JsonToken.VALUE_STRING) {
        return dtype;
      }
    }
    throw new FormatException(path, "tensor " + name + ": unknown dtype " + text);
  }

  private List<Long> numbers(JsonParser json, String name, String field, int most) throws IOException {
    expect(json.currentToken() == JsonToken.START_ARRAY, "tensor " + name + ": " + field + " is no list");
    List<Long> numbers = new ArrayList<>();
    while (json.nextToken() != JsonToken.END_ARRAY) {
      boolean whole =
          json.currentToken() == JsonToken.VALUE_NUMBER_INT
              && json.getNumberType() != JsonParser.NumberType.BIG_INTEGER
              && json.getLongValue() >= 0;
      expect(whole, "tensor " + name + ": " + field + " has " + json.getText() + ", no whole number of 63 bits");
      numbers.add(json.getLongValue());
      expect(numbers.size() <= most, "tensor " + name + ": " + field + " has more than " + most + " numbers");
    }
    return numbers;
  }

  private void expect(boolean right, String otherwise) throws FormatException {
    if (!right) {
      throw new FormatException(path, otherwise + "; it is damaged");
    }
  }

  private void checkCover(long dataBytes) throws IOException {
    List<Entry> sorted = new ArrayList<>(entries.values());
    sorted.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
    long at = 0;
    for (Entry entry : sorted) {
      expect(
          entry.begin == at,
          "tensor " + entry.info.name() + ": data begins at " + entry.begin + ", not at " + at + " where the one before ends");
      at = entry.end;
    }
    if (at != dataBytes) {
      throw new FormatException(
          path, "tensors have " + at + " bytes of data, the file has " + dataBytes + "; it is truncated or damaged");
    }
  }

  private void readFully(ByteBuffer into, long position) throws IOException {
    while (into.hasRemaining()) {
      int read = channel.read(into, position);
      if (read < 0) {
        throw new EOFException(path + ": ended at byte " + position + " while it was read");
      }
      position += read;
    }
  }

  /**
   * Returns the names of all tensors.
   *
   * @return in the header's order
   */
  public Set<String> names() {
    return Collections.unmodifiableSet(new java.util.LinkedHashSet<>(entries.keySet()));
  }

  /**
   * Returns the header's metadata.
   *
   * @return texts by name
   */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(metadata);
  }

  /**
   * Describes a tensor.
   *
   * @param name of the tensor
   * @return what the header says, or null where there is no such tensor
   */
  public TensorInfo info(String name) {
    Entry entry = entries.get(name);
    return entry == null ? null : entry.info;
  }

  /**
   * Reads a tensor's elements, widened to fp32, from the current place of a reader.
   *
   * @param name of the tensor
   * @return a reader at its first element
   * @throws FormatException where it is not F32, F16 or BF16
   */
  public FloatReader floats(String name) throws IOException {
    Entry entry = entries.get(name);
    if (entry == null) {
      throw new FormatException(path, "there is no tensor " + name);
    }
    return switch (entry.info.dtype()) {
      case F32, F16, BF16 -> new FloatReader(entry);
      default ->
          throw new FormatException(
              path, "tensor " + entry.info + ": weights are F32, F16 or BF16; convert the file");
    };
  }

  /** Reads the elements of one tensor in order. */
  public final class FloatReader {
    private final Entry entry;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
    private long at;

    private FloatReader(Entry entry) {
      this.entry = entry;
      this.at = entry.begin;
    }

    /**
     * Fills a buffer with the next elements.
     *
     * @param into to be filled to its limit
     * @throws IOException where the tensor has no more, or the file cannot be read
     */
    public void fill(FloatBuffer into) throws IOException {
      int width = entry.info.dtype().bits() / 8;
      while (into.hasRemaining()) {
        long wanted = Math.min((long) into.remaining() * width, CHUNK);
        if (at + wanted > entry.end) {
          throw new FormatException(path, "tensor " + entry.info + ": has no more elements");
        }
        buffer.clear().limit((int) wanted);
        readFully(buffer, dataStart + at);
        at += wanted;
        buffer.flip();
        switch (entry.info.dtype()) {
          case F32 -> into.put(buffer.asFloatBuffer());
          case BF16 -> {
            while (buffer.hasRemaining()) {
              into.put(Float.intBitsToFloat(buffer.getShort() << 16));
            }
          }
          default -> {
            while (buffer.hasRemaining()) {
              into.put(halfToFloat(buffer.getShort()));
            }
          }
        }
      }
    }
  }

  /** Widens an IEEE half. */
  static float halfToFloat(short half) {
    int sign = (half & 0x8000) << 16;
    int exponent = half >>> 10 & 0x1f;
    int fraction = half & 0x3ff;
    if (exponent == 0x1f) {
      return Float.intBitsToFloat(sign | 0x7f800000 | fraction << 13);
    }
    if (exponent == 0) {
      float small = fraction * 0x1p-24f;
      return sign == 0 ? small : -small;
    }
    return Float.intBitsToFloat(sign | (exponent + 112) << 23 | fraction << 13);
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }

  /**
   * Reports names that should be there and are not, that are there and should not be, and shapes that differ, together.
   *
   * @param expected shapes by name
   * @param ignored names that may be there
   * @throws FormatException where there is anything to report
   */
  public void requireTensors(Map<String, long[]> expected, Set<String> ignored) throws FormatException {
    List<String> problems = new ArrayList<>();
    for (Map.Entry<String, long[]> tensor : expected.entrySet()) {
      TensorInfo found = info(tensor.getKey());
      if (found == null) {
        problems.add("missing " + tensor.getKey());
      } else if (!java.util.Arrays.equals(found.shape(), tensor.getValue())) {
        problems.add(
            tensor.getKey()
                + " is "
                + java.util.Arrays.toString(found.shape())
                + ", not "
                + java.util.Arrays.toString(tensor.getValue()));
      }
    }
    Set<String> unexpected = new HashSet<>(entries.keySet());
    unexpected.removeAll(expected.keySet());
    unexpected.removeAll(ignored);
    unexpected.stream().sorted().forEach(name -> problems.add("unexpected " + name));
    if (!problems.isEmpty()) {
      int more = problems.size() - 5;
      throw new FormatException(
          path,
          String.join("; ", problems.subList(0, Math.min(5, problems.size())))
              + (more > 0 ? "; and " + more + " more" : "")
              + ": the weights are not of the model that config.json describes");
    }
  }
}
