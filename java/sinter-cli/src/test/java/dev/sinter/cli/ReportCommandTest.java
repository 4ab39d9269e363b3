package dev.sinter.cli;

import static dev.sinter.cli.Run.run;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.evaluate.Entities;
import dev.sinter.report.RunRecord;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * {@code report}: tables for people, JSON for programs, a page; one line where there is nothing.
 */
class ReportCommandTest {
  @TempDir Path folder;

  private Path record(String directory, String name, double loss) throws IOException {
    Path run = folder.resolve(directory);
    RunRecord.of(name, "tag", Instant.parse("2026-11-26T01:02:03Z"))
        .setting("lr", loss / 1e4)
        .metric("loss", loss, RunRecord.Better.LOWER)
        .point("train/loss", 7, loss)
        .predictions(List.of("O", "B-A"), List.of("O", "O"), new double[] {0.9, 0.6})
        .entities(
            Entities.score(
                List.of(List.of("O", "B-A")), List.of(List.of("O", "O")), Entities.Scheme.CONLL))
        .build()
        .write(run);
    return run;
  }

  @Test
  void aRunHasTablesAndAPage() throws IOException {
    Path one = record("one", "first", 0.5);
    Run run = run("report", one);
    assertEquals(0, run.code(), run.err());
    assertTrue(run.out().startsWith("first: tag, 2026-11-26T01:02:03Z\n\nloss "), run.out());
    assertTrue(run.out().contains("processed 2 tokens with 1 phrases; found: 0 phrases"));
    assertTrue(run.out().contains("    accuracy                         0.5000         2\n"));
    assertTrue(run.out().contains("expected calibration error 0.3500, Brier score 0.1850\n"));
    Path page = one.resolve("report.html");
    assertEquals("page: " + page, run.err().strip());
    assertTrue(Files.readString(page).startsWith("<!DOCTYPE html>"));
    Path other = folder.resolve("there").resolve("page.html");
    assertEquals(0, run("report", one.resolve("report.json"), "--out", other).code());
    assertEquals(Files.readString(page), Files.readString(other));
  }

  @Test
  void runsStandSideBySide() throws IOException {
    Path page = folder.resolve("both.html");
    Run run = run("report", record("a", "a", 0.5), record("b", "b", 0.25), "--out", page);
    assertEquals(0, run.code(), run.err());
    assertTrue(run.out().contains("loss  0.5000  * 0.2500\n"), run.out());
    assertTrue(run.out().contains("settings that differ\nlr  5e-5  2.5e-5\n"), run.out());
    assertTrue(Files.readString(page).contains("2 runs side by side"));
  }

  @Test
  void runsOfOneNameAreToldApartByTheirFolders() throws IOException {
    Path a = record("a", "same", 0.5);
    Path b = record("b", "same", 0.25);
    Run run = run("report", a, b, "--out", folder.resolve("both.html"));
    assertTrue(run.out().contains(a + "  " + b), run.out());
    assertFalse(run.out().contains("same"));
  }

  @Test
  void aProgramReadsOneObject() throws IOException {
    Path page = folder.resolve("page.html");
    Path one = record("a", "a", 0.5);
    Path two = record("b", "b", Double.NaN);
    Run run = run("report", one, two, "--json", "--out", page);
    assertEquals(0, run.code(), run.err());
    assertEquals(1, run.out().lines().count());
    JsonNode runs = new ObjectMapper().readTree(run.out()).get("runs");
    assertEquals(2, runs.size());
    JsonNode first = runs.get(0);
    assertEquals("a", first.get("name").textValue());
    assertEquals(0.5, first.get("metrics").get("loss").doubleValue());
    assertTrue(runs.get(1).get("metrics").get("loss").isNull());
    assertEquals("5e-5", first.get("settings").get("lr").textValue());
    assertEquals(0.5, first.get("accuracy").doubleValue());
    assertEquals(1, first.get("labels").get("labels").get("O").get("recall").doubleValue());
    assertEquals(0, first.get("entities").get("micro").get("f1").doubleValue());
    assertEquals(2, first.get("calibration").get("predictions").intValue());
    assertTrue(Files.exists(page));
  }

  @Test
  void whatIsNoRunIsOneLine() throws IOException {
    Path empty = Files.createDirectory(folder.resolve("empty"));
    Path file = empty.resolve("report.json");
    run("report", empty).failed(1, file + ": there is no such file");
    run("report", folder.resolve("none")).failed(1, "none: there is no such file");
    Path one = record("one", "first", 0.5);
    String text = Files.readString(one.resolve("report.json"));
    Files.writeString(file, text.substring(0, text.length() / 2));
    run("report", one, empty, "--out", folder.resolve("p.html")).failed(1, file + ": is damaged");
    Files.writeString(file, text.replace("\"version\" : 1", "\"version\" : 3"));
    run("report", empty).failed(1, file + ": has version 3");
    assertFalse(Files.exists(folder.resolve("p.html")));
    assertFalse(Files.exists(empty.resolve("report.html")));
    run("report", one, "--out", one).failed(1, one.toString());
    run("report").failed(2, "RUN_DIR");
    run("report", one, "--nonsense").failed(2, "--nonsense");
  }
}
