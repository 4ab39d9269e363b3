package dev.sinter.io;

import static dev.sinter.io.FormatException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What stands before the data of a GGUF file: settings, and what each tensor is. Every count and
 * length is held to a limit, and to what is left of the file, before anything is allocated by it.
 */
final class GgufHeader {
  /** Of the whole header: some hundred thousand tokens with their merges take a tenth of it. */
  static final int MAX_BYTES = 32 << 20;

  static final int MAX_SETTINGS = 1 << 16;
  static final int MAX_TENSORS = 1 << 16;
  static final int MAX_KEY = 1_000;
  static final int MAX_STRING = 1 << 20;
  static final int MAX_ARRAY = 1 << 22;
  static final int MAX_NESTING = 4;
  static final int MAX_RANK = 4;
  private static final int MAX_ALIGNMENT = 1 << 16;
  private static final int MAGIC = 'G' | 'G' << 8 | 'U' << 16 | 'F' << 24;
  private static final int WINDOW = 1 << 16;

  /** The format's kinds of values, by their numbers; of what fixed width, 0 where it varies. */
  private enum Kind {
    U8(1),
    I8(1),
    U16(2),
    I16(2),
    U32(4),
    I32(4),
    F32(4),
    BOOL(1),
    STRING(0),
    ARRAY(0),
    U64(8),
    I64(8),
    F64(8);

    final int width;

    Kind(int width) {
      this.width = width;
    }

    /** The fewest bytes that one takes: what bounds a count. */
    int least() {
      return this == STRING ? 8 : this == ARRAY ? 12 : width;
    }
  }

  /** A tensor and where its data begins in the file. */
  record Entry(GgufFile.Tensor tensor, long position) {}

  private final Path file;
  private final FileChannel channel;
  private final long size;
  private final ByteBuffer window =
      ByteBuffer.allocate(WINDOW).order(ByteOrder.LITTLE_ENDIAN).limit(0);

  /** The place in the file of what the window has read. */
  private long end;

  final Map<String, Object> settings = new LinkedHashMap<>();
  final Map<String, Entry> tensors = new LinkedHashMap<>();

  private GgufHeader(Path file, FileChannel channel) throws IOException {
    this.file = file;
    this.channel = channel;
    this.size = channel.size();
  }

  static GgufHeader read(Path file, FileChannel channel) throws IOException {
    GgufHeader header = new GgufHeader(file, channel);
    header.read();
    return header;
  }

  private void read() throws IOException {
    if (size < 24 || int32() != MAGIC) {
      throw failure("has no GGUF header; it is truncated or not a GGUF file");
    }
    int version = int32();
    if (version != 2 && version != 3) {
      throw failure(
          (version & 0xffff) == 0
              ? "is big-endian; convert it to little-endian"
              : "is of version "
                  + Integer.toUnsignedString(version)
                  + "; 2 and 3 are read, convert it anew");
    }
    long tensorCount = count("tensors", MAX_TENSORS, 24);
    long settingCount = count("settings", MAX_SETTINGS, 13);
    for (long i = 0; i < settingCount; i++) {
      String key = string("a key", MAX_KEY);
      if (settings.put(key, value(kind(key), key, 0)) != null) {
        throw failure("setting " + quote(key) + " stands twice");
      }
    }
    List<GgufFile.Tensor> all = new ArrayList<>();
    List<Long> offsets = new ArrayList<>();
    for (long i = 0; i < tensorCount; i++) {
      all.add(tensor());
      offsets.add(int64());
    }
    place(all, offsets);
  }

  private GgufFile.Tensor tensor() throws IOException {
    String name = string("a tensor's name", MAX_KEY);
    String what = "tensor " + quote(name);
    int rank = int32();
    if (rank < 1 || rank > MAX_RANK) {
      throw failure(what + " has " + Integer.toUnsignedString(rank) + " dimensions; 1 to 4");
    }
    long[] shape = new long[rank];
    long elements = 1;
    for (int i = rank - 1; i >= 0; i--) {
      shape[i] = int64(); // the innermost comes first
      if (shape[i] < 1 || shape[i] > Long.MAX_VALUE / 8 / elements) {
        throw failure(
            what + " has a dimension of " + Long.toUnsignedString(shape[i]) + "; it is damaged");
      }
      elements *= shape[i];
    }
    int code = int32();
    GgufFile.Type type = GgufFile.Type.of(code);
    if (type == null) {
      throw failure(
          what
              + " is of type "
              + GgufFile.Type.describe(code)
              + "; "
              + Arrays.toString(GgufFile.Type.values())
              + " are read, convert the file");
    }
    if (shape[rank - 1] % type.block() != 0) {
      throw failure(
          what
              + " has rows of "
              + shape[rank - 1]
              + " elements, "
              + type
              + " has blocks of "
              + type.block());
    }
    return new GgufFile.Tensor(name, type, shape);
  }

