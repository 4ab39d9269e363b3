package dev.sinter.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A file that grows record by record, each whole or not there at all, a full disk included. */
final class AppendOnlyFile implements AutoCloseable {
  private final Path path;
  private final FileChannel channel;

  /** Opens a file at its end. */
  AppendOnlyFile(Path path, OpenOption creation) throws IOException {
    this.path = path;
    this.channel = FileChannel.open(path, creation, StandardOpenOption.WRITE);
    channel.position(channel.size());
  }

  synchronized void append(ByteBuffer record) throws IOException {
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
