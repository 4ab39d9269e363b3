package dev.sinter.data;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Enumeration;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipException;
import java.util.zip.ZipFile;

/** Reads text: files, folders of files, and the sources in jars, always in the same order. */
public final class TextFiles {
  private static final long MOST_BYTES = 1L << 30;
  private static final List<String> SOURCES =
      List.of(".java", ".kt", ".scala", ".groovy", ".txt", ".md");

  private TextFiles() {}

  /**
   * Reads and joins texts.
   *
   * @param paths files, folders (all files below them, by name), or .jar and .zip files (the
   *     sources in them, by name)
   * @return the texts, one after the other
   * @throws IOException where one is missing, empty, binary or not UTF-8
   */
  public static String read(List<Path> paths) throws IOException {
    StringBuilder text = new StringBuilder();
    for (Path path : paths) {
      if (Files.isDirectory(path)) {
        for (Path file : filesBelow(path)) {
          append(text, file.toString(), Files.readAllBytes(file));
        }
      } else if (path.toString().endsWith(".jar") || path.toString().endsWith(".zip")) {
        readArchive(text, path);
      } else if (Files.isRegularFile(path)) {
        checkSize(path.toString(), Files.size(path));
        append(text, path.toString(), Files.readAllBytes(path));
      } else {
        throw new NoSuchFileException(path + ": there is no such file or folder");
      }
    }
    if (text.isEmpty()) {
      throw new IOException(paths.get(0) + ": there is no text in it");
    }
    return text.toString();
  }

  private static List<Path> filesBelow(Path folder) throws IOException {
    try (Stream<Path> walk = Files.walk(folder)) {
      return walk.filter(Files::isRegularFile)
          .sorted(Comparator.comparing(file -> folder.relativize(file).toString()))
          .toList();
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private static void readArchive(StringBuilder text, Path path) throws IOException {
    if (!Files.isRegularFile(path)) {
      throw new NoSuchFileException(path + ": there is no such file");
    }
    try (ZipFile archive = new ZipFile(path.toFile())) {
      List<ZipEntry> entries = new ArrayList<>();
      for (Enumeration<? extends ZipEntry> all = archive.entries(); all.hasMoreElements(); ) {
        ZipEntry entry = all.nextElement();
        if (SOURCES.stream().anyMatch(entry.getName()::endsWith)) {
          entries.add(entry);
        }
      }
      entries.sort(Comparator.comparing(ZipEntry::getName));
      for (ZipEntry entry : entries) {
        String name = path + "!" + entry.getName();
        try (InputStream in = archive.getInputStream(entry)) {
          byte[] bytes = in.readNBytes((int) MOST_BYTES);
          append(text, name, bytes);
        }
      }
    } catch (ZipException e) {
      throw new IOException(path + ": " + e.getMessage() + "; it is no archive, or damaged", e);
    }
  }

  private static void checkSize(String name, long bytes) throws IOException {
    if (bytes > MOST_BYTES) {
      throw new IOException(
          name + ": has " + bytes + " bytes; a text has at most " + MOST_BYTES + ": split it");
    }
  }

  private static void append(StringBuilder text, String name, byte[] bytes) throws IOException {
    checkSize(name, bytes.length + (long) text.length());
    for (int i = 0; i < bytes.length; i++) {
      if (bytes[i] == 0) {
        throw new IOException(name + ": byte 0 at offset " + i + "; it is a binary file, not text");
      }
    }
    CharsetDecoder decoder =
        StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT);
    ByteBuffer in = ByteBuffer.wrap(bytes);
    CharBuffer out = CharBuffer.allocate(bytes.length + 1);
    CoderResult result = decoder.decode(in, out, true);
    if (result.isError()) {
      throw new IOException(
          name
              + ": no UTF-8 at offset "
              + in.position()
              + "; convert it to UTF-8, or leave it out");
    }
    text.append(out.flip());
  }
}
