package dev.sinter.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Locale;

/**
 * Replaces files and folders so that a kill, a power cut or a full disk at any moment leaves either
 * the old content or the new, whole.
 *
 * <p>New content is written beside the old under a hidden name, flushed to the disk, then renamed.
 * A file or folder has one writer at a time; any number of readers may look on.
 */
public final class AtomicFiles {
  private static final int MAX_LINKS = 40;
  private static final long FULL = 1 << 16;

  private AtomicFiles() {}

  /** Writes what a file shall hold. */
  @FunctionalInterface
  public interface Content {
    /**
     * Writes the whole content.
     *
     * @param out the file; takes every buffer whole; closing it is not needed
     * @throws IOException where writing fails
     */
    void writeTo(WritableByteChannel out) throws IOException;
  }

  /** Writes what a folder shall hold. */
  @FunctionalInterface
  public interface FolderContent {
    /**
     * Writes all files.
     *
     * @param folder an empty folder, which gets its final name afterwards
     * @throws IOException where writing fails
     */
    void writeTo(Path folder) throws IOException;
  }

  /**
   * Creates or replaces a file, and its parent folders where they are missing.
   *
   * @param file the file; a symbolic link is followed
   * @param content writes what it shall hold
   * @throws IOException where writing fails: one line that says where and why; the old file is
   *     untouched
   */
  public static void write(Path file, Content content) throws IOException {
    Path target = real(file);
    Path fresh = beside(target, "new");
    try {
      createFolders(target.getParent());
      try (FileChannel out =
          FileChannel.open(
              fresh,
              StandardOpenOption.CREATE,
              StandardOpenOption.TRUNCATE_EXISTING,
              StandardOpenOption.WRITE)) {
        content.writeTo(new Unclosable(out));
        out.force(true);
      }
      move(fresh, target);
      sync(target.getParent());
    } catch (IOException e) {
      IOException failure = failure(file, target, e);
      deleteQuietly(fresh);
      throw failure;
    } catch (RuntimeException | Error e) {
      deleteQuietly(fresh);
      throw e;
    }
  }

  /**
   * Creates or replaces a file.
   *
   * @param file the file; a symbolic link is followed
   * @param content what it shall hold
   * @throws IOException as {@link #write(Path, Content)}
   */
  public static void write(Path file, byte[] content) throws IOException {
    write(file, out -> out.write(ByteBuffer.wrap(content)));
  }

  /**
   * Creates or replaces a folder as a whole: what the old one held and the new one does not is gone
   * afterwards.
   *
   * <p>No file system renames a folder onto another, so the old one steps aside first, under a
   * hidden name, when the new one is already complete on the disk. Who looks in that instant, or
   * after a kill in it, finds the folder through {@link #resolve}; the next {@link #recover} or
   * save puts it in its place.
   *
   * @param folder the folder; a symbolic link is followed
   * @param content writes its files into an empty folder
   * @throws IOException where writing fails: one line that says where and why; the old folder is
   *     untouched
   */
  public static void folder(Path folder, FolderContent content) throws IOException {
    Path target = real(folder);
    Path parent = target.getParent();
    Path fresh = beside(target, "new");
    Path old = beside(target, "old");
    try {
      createFolders(parent);
      recover(folder);
      Files.createDirectory(fresh);
      content.writeTo(fresh);
      syncTree(fresh);
      sync(parent);
      if (Files.exists(target)) {
        move(target, old);
      }
      move(fresh, target);
      sync(parent);
    } catch (IOException e) {
      IOException failure = failure(folder, target, e);
      abandon(target, fresh, old);
      throw failure;
    } catch (RuntimeException | Error e) {
      abandon(target, fresh, old);
      throw e;
    }
    deleteQuietly(old);
  }

  /**
   * Tidies up after a writer that was killed: finishes what was complete, deletes what was not. To
   * be called by the one who is about to write the folder, before reading it.
   *
   * @param folder the folder; need not exist
   * @throws IOException where leftovers can be neither renamed nor deleted
   */
  public static void recover(Path folder) throws IOException {
    Path target = real(folder);
    Path fresh = beside(target, "new");
    Path old = beside(target, "old");
    if (!Files.exists(target) && Files.exists(old)) {
      // Killed between the two renames, the first of which waits until the new folder is complete.
      move(Files.exists(fresh) ? fresh : old, target);
      sync(target.getParent());
    }
    delete(fresh);
    delete(old);
  }

