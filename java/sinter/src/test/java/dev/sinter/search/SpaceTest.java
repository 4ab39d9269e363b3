package dev.sinter.search;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SpaceTest {
  private static final String ALL =
      """
      {"lr": {"log_uniform": [1e-5, 1e-3]}, "dropout": {"uniform": [0, 0.3]},
       "warmup": {"integers": [-2, 2]}, "batch": [8, 16, 32], "freeze": [true, false],
       "schedule": "linear", "seed": 7}
      """;

  @TempDir Path folder;

  private Space read(String json) throws IOException {
    return Space.read(Files.writeString(folder.resolve("space.json"), json));
  }

  @Test
  void valuesComeFromTheirRangesAndTheSameSeedDrawsTheSame() throws IOException {
    Space space = read(ALL);
    List<Trial> trials = space.draw(3000, 5);
    Map<String, TreeSet<String>> seen = new TreeMap<>();
    double logs = 0;
    double dropout = 0;
    int low = 0;
    for (Trial trial : trials) {
      assertEquals(
          List.of("lr", "dropout", "warmup", "batch", "freeze", "schedule", "seed"),
          List.copyOf(trial.options().keySet()));
      double rate = trial.number("lr");
      assertTrue(rate >= 1e-5 && rate <= 1e-3, trial::toString);
      logs += Math.log10(rate) / trials.size();
      low += rate < 1e-4 ? 1 : 0;
      assertTrue(trial.number("dropout") >= 0 && trial.number("dropout") <= 0.3, trial::toString);
      dropout += trial.number("dropout") / trials.size();
      trial.options().forEach((k, v) -> seen.computeIfAbsent(k, o -> new TreeSet<>()).add(v));
    }
    // The means of 3000 draws, within five of their deviations.
    assertEquals(-4, logs, 5 * 2 / Math.sqrt(12 * 3000));
    assertEquals(0.5, low / 3000.0, 5 * 0.5 / Math.sqrt(3000));
    assertEquals(0.15, dropout, 5 * 0.3 / Math.sqrt(12 * 3000));
    assertEquals(new TreeSet<>(List.of("-2", "-1", "0", "1", "2")), seen.get("warmup"));
    assertEquals(new TreeSet<>(List.of("8", "16", "32")), seen.get("batch"));
    assertEquals(new TreeSet<>(List.of("true", "false")), seen.get("freeze"));
    assertEquals(new TreeSet<>(List.of("linear")), seen.get("schedule"));
    assertEquals(new TreeSet<>(List.of("7")), seen.get("seed"));
    assertEquals(trials.subList(0, 10), space.draw(10, 5));
    assertNotEquals(trials.subList(0, 10), space.draw(10, 6));
  }

  @Test
  void whatIsWrittenOfASpaceReadsAsTheSameSpace() throws IOException {
    Space space = read(ALL);
    assertEquals(space.draw(20, 1), read(space.json().toString()).draw(20, 1));
  }

  @Test
  void valuesAreShortAndStayInARangeThatIsNot() throws IOException {
    for (Trial trial : read("{\"x\": {\"uniform\": [0.123456789, 0.123456790]}}").draw(50, 1)) {
      double x = trial.number("x");
      assertTrue(x >= 0.123456789 && x <= 0.123456790, trial::toString);
    }
    for (Trial trial : read("{\"x\": {\"log_uniform\": [1e-7, 1]}}").draw(50, 1)) {
      assertTrue(trial.text("x").matches("[0-9.]{1,8}(e-[0-9])?"), trial::toString);
    }
  }

  @Test
  void constantsAreWrittenAsAPersonWritesThem() throws IOException {
    Trial trial =
        read("{\"a\": 1e-5, \"b\": 16.0, \"c\": 0.25, \"d\": -3, \"e\": true}").draw(1, 1).get(0);
    assertEquals(
        List.of("1e-5", "16", "0.25", "-3", "true"), List.copyOf(trial.options().values()));
    assertEquals(1e-5, trial.number("a"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\0',
      value = {
        "{\"lr\": {\"log_uniform\": [0, 1]}} | lr.log_uniform: begins at 0.0; above 0",
        "{\"lr\": {\"log_uniform\": [1, \"2\"]}} | lr.log_uniform[1]: is no number",
        "{\"lr\": {\"log\": [1, 2]}} | lr: \"log\" is no range; uniform, log_uniform or integers",
        "{\"lr\": {\"uniform\": [2, 1]}} | lr.uniform: \"2.0 to 1.0\" is no range",
        "{\"lr\": {\"uniform\": [1e400, 1e401]}} | lr.uniform: \"Infinity to Infinity\" is no",
        "{\"lr\": {\"uniform\": [-1.7e308, 1.7e308]}} | lr.uniform: ",
        "{\"lr\": {\"uniform\": 3}} | lr.uniform: is no pair of numbers",
        "{\"lr\": {\"uniform\": [1, 2, 3]}} | lr.uniform: is no pair of numbers",
        "{\"lr\": {\"uniform\": [1, 2], \"integers\": [1, 2]}} | lr: has 2 ranges; one",
        "{\"lr\": {}} | lr: has 0 ranges; one",
        "{\"n\": {\"integers\": [1.5, 2]}} | n.integers[0]: is no whole number of 32 bits",
        "{\"n\": {\"integers\": [1, 3000000000]}} | n.integers[1]: is no whole number of 32 bits",
        "{\"batch\": []} | batch: there is nothing to choose from",
        "{\"batch\": [8, [16]]} | batch[1]: is no text, number or truth value",
        "{\"batch\": [8, null]} | batch[1]: is no text, number or truth value",
        "{\"batch\": null} | batch: is no text, number or truth value",
        "{\"--lr\": 1} | \"--lr\" is no name of an option; letters",
        "{\"\": 1} | \"\" is no name of an option; letters",
        "{} | names no option",
        "[1] | is no JSON object of options",
        "{\"a\": 1} {} | goes on behind its JSON object",
        "{\"a\": 1, \"a\": 2} | line 1, column 13: is not JSON: Duplicate field 'a'",
        "{\"a\": | line 1, column 6: is not JSON: ",
        " | is empty",
      })
  void aBadSpaceIsRefusedWithItsFileAndThePlaceInIt(String json, String message) {
    FormatException e = assertThrows(FormatException.class, () -> read(json == null ? "" : json));
    String file = folder.resolve("space.json") + ": ";
    assertTrue(e.getMessage().startsWith(file + message), e::getMessage);
    assertEquals(1, e.getMessage().lines().count());
  }

  @Test
  void aFileThatIsNoTextOrTooLongOrMissingIsRefused() throws IOException {
    Path file = Files.write(folder.resolve("space.json"), new byte[] {'{', (byte) 0xFF});
    assertTrue(
        assertThrows(FormatException.class, () -> Space.read(file))
            .getMessage()
            .endsWith("is not valid UTF-8"));
    Files.write(file, "{\"a\":1}".repeat(200_000).getBytes(StandardCharsets.UTF_8));
    assertThrows(FormatException.class, () -> Space.read(file));
    assertThrows(NoSuchFileException.class, () -> Space.read(folder.resolve("none.json")));
    // Nesting that would overflow a stack.
    String deep = "{\"a\":".repeat(50_000);
    assertThrows(FormatException.class, () -> read(deep));
  }

  @Test
  void aTrialSaysWhichOptionIsMissingOrNoNumber() {
    Trial trial = new Trial(1, Map.of("schedule", "linear"));
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> trial.number("schedule"))
            .getMessage()
            .contains("is no number: \"linear\""));
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> trial.text("lr"))
            .getMessage()
            .contains("no option \"lr\" among [schedule]"));
  }
}
