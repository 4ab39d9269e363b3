package dev.sinter.data;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * A sequence of token ids: in memory, or a mapped file. A file is a header of 24 bytes, {@code
 * SNTOKENS}, the version 1 and the bytes of a token (2 or 4) as int32, the number of tokens as
 * int64, then the tokens; all little-endian. Safe to read from many threads.
 */
public final class Tokens {
  private static final long MAGIC = 0x534e454b4f544e53L; // "SNTOKENS" in little-endian order
  private static final int HEADER = 24;

  /** A mapping holds this many tokens: two bytes or four, it stays below 2 GiB. */
  private static final long PER_MAPPING = 1L << 28;

  private final int[] array;
  private final List<ByteBuffer> mappings;
  private final int width;
  private final long from;
  private final long length;

  private Tokens(int[] array, List<ByteBuffer> mappings, int width, long from, long length) {
    this.array = array;
    this.mappings = mappings;
    this.width = width;
    this.from = from;
    this.length = length;
  }

  /**
   * Wraps ids.
   *
   * @param ids are not copied
   * @return the tokens
   */
  public static Tokens of(int... ids) {
    return new Tokens(ids, null, 4, 0, ids.length);
  }

  /**
   * Maps a file.
   *
   * @param path that {@link #write} wrote
   * @return the tokens; the mapping ends when they are no longer reachable
   * @throws IOException where it is not such a file, or cut short
   */
  public static Tokens map(Path path) throws IOException {
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      ByteBuffer header = ByteBuffer.allocate(HEADER).order(ByteOrder.LITTLE_ENDIAN);
      long size = channel.size();
      if (size >= HEADER) {
        readFully(channel, header);
      }
      if (size < HEADER || header.getLong(0) != MAGIC || header.getInt(8) != 1) {
        throw new IOException(path + ": not a token file of version 1; make one from text first");
      }
      int width = header.getInt(12);
      long length = header.getLong(16);
      if ((width != 2 && width != 4) || length < 0 || length > (size - HEADER) / width) {
        throw new IOException(
            path
                + ": header says "
                + length
                + " tokens of "
                + width
                + " bytes, the file has "
                + size
                + " bytes; it is truncated or damaged");
      }
      List<ByteBuffer> mappings = new ArrayList<>();
      for (long at = 0; at < length; at += PER_MAPPING) {
        long bytes = Math.min(PER_MAPPING, length - at) * width;
        MappedByteBuffer mapping =
            channel.map(FileChannel.MapMode.READ_ONLY, HEADER + at * width, bytes);
        mappings.add(mapping.order(ByteOrder.LITTLE_ENDIAN));
      }
      return new Tokens(null, mappings, width, 0, length);
    }
  }

  private static void readFully(FileChannel channel, ByteBuffer into) throws IOException {
    while (into.hasRemaining()) {
      if (channel.read(into) < 0) {
        throw new EOFException();
      }
    }
  }

  /**
   * Writes the tokens to a file: beside it first, then in its place.
   *
   * @param path of the file
   * @throws IOException where it cannot be written
   */
  public void write(Path path) throws IOException {
    int most = 0;
    for (long i = 0; i < length; i++) {
      most = Math.max(most, get(i));
    }
    int bytes = most < 1 << 16 ? 2 : 4;
    Path beside = path.resolveSibling(path.getFileName() + ".tmp");
    try (FileChannel channel =
        FileChannel.open(
            beside,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      ByteBuffer buffer = ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN);
      buffer.putLong(MAGIC).putInt(1).putInt(bytes).putLong(length);
      for (long i = 0; i < length; i++) {
        if (buffer.remaining() < 4) {
          drain(buffer, channel);
        }
        if (bytes == 2) {
          buffer.putShort((short) get(i));
        } else {
          buffer.putInt(get(i));
        }
      }
      drain(buffer, channel);
      channel.force(true);
    } catch (IOException e) {
      Files.deleteIfExists(beside);
      throw e;
    }
    Files.move(beside, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }

  private static void drain(ByteBuffer buffer, FileChannel channel) throws IOException {
    buffer.flip();
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
    buffer.clear();
  }

  /**
   * Counts the tokens.
   *
   * @return how many there are
   */
  public long length() {
    return length;
  }

  /**
   * Returns one token.
   *
   * @param index from 0 to {@link #length} - 1
   * @return its id
   */
  public int get(long index) {
    if (index < 0 || index >= length) {
      throw new IndexOutOfBoundsException("token " + index + " of " + length);
    }
    long at = from + index;
    if (array != null) {
      return array[(int) at];
    }
    ByteBuffer mapping = mappings.get((int) (at / PER_MAPPING));
    int place = (int) (at % PER_MAPPING);
    return width == 2 ? mapping.getShort(2 * place) & 0xffff : mapping.getInt(4 * place);
  }

  /**
   * Copies tokens.
   *
   * @param start index of the first
   * @param into receives them
   * @param offset of the first in {@code into}
   * @param count how many
   */
  public void copy(long start, int[] into, int offset, int count) {
    if (start < 0 || count < 0 || start + count > length) {
      throw new IndexOutOfBoundsException(
          "tokens " + start + " to " + (start + count) + " of " + length);
    }
    if (array != null) {
      System.arraycopy(array, (int) (from + start), into, offset, count);
      return;
    }
    for (int i = 0; i < count; i++) {
      into[offset + i] = get(start + i);
    }
  }

  /**
   * A part of the tokens, which shares their memory.
   *
   * @param start index of the first
   * @param end index after the last
   * @return the part
   */
  public Tokens slice(long start, long end) {
    if (start < 0 || end < start || end > length) {
      throw new IndexOutOfBoundsException("tokens " + start + " to " + end + " of " + length);
    }
    return new Tokens(array, mappings, width, from + start, end - start);
  }
}
