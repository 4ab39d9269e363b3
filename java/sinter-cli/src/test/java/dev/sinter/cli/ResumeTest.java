package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Trainings in processes of their own, which are killed or run out of disk. */
class ResumeTest {
  private static final int KILLS = 20;

  @TempDir Path folder;

  private Path text;

  @BeforeEach
  void writeText() throws IOException {
    StringBuilder words = new StringBuilder();
    Random random = new Random(1);
    for (int i = 0; i < 4000; i++) {
      words.append("abcdefgh".charAt(random.nextInt(8))).append(i % 7 == 0 ? ". " : " ");
    }
    text = Files.writeString(folder.resolve("text.txt"), words);
  }

  private Process start(Path out, boolean resume, int steps) throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
    command.addAll(List.of("train", "--data", text.toString(), "--out", out.toString()));
    command.addAll(List.of("--steps", Integer.toString(steps), "--checkpoint-every", "20"));
    if (resume) {
      command.add("--resume");
    } else {
      command.addAll(List.of("--layers", "2", "--heads", "2", "--width", "32", "--context", "32"));
      command.addAll(List.of("--batch", "4", "--dropout", "0.1", "--accumulate", "2"));
      command.addAll(List.of("--eval-every", "50"));
    }
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(ProcessBuilder.Redirect.appendTo(folder.resolve("log").toFile()))
        .start();
  }

  private int finish(Process process) throws InterruptedException {
    assertTrue(process.waitFor(120, TimeUnit.SECONDS), "the training hangs");
    return process.exitValue();
  }

  @Test
  void aRunThatIsKilledTwentyTimesEndsWithTheBitsOfOneThatIsNot() throws Exception {
    int steps = 1200;
    Path whole = folder.resolve("whole");
    assertEquals(0, finish(start(whole, false, steps)), Files.readString(folder.resolve("log")));

    Path killed = folder.resolve("killed");
    Random random = new Random(7);
    for (int i = 0; i < KILLS; i++) {
      FileTime saved = savedAt(killed);
      Process process = start(killed, saved != null, steps);
      // Any moment will do: while the JVM starts or in a step; for every other one after it has
      // saved, perhaps while it writes the next checkpoint.
      boolean saves = i % 2 == 1;
      while (saves && process.isAlive() && Objects.equals(saved, savedAt(killed))) {
        Thread.sleep(1);
      }
      process.waitFor(random.nextInt(saves ? 50 : 1000), TimeUnit.MILLISECONDS);
      process.destroyForcibly().waitFor();
    }
    assertNotNull(savedAt(killed), Files.readString(folder.resolve("log")));
    assertEquals(0, finish(start(killed, true, steps)), Files.readString(folder.resolve("log")));
    for (String name : List.of("checkpoint.safetensors", "model.safetensors")) {
      assertArrayEquals(
          Files.readAllBytes(whole.resolve(name)), Files.readAllBytes(killed.resolve(name)), name);
    }
  }

  /** When the checkpoint of a training was written, or null where none is. */
  private static FileTime savedAt(Path out) throws IOException {
    try {
      return Files.getLastModifiedTime(out.resolve("checkpoint.safetensors"));
    } catch (NoSuchFileException e) {
      return null;
    }
  }

  @Test
  void aFullDiskLosesNothingThatWasSaved() throws Exception {
    Path whole = folder.resolve("whole");
    assertEquals(0, finish(start(whole, false, 60)), Files.readString(folder.resolve("log")));
    Path disk = Files.createDirectory(folder.resolve("disk"));
    // Room for one checkpoint, not for the next beside it.
    long room = Files.size(whole.resolve("checkpoint.safetensors")) * 3 / 2;
    assumeTrue(
        Files.isExecutable(Path.of("/bin/mount"))
            && command("/bin/mount", "-t", "tmpfs", "-o", "size=" + room, "tmpfs", disk.toString()),
        "mounting a small disk needs root");
    try {
      Path out = disk.resolve("model");
      assertEquals(1, finish(start(out, false, 60)), Files.readString(folder.resolve("log")));
      String log = Files.readString(folder.resolve("log"));
      assertTrue(log.contains("no space left on the disk"), log);
      assertTrue(command("/bin/mount", "-o", "remount,size=16m", disk.toString()));
      assertEquals(0, finish(start(out, true, 60)), Files.readString(folder.resolve("log")));
      assertArrayEquals(
          Files.readAllBytes(whole.resolve("checkpoint.safetensors")),
          Files.readAllBytes(out.resolve("checkpoint.safetensors")));
    } finally {
      assertTrue(command("/bin/umount", disk.toString()));
    }
  }

  private static boolean command(String... words) throws IOException, InterruptedException {
    return new ProcessBuilder(words).inheritIO().start().waitFor() == 0;
  }
}
