package dev.sinter.io;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AtomicFilesTest {
  private static final Map<String, String> OLD = Map.of("a", "old a", "b", "old b");
  private static final Map<String, String> NEW = Map.of("a", "new a", "deep/c", "new c");

  @TempDir Path folder;

  @Test
  void aFileIsCreatedWithItsFoldersThenReplaced() throws IOException {
    Path file = folder.resolve("x/y/file");
    AtomicFiles.write(file, text("one"));
    assertEquals("one", Files.readString(file));
    AtomicFiles.write(
        file,
        out -> {
          try (var writer = Channels.newWriter(out, StandardCharsets.UTF_8)) {
            writer.write("two");
          }
        });
    assertEquals("two", Files.readString(file));
    assertEquals(Map.of("file", "two"), contents(file.getParent()));
  }

  @Test
  void aWriteThatFailsLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = folder.resolve("file");
    AtomicFiles.write(file, text("old"));
    var e =
        assertThrows(
            IOException.class,
            () ->
                AtomicFiles.write(
                    file,
                    out -> {
                      out.write(ByteBuffer.wrap(text("half of the new")));
                      throw new IOException("No space left on device");
                    }));
    assertEquals(
        file
            + " cannot be written: no space left on the disk; free some space or choose another"
            + " folder; what was saved before is unchanged",
        e.getMessage());
    assertThrows(
        IllegalStateException.class,
        () ->
            AtomicFiles.write(
                file,
                out -> {
                  throw new IllegalStateException();
                }));
    assertEquals(Map.of("file", "old"), contents(folder));
  }

  @Test
  void aLinkIsFollowedForFilesAndFolders() throws IOException {
    Path real = Files.createDirectory(folder.resolve("real"));
    Path fileLink = Files.createSymbolicLink(folder.resolve("file"), Path.of("real/file"));
    AtomicFiles.write(fileLink, text("one"));
    AtomicFiles.write(fileLink, text("two"));
    assertEquals("two", Files.readString(real.resolve("file")));
    assertTrue(Files.isSymbolicLink(fileLink));

    Path link = Files.createSymbolicLink(folder.resolve("model"), Path.of("real/model"));
    save(link, OLD);
    save(link, NEW);
    assertEquals(NEW, contents(real.resolve("model")));
    assertTrue(Files.isSymbolicLink(link));
    AtomicFiles.write(link.resolve("a"), text("beside nothing"));
    assertEquals("beside nothing", Files.readString(real.resolve("model/a")));
  }

  @Test
  void aFolderIsReplacedAsAWhole() throws IOException {
    Path model = folder.resolve("out/model");
    save(model, OLD);
    assertEquals(OLD, contents(model));
    save(model, NEW);
    assertEquals(NEW, contents(model));
    assertEquals(
        Map.of("model/a", "new a", "model/deep/c", "new c"), contents(folder.resolve("out")));
  }

  @Test
  void aFolderThatFailsHalfwayLeavesTheOldOneAndNothingElse() throws IOException {
    Path model = folder.resolve("model");
    save(model, OLD);
    for (Exception failure :
        List.of(new IOException("No space left on device"), new IllegalStateException("bug"))) {
      var thrown =
          assertThrows(
              Exception.class,
              () ->
                  AtomicFiles.folder(
                      model,
                      fresh -> {
                        Files.writeString(fresh.resolve("a"), "half");
                        if (failure instanceof IOException e) {
                          throw e;
                        }
                        throw (IllegalStateException) failure;
                      }));
      assertEquals(failure, failure instanceof IOException ? thrown.getCause() : thrown);
      assertEquals(Map.of("model/a", "old a", "model/b", "old b"), contents(folder));
    }
  }

  @Test
  void whereverAKillStoppedTheWriterTheFolderIsFoundWholeAndTheRestIsTidiedUp() throws IOException {
    // Each line is what the disk holds: the folder, the new one, the old one; "half" is incomplete.
    record State(
        Map<String, String> target,
        Map<String, String> fresh,
        Map<String, String> old,
        Map<String, String> expected) {}
    Map<String, String> half = Map.of("a", "half");
    for (State state :
        List.of(
            new State(null, null, null, null),
            new State(null, half, null, null),
            new State(OLD, half, null, OLD),
            new State(OLD, NEW, null, OLD),
            new State(null, NEW, OLD, NEW),
            new State(NEW, null, OLD, NEW),
            new State(NEW, null, half, NEW),
            new State(NEW, null, null, NEW))) {
      Path parent = Files.createTempDirectory(folder, "state");
      Path model = parent.resolve("model");
      lay(model, state.target());
      lay(parent.resolve(".model.new"), state.fresh());
      lay(parent.resolve(".model.old"), state.old());
      Map<String, String> before = contents(parent);

      Path resolved = AtomicFiles.resolve(model);
      assertEquals(state.expected(), Files.exists(resolved) ? contents(resolved) : null);
      assertEquals(before, contents(parent), "resolve changes nothing");

      AtomicFiles.recover(model);
      assertEquals(state.expected(), Files.exists(model) ? contents(model) : null);
      try (var left = Files.list(parent)) {
        assertEquals(state.expected() == null ? 0 : 1, left.count());
      }
      save(model, NEW);
      assertEquals(NEW, contents(model));
    }
  }

  @Test
  void aPlaceThatCannotBeWrittenIsNamedWithTheReason() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "not a folder");
    for (Path path : List.of(file.resolve("model"), file.resolve("x/y"))) {
      var e = assertThrows(IOException.class, () -> AtomicFiles.write(path, text("x")));
      assertTrue(e.getMessage().startsWith(path + " cannot be written: "), e::getMessage);
      assertEquals(1, e.getMessage().lines().count());
      assertThrows(IOException.class, () -> save(path, NEW));
    }
    assertEquals(Map.of("file", "not a folder"), contents(folder));
  }

  @Test
  void aFullDiskLosesNothing() throws Exception {
    try (SmallDisk disk = SmallDisk.mount(folder)) {
      Path model = disk.path().resolve("model");
      Path file = disk.path().resolve("file");
      save(model, OLD);
      AtomicFiles.write(file, text("old"));
      byte[] tooMuch = new byte[1 << 20];
      var e = assertThrows(IOException.class, () -> AtomicFiles.write(file, tooMuch));
      assertTrue(e.getMessage().contains("no space left on the disk"), e::getMessage);
      assertThrows(
          IOException.class,
          () -> AtomicFiles.folder(model, fresh -> Files.write(fresh.resolve("a"), tooMuch)));
      assertEquals(
          Map.of("file", "old", "model/a", "old a", "model/b", "old b"), contents(disk.path()));

      Path log = disk.path().resolve("metrics.csv");
      try (CsvLog csv = CsvLog.open(log, "step,loss", 0)) {
        long step = 0;
        var full = new IOException[1];
        while (full[0] == null) {
          try {
            csv.append(++step, 1 / 3.0);
          } catch (IOException expected) {
            full[0] = expected;
          }
        }
        assertTrue(full[0].getMessage().contains("no space left"), full[0]::getMessage);
        assertEquals(step - 1, CsvLog.read(log).rows().size());
        Files.delete(file);
        csv.append(step, 0.5);
        assertEquals(step, CsvLog.read(log).rows().size());
      }

      disk.makeReadOnly();
      e = assertThrows(IOException.class, () -> save(model, NEW));
      assertTrue(e.getMessage().contains("read-only"), e::getMessage);
    }
  }

  @Test
  void aFolderWithoutPermissionIsNamed() throws IOException {
    Path locked = Files.createDirectory(folder.resolve("locked"));
    assumeTrue(locked.toFile().setWritable(false) && !Files.isWritable(locked), "root may write");
    var e = assertThrows(IOException.class, () -> save(locked.resolve("model"), NEW));
    assertTrue(e.getMessage().contains("permission denied"), e::getMessage);
  }

  @Test
  void aWriterKilledAtAnyMomentLeavesOneWholeGeneration() throws Exception {
    var random = new SplittableRandom(1);
    Path model = folder.resolve("model");
    int last = -1;
    for (int kill = 0; kill < 6; kill++) {
      Process writer =
          new ProcessBuilder(
                  Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                  "-XX:TieredStopAtLevel=1",
                  "-cp",
                  System.getProperty("java.class.path"),
                  EndlessWriter.class.getName(),
                  model.toString(),
                  Integer.toString(last + 1))
              .redirectError(ProcessBuilder.Redirect.INHERIT)
              .start();
      try (var lines =
          new BufferedReader(
              new InputStreamReader(writer.getInputStream(), StandardCharsets.UTF_8))) {
        int saved = saved(lines.readLine());
        TimeUnit.MICROSECONDS.sleep(random.nextInt(20_000));
        writer.toHandle().destroyForcibly(); // the process's own would close what is yet to be read
        for (String line = lines.readLine();
            line != null && line.endsWith(".");
            line = lines.readLine()) {
          saved = saved(line);
        }
        writer.onExit().join();
        int found = generation(AtomicFiles.resolve(model));
        assertTrue(found >= saved, found + " is older than " + saved + ", which was saved");
        last = found;
      }
    }
    AtomicFiles.recover(model);
    assertEquals(last, generation(model));
  }

  /** Saves a folder of many files again and again, and says so. */
  static final class EndlessWriter {
    public static void main(String[] arguments) throws IOException {
      Path model = Path.of(arguments[0]);
      AtomicFiles.recover(model);
      for (int generation = Integer.parseInt(arguments[1]); ; generation++) {
        String content = Integer.toString(generation);
        AtomicFiles.folder(
            model,
            fresh -> {
              for (int i = 0; i < 20; i++) {
                Files.writeString(fresh.resolve("file" + i), content);
              }
            });
        System.out.println(content + "."); // the point shows that the line is whole
      }
    }
  }

  private static int saved(String line) {
    return Integer.parseInt(line.substring(0, line.length() - 1));
  }

  private static int generation(Path model) throws IOException {
    Map<String, String> files = contents(model);
    assertEquals(20, files.size());
    assertEquals(1, files.values().stream().distinct().count(), files::toString);
    return Integer.parseInt(files.get("file0"));
  }

  /** A file system in memory of a few pages, where the system and its user allow to mount one. */
  private record SmallDisk(Path path) implements AutoCloseable {
    static SmallDisk mount(Path folder) throws IOException {
      Path path = Files.createDirectory(folder.resolve("disk"));
      assumeTrue(
          Files.isExecutable(Path.of("/bin/mount"))
              && run("/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path.toString()),
          "mounting a small disk needs root");
      return new SmallDisk(path);
    }

    void makeReadOnly() throws IOException {
      assumeTrue(run("/bin/mount", "-o", "remount,ro", path.toString()));
    }

    @Override
    public void close() throws IOException {
      assertTrue(run("/bin/umount", path.toString()));
    }

    private static boolean run(String... command) throws IOException {
      Process process =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .start();
      return process.onExit().join().exitValue() == 0;
    }
  }

  private static void save(Path model, Map<String, String> files) throws IOException {
    AtomicFiles.folder(model, fresh -> fill(fresh, files));
  }

  private static void lay(Path folder, Map<String, String> files) throws IOException {
    if (files != null) {
      fill(Files.createDirectory(folder), files);
    }
  }

  private static void fill(Path folder, Map<String, String> files) throws IOException {
    for (var file : files.entrySet()) {
      Path path = folder.resolve(file.getKey());
      Files.createDirectories(path.getParent());
      Files.writeString(path, file.getValue());
    }
  }

  private static Map<String, String> contents(Path folder) throws IOException {
    assertFalse(Files.notExists(folder), folder + " is missing");
    Map<String, String> files = new TreeMap<>();
    try (var paths = Files.walk(folder)) {
      for (Path path : paths.filter(Files::isRegularFile).toList()) {
        files.put(folder.relativize(path).toString().replace('\\', '/'), Files.readString(path));
      }
    }
    return files;
  }

  private static byte[] text(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