  /** Finds each tensor's place; none may overlap another or leave the file. */
  private void place(List<GgufFile.Tensor> all, List<Long> offsets) throws FormatException {
    Object set = settings.getOrDefault("general.alignment", 32L);
    if (!(set instanceof Long alignment)
        || alignment < 1
        || alignment > MAX_ALIGNMENT
        || Long.bitCount(alignment) != 1) {
      throw failure("general.alignment is no power of two up to " + MAX_ALIGNMENT);
    }
    long start = (here() + alignment - 1) / alignment * alignment;
    for (int i = 0; i < all.size(); i++) {
      GgufFile.Tensor tensor = all.get(i);
      long offset = offsets.get(i);
      if (offset < 0 || offset % alignment != 0 || offset > size) {
        throw failure(
            "tensor "
                + tensor
                + " begins at byte "
                + Long.toUnsignedString(offset)
                + " of the data: outside the file, or not aligned to "
                + alignment);
      }
      if (tensor.bytes() > size - start - offset) {
        throw failure(
            "tensor "
                + tensor
                + " ends at byte "
                + (start + offset + tensor.bytes())
                + ", the file has "
                + size
                + "; it is truncated");
      }
      if (tensors.put(tensor.name(), new Entry(tensor, start + offset)) != null) {
        throw failure("tensor " + quote(tensor.name()) + " stands twice");
      }
    }
    List<Entry> sorted = new ArrayList<>(tensors.values());
    sorted.sort(Comparator.comparingLong(Entry::position));
    for (int i = 1; i < sorted.size(); i++) {
      Entry before = sorted.get(i - 1);
      if (before.position + before.tensor.bytes() > sorted.get(i).position) {
        throw failure("tensors " + before.tensor + " and " + sorted.get(i).tensor + " overlap");
      }
    }
  }

  private Object value(Kind kind, String key, int depth) throws IOException {
    return switch (kind) {
      case U8 -> (long) (bytes(1).get() & 0xff);
      case I8 -> (long) bytes(1).get();
      case U16 -> (long) (bytes(2).getShort() & 0xffff);
      case I16 -> (long) bytes(2).getShort();
      case U32 -> int32() & 0xffffffffL;
      case I32 -> (long) int32();
      case I64 -> int64();
      case F32 -> (double) bytes(4).getFloat();
      case F64 -> bytes(8).getDouble();
      case STRING -> string("setting " + quote(key), MAX_STRING);
      case BOOL -> {
        byte value = bytes(1).get();
        if (value != 0 && value != 1) {
          throw failure("setting " + quote(key) + " is neither true nor false");
        }
        yield value == 1;
      }
      case U64 -> {
        long value = int64();
        if (value < 0) {
          throw failure("setting " + quote(key) + " is beyond 2^63 - 1");
        }
        yield value;
      }
      case ARRAY -> {
        if (depth == MAX_NESTING) {
          throw failure("setting " + quote(key) + " nests more than " + MAX_NESTING + " arrays");
        }
        Kind inner = kind(key);
        int length = (int) count("elements of " + quote(key), MAX_ARRAY, inner.least());
        List<Object> values = new ArrayList<>(length);
        for (int i = 0; i < length; i++) {
          values.add(value(inner, key, depth + 1));
        }
        yield values;
      }
    };
  }

  private Kind kind(String key) throws IOException {
    int number = int32();
    if (number < 0 || number >= Kind.values().length) {
      throw failure(
          "setting " + quote(key) + " is of unknown kind " + Integer.toUnsignedString(number));
    }
    return Kind.values()[number];
  }

  private long count(String what, long most, int least) throws IOException {
    long count = int64();
    if (count < 0 || count > most || count > (size - here()) / least) {
      throw failure(
          "says that it has "
              + Long.toUnsignedString(count)
              + " "
              + what
              + "; at most "
              + most
              + " are read, and no more than the file can hold");
    }
    return count;
  }

  private String string(String what, int most) throws IOException {
    long length = int64();
    if (length < 0 || length > most || length > size - here()) {
      throw failure(
          what
              + " has "
              + Long.toUnsignedString(length)
              + " bytes; at most "
              + most
              + " are read, and no more than the file can hold");
    }
    ByteBuffer utf8 = length <= WINDOW ? bytes((int) length) : longBytes((int) length);
    try {
      int last = utf8.limit();
      utf8.limit(utf8.position() + (int) length);
      String text = StandardCharsets.UTF_8.newDecoder().decode(utf8).toString();
      utf8.limit(last);
      return text;
    } catch (CharacterCodingException e) {
      throw new FormatException(file, what + " is not UTF-8; it is damaged", e);
    }
  }

  private int int32() throws IOException {
    return bytes(4).getInt();
  }

  private long int64() throws IOException {
    return bytes(8).getLong();
  }

  /** The place in the file of the next byte. */
  private long here() {
    return end - window.remaining();
  }

  /** The window with at least so many bytes ahead. */
  private ByteBuffer bytes(int count) throws IOException {
    if (window.remaining() < count) {
      require(count);
      window.compact();
      while (window.position() < count) {
        int read = channel.read(window, end);
        if (read < 0) {
          throw failure("became shorter while its header was read");
        }
        end += read;
      }
      window.flip();
    }
    return window;
  }

  private ByteBuffer longBytes(int count) throws IOException {
    require(count);
    ByteBuffer all = ByteBuffer.allocate(count).put(window);
    while (all.hasRemaining()) {
      int read = channel.read(all, end);
      if (read < 0) {
        throw failure("became shorter while its header was read");
      }
      end += read;
    }
    return all.flip();
  }

  private void require(int count) throws FormatException {
    if (here() + count > Math.min(size, MAX_BYTES)) {
      throw failure(
          size > MAX_BYTES
              ? "its header has more than " + MAX_BYTES + " bytes"
              : "ends inside its header; it is truncated");
    }
  }

  private FormatException failure(String problem) {
    return new FormatException(file, problem);
  }
}