  /**
   * Finds a folder's present content without changing anything.
   *
   * @param folder the folder
   * @return where its content is: nearly always the folder itself
   * @throws IOException where its links cannot be followed
   */
  public static Path resolve(Path folder) throws IOException {
    Path target = real(folder);
    Path old = beside(target, "old");
    if (Files.exists(target) || !Files.exists(old)) {
      return folder;
    }
    Path fresh = beside(target, "new");
    return Files.exists(fresh) ? fresh : old;
  }

  /**
   * The place itself: a link is followed even where it dangles, so that new content lands beside
   * the old.
   */
  private static Path real(Path path) throws IOException {
    Path real = path.toAbsolutePath().normalize();
    for (int links = 0; Files.isSymbolicLink(real); links++) {
      if (links == MAX_LINKS) {
        throw new FileSystemException(path.toString(), null, "symbolic links go round in a circle");
      }
      real = real.resolveSibling(Files.readSymbolicLink(real)).normalize();
    }
    if (real.getFileName() == null) {
      throw new FileSystemException(path.toString(), null, "has no name");
    }
    return real;
  }

  private static Path beside(Path target, String suffix) {
    return target.resolveSibling("." + target.getFileName() + "." + suffix);
  }

  private static void createFolders(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) { // createDirectories alone would refuse a link to a folder
      Files.createDirectories(folder);
    }
  }

  private static void move(Path from, Path to) throws IOException {
    Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
  }

  private static void syncTree(Path folder) throws IOException {
    Files.walkFileTree(
        folder,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            if (attributes.isRegularFile()) {
              try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
                channel.force(true);
              }
            }
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path visited, IOException e)
              throws IOException {
            if (e != null) {
              throw e;
            }
            sync(visited);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  /** Makes renames in a folder lasting. Windows has no way to ask for it. */
  private static void sync(Path folder) throws IOException {
    if (System.getProperty("os.name").startsWith("Windows")) {
      return;
    }
    try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  private static void abandon(Path target, Path fresh, Path old) {
    if (!Files.exists(target) && Files.exists(old)) {
      try {
        move(old, target);
      } catch (IOException e) {
        return; // Both are complete under their hidden names; the next recover() chooses.
      }
    }
    deleteQuietly(fresh);
  }

  private static void deleteQuietly(Path path) {
    try {
      delete(path);
    } catch (IOException e) {
      // A leftover costs space only, and the next write or recover() removes it.
    }
  }

  private static void delete(Path path) throws IOException {
    if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
      return;
    }
    Files.walkFileTree(
        path,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path visited, IOException e)
              throws IOException {
            if (e != null) {
              throw e;
            }
            Files.delete(visited);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  /** Called before the unfinished content is deleted: it shows whether the disk is full. */
  static IOException failure(Path asked, Path target, IOException e) {
    String advice = "what was saved before is unchanged";
    return new IOException(asked + " cannot be written: " + reason(target, e) + "; " + advice, e);
  }

  private static String reason(Path target, IOException e) {
    String message = e instanceof FileSystemException f ? f.getReason() : e.getMessage();
    String lower = message == null ? "" : message.toLowerCase(Locale.ROOT);
    if (e instanceof AccessDeniedException) {
      return "permission denied; choose a folder that you may write to";
    }
    if (lower.contains("read-only")) {
      return "the file system is read-only; choose another folder";
    }
    if (lower.contains("quota")) {
      return "the disk quota is used up; free some space or choose another folder";
    }
    if (lower.contains("no space") || lower.contains("not enough space") || isFull(target)) {
      return "no space left on the disk; free some space or choose another folder";
    }
    if (e instanceof NoSuchFileException missing) {
      return missing.getFile() + " does not exist";
    }
    return message == null ? e.toString() : message.lines().findFirst().orElse(e.toString());
  }

  /** Asked as well as the message, because messages come in the language of the system. */
  private static boolean isFull(Path target) {
    Path existing = target;
    while (existing != null && !Files.exists(existing)) {
      existing = existing.getParent();
    }
    try {
      return existing != null && Files.getFileStore(existing).getUsableSpace() < FULL;
    } catch (IOException e) {
      return false;
    }
  }

  /**
   * Takes every buffer whole; who closes it does not close the file, which is yet to be flushed to
   * the disk.
   */
  private record Unclosable(WritableByteChannel out) implements WritableByteChannel {
    @Override
    public int write(ByteBuffer source) throws IOException {
      int count = source.remaining();
      while (source.hasRemaining()) {
        out.write(source);
      }
      return count;
    }

    @Override
    public boolean isOpen() {
      return out.isOpen();
    }

    @Override
    public void close() {}
  }
}
