package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MissingNativeTest {
  @TempDir private Path folder;

  @Test
  void withoutTheNativeJarOneLineNamesThePlatformAndTheArtifact()
      throws IOException, InterruptedException {
    List<String> all =
        Stream.of(System.getProperty("java.class.path").split(Pattern.quote(File.pathSeparator)))
            .toList();
    List<String> without = all.stream().filter(jar -> !jar.contains("linux-x86_64")).toList();
    assertTrue(without.size() < all.size(), all.toString());
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.bytedeco.javacpp.cachedir=" + folder,
                "-cp",
                without.stream().collect(Collectors.joining(File.pathSeparator)),
                "dev.sinter.cli.Main",
                "bench",
                "--runs",
                "1")
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(1, process.waitFor(), output);
    assertEquals(
        "sinter: native library for linux-x86_64 not on the class path; add"
            + " dev.sinter:sinter-native with the classifier linux-x86_64 (and org.bytedeco:javacpp"
            + " likewise)",
        output.strip());
  }
}
