package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import jdk.jshell.JShell;
import jdk.jshell.SnippetEvent;
import jdk.jshell.SourceCodeAnalysis;
import org.junit.jupiter.api.Test;

/** Runs the notebook of the examples as its kernel does, cell by cell through the JShell. */
public final class NotebookTest {
  /** What the notebook displays: the kernel's function of that name puts it here. */
  public static final List<Object> SHOWN = new ArrayList<>();

  private static final Path NOTEBOOK = Path.of("../../examples/train_and_plot.ipynb");

  private static JsonNode notebook() throws Exception {
    return new ObjectMapper().readTree(Files.readString(NOTEBOOK));
  }

  private static String source(JsonNode cell) {
    StringBuilder source = new StringBuilder();
    cell.get("source").forEach(line -> source.append(line.asText()));
    return source.toString();
  }

  private static List<String> code() throws Exception {
    List<String> code = new ArrayList<>();
    for (JsonNode cell : notebook().get("cells")) {
      if (cell.get("cell_type").asText().equals("code")) {
        code.add(source(cell));
      }
    }
    return code;
  }

  @Test
  void itIsANotebookOfFormatFourWithoutOutputs() throws Exception {
    JsonNode notebook = notebook();
    assertEquals(4, notebook.get("nbformat").asInt());
    assertEquals(5, notebook.get("nbformat_minor").asInt());
    assertEquals("java", notebook.at("/metadata/kernelspec/name").asText());
    Set<String> ids = new HashSet<>();
    for (JsonNode cell : notebook.get("cells")) {
      String id = cell.get("id").asText();
      assertTrue(id.matches("[a-zA-Z0-9-_]{1,64}") && ids.add(id), id);
      assertTrue(cell.get("metadata").isObject() && cell.get("source").isArray(), id);
      assertFalse(source(cell).isBlank(), id);
      if (cell.get("cell_type").asText().equals("code")) {
        assertTrue(cell.get("execution_count").isNull(), id);
        assertTrue(cell.get("outputs").isArray() && cell.get("outputs").isEmpty(), id);
      } else {
        assertEquals("markdown", cell.get("cell_type").asText(), id);
      }
    }
  }

  @Test
  void itsOnlyMagicLoadsTheJarsThatTheLauncherBuilds() throws Exception {
    List<String> magics =
        code().stream().flatMap(String::lines).filter(line -> line.startsWith("%")).toList();
    assertEquals(List.of("%classpath ../java/sinter-cli/target/lib/*.jar"), magics);
    String pom = Files.readString(Path.of("pom.xml"));
    assertTrue(pom.contains("<outputDirectory>${project.build.directory}/lib</outputDirectory>"));
  }

  @Test
  void itsCellsTrainAndPlot() throws Exception {
    SHOWN.clear();
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream before = System.out;
    try (JShell shell =
        JShell.builder()
            .executionEngine("local")
            .compilerOptions("-cp", System.getProperty("java.class.path"))
            .build()) {
      System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
      evaluate(
          shell,
          String.format(
              "String display(Object shown) { %s.SHOWN.add(shown); return \"id\"; }",
              getClass().getName()));
      for (String cell : code()) {
        evaluate(
            shell,
            cell.lines().filter(line -> !line.startsWith("%")).collect(Collectors.joining("\n")));
      }
    } finally {
      System.setOut(before);
    }
    assertEquals(1, SHOWN.size());
    BufferedImage image = assertInstanceOf(BufferedImage.class, SHOWN.get(0));
    assertEquals(800, image.getWidth());
    Set<Integer> colours = new HashSet<>();
    for (int i = 0; i < 800 * 450; i++) {
      colours.add(image.getRGB(i % 800, i / 800));
    }
    assertTrue(colours.size() > 20, "curves are drawn");
    String out = printed.toString(StandardCharsets.UTF_8);
    assertTrue(out.contains("41 42 43 44 45 46"), out);
  }

  /** Snippet by snippet, as a kernel does. */
  private static void evaluate(JShell shell, String cell) {
    String rest = cell;
    while (!rest.isBlank()) {
      SourceCodeAnalysis.CompletionInfo next = shell.sourceCodeAnalysis().analyzeCompletion(rest);
      assertTrue(next.completeness().isComplete(), () -> "is not complete: " + cell);
      for (SnippetEvent event : shell.eval(next.source())) {
        List<String> problems =
            shell.diagnostics(event.snippet()).map(d -> d.getMessage(null)).toList();
        assertEquals(List.of(), problems, event.snippet().source());
        if (event.exception() != null) {
          throw new AssertionError(event.snippet().source(), event.exception());
        }
      }
      rest = next.remaining();
    }
  }
}
