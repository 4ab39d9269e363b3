package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Compiles the examples without a warning and runs each as it stands. */
class ExamplesTest {
  private static final int MOST_LINES = 150;
  private static final Path EXAMPLES = Path.of("../../examples");

  @TempDir static Path classes;
  private static URLClassLoader loader;

  /** What an example returned, a record, and what it printed. */
  private record Result(Object outcome, String out) {
    double number(String name) throws ReflectiveOperationException {
      return ((Number) outcome.getClass().getMethod(name).invoke(outcome)).doubleValue();
    }
  }

  private static List<Path> sources() throws Exception {
    try (Stream<Path> files = Files.list(EXAMPLES)) {
      return files.filter(file -> file.toString().endsWith(".java")).sorted().toList();
    }
  }

  @BeforeAll
  static void compile() throws Exception {
    List<String> arguments =
        Stream.concat(
                Stream.of(
                    "-Xlint:all,-processing,-classfile",
                    "-Werror",
                    "-cp",
                    System.getProperty("java.class.path"),
                    "-d",
                    classes.toString()),
                sources().stream().map(Path::toString))
            .toList();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    int compiled =
        ToolProvider.getSystemJavaCompiler().run(null, null, err, arguments.toArray(String[]::new));
    assertEquals(0, compiled, () -> err.toString(StandardCharsets.UTF_8));
    loader =
        new URLClassLoader(
            new URL[] {classes.toUri().toURL()}, ExamplesTest.class.getClassLoader());
  }

  @AfterAll
  static void close() throws Exception {
    loader.close();
  }

  private static Result run(String example) throws Exception {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    var method = loader.loadClass(example).getDeclaredMethod("run", PrintStream.class);
    method.setAccessible(true);
    Object outcome = method.invoke(null, new PrintStream(out, true, StandardCharsets.UTF_8));
    return new Result(outcome, out.toString(StandardCharsets.UTF_8));
  }

  @Test
  void eachIsShort() throws Exception {
    for (Path source : sources()) {
      long lines = Files.readAllLines(source).size();
      assertTrue(lines < MOST_LINES, source + " has " + lines + " lines");
    }
  }

  @Test
  void theTranslatorTranslatesSentencesThatItHasNotSeen() throws Exception {
    Result result = run("Translator");
    assertTrue(result.number("exact") >= 0.9, result.out);
    assertTrue(result.number("bleu") >= 90, result.out);
    assertTrue(result.out.contains("exactly right"), result.out);
  }

  @Test
  void theCompleterWritesGettersOfFieldsThatItHasNotSeen() throws Exception {
    Result result = run("JavaCompleter");
    assertTrue(result.number("right") >= 0.6, result.out);
    assertTrue(result.number("loss") < 0.4, result.out);
  }
}
