package dev.sinter.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A file that grows record by record, each whole or not there at all, a full disk included. */
public final class AppendOnlyFile implements AutoCloseable {
  private final Path path;
  private final FileChannel channel;

  /**
   * Opens a file at its end.
   *
   * @param path the file, in a folder that is there
   * @param creation whether it is created where it is missing, or has to be new
   * @throws IOException where it cannot be opened
   */
  public AppendOnlyFile(Path path, OpenOption creation) throws IOException {
    this.path = path;
    this.channel = FileChannel.open(path, creation, StandardOpenOption.WRITE);
    channel.position(channel.size());
  }

  /**
   * Appends a record.
   *
   * @param record its bytes
   * @throws IOException where it cannot be written: one line that says where and why; the records
   *     before it stay
   * @throws IllegalStateException after {@link #close}
   */
  public synchronized void append(ByteBuffer record) throws IOException {
    if (!channel.isOpen()) {
      throw new IllegalStateException(path + " is closed");
    }
    long end = channel.position();
    try {
      while (record.hasRemaining()) {
        channel.write(record);
      }
    } catch (IOException e) {
      IOException failure = AtomicFiles.failure(path, path.toAbsolutePath(), e);
      try {
        channel.truncate(end);
      } catch (IOException suppressed) {
        failure.addSuppressed(suppressed);
      }
      throw failure;
    }
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
