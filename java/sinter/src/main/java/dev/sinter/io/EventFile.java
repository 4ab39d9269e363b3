package dev.sinter.io;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/**
 * Scalars in TensorBoard's event format: records of a length, a payload, and the masked CRC-32C of each; payloads are
 * protocol-buffer messages of three fields.
 */
public final class EventFile implements AutoCloseable {
  private final FileChannel channel;

  private EventFile(FileChannel channel) {
    this.channel = channel;
  }

  /**
   * Starts a new file; TensorBoard reads all files of a folder as one run.
   *
   * @param folder that exists
   * @param millis the time now, which is part of the name
   * @return the file; the caller closes it
   * @throws IOException where it cannot be written
   */
  public static EventFile create(Path folder, long millis) throws IOException {
    String name =
        String.format(
            java.util.Locale.ROOT,
            "events.out.tfevents.%010d.sinter.%d.v2",
            millis / 1000,
            ProcessHandle.current().pid());
    FileChannel channel =
        FileChannel.open(
            folder.resolve(name),
            StandardOpenOption.CREATE,
            StandardOpenOption.APPEND,
            StandardOpenOption.WRITE);
    EventFile file = new EventFile(channel);
    Message event = new Message().fixed64(1, Double.doubleToLongBits(millis / 1000.0));
    file.record(event.text(3, "brain.Event:2"));
    return file;
  }

  /**
   * Writes a number.
   *
   * @param tag its name, for example {@code train/loss}
   * @param step it belongs to
   * @param value the number
   * @param millis the time now
   * @throws IOException where it cannot be written
   */
  public void scalar(String tag, long step, double value, long millis) throws IOException {
    Message summaryValue = new Message().text(1, tag).fixed32(2, Float.floatToIntBits((float) value));
    Message summary = new Message().bytes(1, summaryValue.toByteArray());
    record(
        new Message()
            .fixed64(1, Double.doubleToLongBits(millis / 1000.0))
            .varint(2, step)
            .bytes(5, summary.toByteArray()));
  }

  private void record(Message message) throws IOException {
    byte[] payload = message.toByteArray();
    ByteBuffer record = ByteBuffer.allocate(payload.length + 16).order(ByteOrder.LITTLE_ENDIAN);
    record.putLong(payload.length);
    record.putInt(maskedCrc(record.array(), 8));
    record.put(payload);
    record.putInt(maskedCrc(payload, payload.length));
    record.flip();
    while (record.hasRemaining()) {
      channel.write(record);
    }
  }

  static int maskedCrc(byte[] bytes, int length) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, 0, length);
    int value = (int) crc.getValue();
    return (value >>> 15 | value << 17) + 0xa282ead8;
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }

  /** A protocol-buffer message that is being written. */
  private static final class Message {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    Message varint(int field, long value) {
      number((long) field << 3);
      number(value);
      return this;
    }

    Message fixed64(int field, long bits) {
      number((long) field << 3 | 1);
      out.writeBytes(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(bits).array());
      return this;
    }

    Message fixed32(int field, int bits) {
      number((long) field << 3 | 5);
      out.writeBytes(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(bits).array());
      return this;
    }

    Message bytes(int field, byte[] value) {
      number((long) field << 3 | 2);
      number(value.length);
      out.writeBytes(value);
      return this;
    }

    Message text(int field, String value) {
      return bytes(field, value.getBytes(StandardCharsets.UTF_8));
    }

    private void number(long value) {
      while ((value & ~0x7fL) != 0) {
        out.write((int) (value & 0x7f | 0x80));
        value >>>= 7;
      }
      out.write((int) value);
    }

    byte[] toByteArray() {
      return out.toByteArray();
    }
  }
}
