package dev.sinter.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/** Files that are either as they were or complete: written beside, forced to the disk, then renamed. */
public final class AtomicFiles {
  private AtomicFiles() {}

  /** Writes a file's content. */
  @FunctionalInterface
  public interface Content {
    /**
     * Writes everything.
     *
     * @param channel at the start of an empty file
     * @throws IOException where it fails; the old file stays
     */
    void write(FileChannel channel) throws IOException;
  }

  /**
   * Replaces a file.
   *
   * @param path of the file, in a folder that exists
   * @param content writes what it is to hold
   * @throws IOException where it cannot be written; the old file stays as it was
   */
  public static void write(Path path, Content content) throws IOException {
    Path absolute = path.toAbsolutePath();
    Path beside = absolute.resolveSibling("." + absolute.getFileName() + ".new");
    try {
      try (FileChannel channel =
          FileChannel.open(
              beside,
              StandardOpenOption.CREATE,
              StandardOpenOption.TRUNCATE_EXISTING,
              StandardOpenOption.READ,
              StandardOpenOption.WRITE)) {
        content.write(channel);
        channel.force(true);
      }
      Files.move(
          beside, absolute, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      try {
        Files.deleteIfExists(beside);
      } catch (IOException left) {
        e.addSuppressed(left);
      }
      throw new IOException(
          path + ": cannot be written (" + reason(e) + "); what was there before is untouched", e);
    }
    try (FileChannel folder = FileChannel.open(absolute.getParent(), StandardOpenOption.READ)) {
      folder.force(true);
    }
  }

  private static String reason(IOException e) {
    return e instanceof java.nio.file.FileSystemException f && f.getReason() != null
        ? f.getReason()
        : e.getClass().getSimpleName().equals("IOException")
            ? e.getMessage()
            : e.getClass().getSimpleName();
  }

  /**
   * Replaces a file.
   *
   * @param path of the file, in a folder that exists
   * @param content what it is to hold
   * @throws IOException where it cannot be written; the old file stays as it was
   */
  public static void write(Path path, byte[] content) throws IOException {
    write(
        path,
        channel -> {
          ByteBuffer buffer = ByteBuffer.wrap(content);
          while (buffer.hasRemaining()) {
            channel.write(buffer);
          }
        });
  }
}
