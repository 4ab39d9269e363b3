package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Compiles and runs the README's Java as it stands, on models that are trained for it. */
class ReadmeTest {
  private static final String IMPORTS =
      """
      import dev.sinter.*;
      import dev.sinter.data.*;
      import dev.sinter.finetune.*;
      import dev.sinter.generate.*;
      import dev.sinter.graph.*;
      import dev.sinter.model.*;
      import dev.sinter.text.*;
      import java.nio.file.*;
      import java.util.List;
      import java.util.concurrent.CompletableFuture;
      """;

  @TempDir Path folder;

  @Test
  void theReadmesJavaFillsMasksAndTranslates() throws Exception {
    List<String> blocks = blocks();
    String sentence = "Paris is the capital of France.\nit is a text.\n\n";
    train("pretrain", sentence.repeat(40), "bert", "--tokenizer", "wordpiece:100");
    train(
        "train-pairs", "A man sleeps.\tEin Mann.\n".repeat(40), "en-de", "--tokenizer", "bpe:300");
    String masks = run("Masks", blocks.get(3));
    assertTrue(masks.contains("capital 0.") && masks.endsWith("32\n"), masks);
    String translation = run("Translation", blocks.get(4));
    assertTrue(translation.contains("Ein Mann."), translation);
    String rows = "it is a text,good\nof the capital,bad\n";
    Files.writeString(folder.resolve("train.csv"), "text,label\n" + rows.repeat(80));
    Files.writeString(folder.resolve("valid.csv"), "text,label\n" + rows);
    String tuned = run("Tune", blocks.get(5));
    assertTrue(tuned.contains("accuracy=1.0") && tuned.contains("label="), tuned);
  }

  private void train(String command, String text, String out, String... more) throws Exception {
    Path data = Files.writeString(folder.resolve("data.txt"), text);
    List<String> words =
        new ArrayList<>(
            List.of(command, "--data", data.toString(), "--out", folder.resolve(out).toString()));
    words.addAll(List.of("--layers", "1", "--heads", "2", "--width", "32", "--length", "24"));
    words.addAll(List.of("--steps", "200", "--batch", "4", "--lr", "5e-3"));
    words.addAll(List.of(more));
    StringWriter err = new StringWriter();
    PrintWriter to = new PrintWriter(err, true);
    assertEquals(0, Main.run(to, to, words.toArray(String[]::new)), err.toString());
  }

  @Test
  void theReadmesJavaTrainsAModelAndGeneratesFromIt() throws Exception {
    List<String> blocks = blocks();
    String generate = blocks.get(0);
    String serve = blocks.get(1);
    String train = blocks.get(2);
    Files.writeString(folder.resolve("corpus.txt"), "public static void main(); ".repeat(200));
    run("Train", train);
    Files.move(folder.resolve("my-model"), folder.resolve("sinter-model"));
    String written = run("Generate", generate);
    // The model has learnt its only sentence by heart.
    assertTrue(written.contains("main"), written);
    String served = run("Serve", serve);
    assertTrue(served.contains("main") && served.contains("PT"), served); // PT0.02S: a duration
  }

  private static List<String> blocks() throws Exception {
    return Pattern.compile("```java\n(.*?)```", Pattern.DOTALL)
        .matcher(Files.readString(Path.of("../../README.md")))
        .results()
        .map(block -> block.group(1))
        .toList();
  }

  /** The snippet as a program of its own, in a folder where its relative paths are. */
  private String run(String name, String snippet) throws Exception {
    Path source = folder.resolve(name + ".java");
    Files.writeString(
        source,
        IMPORTS
            + "class "
            + name
            + " { public static void main(String[] a) throws Exception {\n"
            + snippet
            + "}}");
    String classPath = System.getProperty("java.class.path");
    int compiled =
        ToolProvider.getSystemJavaCompiler()
            .run(null, null, null, "-cp", classPath, "-d", folder.toString(), source.toString());
    assertEquals(0, compiled);
    Path java = Path.of(System.getProperty("java.home"), "bin", "java");
    Process process =
        new ProcessBuilder(List.of(java.toString(), "-cp", folder + ":" + classPath, name))
            .directory(folder.toFile())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    return output;
  }
}
