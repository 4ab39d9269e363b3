package dev.sinter.cli;

import dev.sinter.Gpt;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.text.BpeTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * Runs what users wait for on a tiny model. The launcher has the JVM note the classes that this
 * takes, and keep them ready.
 */
final class Rehearsal {
  private Rehearsal() {}

  /**
   * Goes through the commands once.
   *
   * @param arguments none
   * @throws IOException where there is no room for the model
   */
  public static void main(String[] arguments) throws IOException {
    Path folder = Files.createTempDirectory("sinter");
    try {
      String plain = folder.resolve("plain").toString();
      String packed = folder.resolve("packed").toString();
      try (Device device = Device.cpu(1);
          Gpt gpt =
              Gpt.create(
                  GptConfig.of(300, 32, 32, 1, 1),
                  BpeTokenizer.train("to be or not to be ".repeat(20), 270),
                  device,
                  DType.F32,
                  1)) {
        gpt.save(Path.of(plain));
      }
      run("quantize", "--model", plain, "--to", "q8", "--out", packed);
      for (String model : List.of(plain, packed)) {
        run("generate", "--model", model, "--prompt", "to be", "--max-new-tokens", "4");
      }
      run("info", "--model", plain);
    } finally {
      try (Stream<Path> files = Files.walk(folder)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(file);
        }
      }
    }
  }

  private static void run(String... command) {
    Main.run(Main.utf8(System.out), Main.utf8(System.err), command);
  }
}
