package dev.sinter.io;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Locale;
import java.util.zip.CRC32C;

/**
 * The scalars of a run, such as its loss, in the format that TensorBoard shows: {@code tensorboard
 * --logdir FOLDER}.
 *
 * <p>A run that goes on writes a new file beside those it left, as TensorBoard's own writers do,
 * and says from which step, so that TensorBoard forgets what the earlier files say about later
 * steps. A record is whole or not there.
 */
public final class EventFile implements AutoCloseable {
  private static final String VERSION = "brain.Event:2";
  private static final int CRC_MASK = 0xa282ead8;
  private static final int SESSION_START = 1;

  private final AppendOnlyFile file;

  private EventFile(AppendOnlyFile file) {
    this.file = file;
  }

  /**
   * Starts the file of a new run.
   *
   * @param folder the run's folder of events, created where it is missing
   * @param millis the time now, of which the seconds are part of the name
   * @return the file; the caller closes it
   * @throws IOException where it cannot be written
   */
  public static EventFile create(Path folder, long millis) throws IOException {
    if (!Files.isDirectory(folder)) {
      Files.createDirectories(folder);
    }
    String name =
        String.format(
            Locale.ROOT,
            "events.out.tfevents.%010d.sinter.%d",
            millis / 1000,
            ProcessHandle.current().pid());
    for (int number = 0; ; number++) {
      Path path = folder.resolve(name + "." + number);
      try {
        var events = new EventFile(new AppendOnlyFile(path, StandardOpenOption.CREATE_NEW));
        events.append(millis, new Message().string(3, VERSION));
        return events;
      } catch (FileAlreadyExistsException e) {
        // A run that was resumed within the same second: the next number.
      }
    }
  }

  /**
   * Starts the next file of a run that goes on.
   *
   * @param folder the run's folder of events
   * @param step the next step: what earlier files say about it and later ones no longer counts
   * @param millis the time now
   * @return the file; the caller closes it
   * @throws IOException where it cannot be written
   */
  public static EventFile resume(Path folder, long step, long millis) throws IOException {
    EventFile events = create(folder, millis);
    var start = new Message().varint(1, SESSION_START);
    events.append(millis, new Message().varint(2, step).message(7, start));
    return events;
  }

  /**
   * Appends one value.
   *
   * @param tag what it is, such as {@code loss/train}
   * @param step when it was
   * @param value its value
   * @param millis the time now
   * @throws IOException where it cannot be written; the records before it stay
   * @throws IllegalStateException after {@link #close}
   */
  public void scalar(String tag, long step, double value, long millis) throws IOException {
    var summary = new Message().message(1, new Message().string(1, tag).number(2, (float) value));
    append(millis, new Message().varint(2, step).message(5, summary));
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private void append(long millis, Message event) throws IOException {
    event.number(1, millis / 1000.0);
    file.append(record(event.bytes()));
  }

  /** TFRecord's frame: the length, its checksum, the payload, its checksum. */
  static ByteBuffer record(byte[] payload) {
    ByteBuffer record =
        ByteBuffer.allocate(Long.BYTES + Integer.BYTES + payload.length + Integer.BYTES)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(payload.length);
    return record
        .putInt(maskedCrc(record.array(), Long.BYTES))
        .put(payload)
        .putInt(maskedCrc(payload, payload.length))
        .flip();
  }

  /** Masked because a CRC over data that holds its own CRC says little. */
  static int maskedCrc(byte[] bytes, int length) {
    var crc = new CRC32C();
    crc.update(bytes, 0, length);
    return Integer.rotateRight((int) crc.getValue(), 15) + CRC_MASK;
  }

  /** A protobuf message under construction: as much of the encoding as an Event needs. */
  private static final class Message {
    private static final int VARINT = 0;
    private static final int EIGHT_BYTES = 1;
    private static final int LENGTH_DELIMITED = 2;
    private static final int FOUR_BYTES = 5;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    Message varint(int field, long value) {
      writeVarint((long) field << 3 | VARINT);
      writeVarint(value);
      return this;
    }

    Message number(int field, double value) {
      writeVarint((long) field << 3 | EIGHT_BYTES);
      out.writeBytes(little(Long.BYTES).putDouble(value).array());
      return this;
    }

    Message number(int field, float value) {
      writeVarint((long) field << 3 | FOUR_BYTES);
      out.writeBytes(little(Integer.BYTES).putFloat(value).array());
      return this;
    }

    Message string(int field, String text) {
      return delimited(field, text.getBytes(StandardCharsets.UTF_8));
    }

    Message message(int field, Message inner) {
      return delimited(field, inner.bytes());
    }

    byte[] bytes() {
      return out.toByteArray();
    }

    private Message delimited(int field, byte[] bytes) {
      writeVarint((long) field << 3 | LENGTH_DELIMITED);
      writeVarint(bytes.length);
      out.writeBytes(bytes);
      return this;
    }

    private void writeVarint(long value) {
      while ((value & ~0x7fL) != 0) {
        out.write((int) (value & 0x7f | 0x80));
        value >>>= 7;
      }
      out.write((int) value);
    }

    private static ByteBuffer little(int bytes) {
      return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
  }
}
