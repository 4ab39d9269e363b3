package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
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
    Object get(String name) throws ReflectiveOperationException {
      return outcome.getClass().getMethod(name).invoke(outcome);
    }

    double number(String name) throws ReflectiveOperationException {
      return ((Number) get(name)).doubleValue();
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

  /** Some make files and take a folder for them. */
  private static Result run(String example, Path... folder) throws Exception {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    List<Class<?>> types = new ArrayList<>(Collections.nCopies(folder.length, Path.class));
    types.add(PrintStream.class);
    List<Object> arguments = new ArrayList<>(List.of((Object[]) folder));
    arguments.add(new PrintStream(out, true, StandardCharsets.UTF_8));
    Method run = loader.loadClass(example).getDeclaredMethod("run", types.toArray(Class[]::new));
    run.setAccessible(true);
    Object outcome = run.invoke(null, arguments.toArray());
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
  void theAssistantAnswersWithItsSourceAndSaysWhenItDoesNotKnow(@TempDir Path folder)
      throws Exception {
    Result result = run("CustomerService", folder);
    assertTrue(result.number("answered") >= 0.85, result.out);
    assertTrue(result.number("refused") >= 0.75, result.out);
    assertTrue(result.out.contains("[returns.md]"), result.out);
    assertTrue(result.out.contains("I do not know"), result.out);
  }

  @Test
  void theMonitorRaisesOneAlertAtTheSpike(@TempDir Path folder) throws Exception {
    Result result = run("OpinionMonitor", folder);
    assertTrue(result.number("accuracy") >= 0.95, result.out);
    assertEquals(List.of("17:00 delivery"), result.get("alerts"), result.out);
  }

  @Test
  void theRecommenderRanksTheRightCandidateFirst(@TempDir Path folder) throws Exception {
    Result result = run("Recommender", folder);
    assertTrue(result.number("hits") >= 0.8, result.out);
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
