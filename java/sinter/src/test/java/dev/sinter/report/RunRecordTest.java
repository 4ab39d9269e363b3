package dev.sinter.report;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.Entities;
import dev.sinter.io.FormatException;
import dev.sinter.report.RunRecord.Better;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a run leaves behind comes back as it was; what is no such file is refused in one line. */
class RunRecordTest {
  private static final Instant DATE = Instant.parse("2026-11-26T01:02:03Z");

  @TempDir Path folder;

  /** A record that has everything. */
  private static RunRecord full() {
    return RunRecord.of("first <run>", "tag", DATE)
        .setting("learning rate", 5e-5)
        .setting("adapter", "lora")
        .metric("f1", 0.75, Better.HIGHER)
        .metric("loss", Double.NaN, Better.LOWER)
        .curve("train/loss", new TreeMap<>(Map.of(1L, 3.0, 2L, Double.POSITIVE_INFINITY, 9L, 0.1)))
        .point("validation/loss", 5, 1e-30)
        .predictions(
            List.of("O", "B-PER", "ü", "O"),
            List.of("O", "O", "ü", "O"),
            new double[] {1, 0.4, 0.9, 0})
        .entities(
            Entities.score(
                List.of(List.of("B-PER", "O", "B-LOC")),
                List.of(List.of("B-PER", "B-LOC", "O")),
                Entities.Scheme.CONLL))
        .sample("Ann sat", "B-PER O", "O O", "line 3")
        .sample("half \ud83d", "", "\u0000\u2028", "")
        .build();
  }

  private Path broken(String from, String to) throws IOException {
    full().write(folder);
    Path file = folder.resolve(RunRecord.FILE);
    String text = Files.readString(file);
    assertTrue(text.contains(from), text);
    return Files.writeString(file, text.replace(from, to));
  }

  private void refused(Path file, String says) {
    FormatException e = assertThrows(FormatException.class, () -> RunRecord.read(folder));
    assertTrue(e.getMessage().startsWith(file + ": "), e.getMessage());
    assertTrue(e.getMessage().contains(says), e.getMessage());
    assertEquals(1, e.getMessage().lines().count());
  }

  @Test
  void whatIsWrittenIsRead() throws IOException {
    RunRecord run = full();
    run.write(folder);
    byte[] first = Files.readAllBytes(folder.resolve(RunRecord.FILE));
    RunRecord read = RunRecord.read(folder);
    assertEquals(run.name(), read.name());
    assertEquals(DATE, read.date());
    assertEquals(List.copyOf(run.settings().keySet()), List.copyOf(read.settings().keySet()));
    assertEquals("5e-5", read.settings().get("learning rate"));
    assertEquals(run.metrics(), read.metrics());
    assertEquals(run.calibration(), read.calibration());
    assertEquals(run.entities(), read.entities());
    assertEquals(Double.NaN, read.curves().get(0).points().get(1).value());
    assertEquals(run.curves().get(1), read.curves().get(1));
    assertEquals(run.samples().get(0), read.samples().get(0));
    Confusion confusion = read.confusion().orElseThrow();
    assertEquals(List.of("B-PER", "O", "ü"), confusion.labels());
    assertEquals(1, confusion.count(0, 1));

    read.write(folder.resolve("again"));
    byte[] second = Files.readAllBytes(folder.resolve("again").resolve(RunRecord.FILE));
    assertArrayEquals(first, second);
    assertEquals(read.name(), RunRecord.read(folder.resolve(RunRecord.FILE)).name());
  }

  @Test
  void anEmptyRecordIsARecord() throws IOException {
    RunRecord.of("", "lm", DATE).build().write(folder);
    RunRecord read = RunRecord.read(folder);
    assertTrue(read.confusion().isEmpty() && read.calibration().isEmpty());
    assertTrue(read.entities().isEmpty() && read.curves().isEmpty() && read.samples().isEmpty());
  }

  @Test
  void longCurvesAreThinnedAndKeepTheirEnds() {
    RunRecord.Builder builder = RunRecord.of("long", "lm", DATE);
    for (int step = 1; step <= 100_001; step++) {
      builder.point("train/loss", step, step);
    }
    List<RunRecord.Point> points = builder.build().curves().get(0).points();
    assertTrue(points.size() >= 1000 && points.size() <= 2001, points.size() + " points");
    assertEquals(1, points.get(0).step());
    assertEquals(100_001, points.get(points.size() - 1).step());
    long width = points.get(1).step() - points.get(0).step();
    for (int i = 1; i < points.size() - 1; i++) {
      assertEquals(width, points.get(i).step() - points.get(i - 1).step());
      assertEquals((double) points.get(i).step(), points.get(i).value());
    }
  }

  @Test
  void stepsGoForward() {
    RunRecord.Builder builder = RunRecord.of("a", "lm", DATE).point("loss", 3, 1);
    assertThrows(IllegalArgumentException.class, () -> builder.point("loss", 3, 1));
    assertThrows(
        IllegalArgumentException.class,
        () ->
            new RunRecord.Curve(
                "a", List.of(new RunRecord.Point(2, 0), new RunRecord.Point(1, 0))));
  }

  @Test
  void textsSamplesAndLabelsAreBounded() throws IOException {
    RunRecord.Builder builder = RunRecord.of("many", "classify", DATE);
    List<String> labels = new ArrayList<>();
    for (int i = 0; i < 1001; i++) {
      builder.sample("x".repeat(10_000), "gold", "", "");
      labels.add("label " + i);
    }
    RunRecord run = builder.confusion(Confusion.of(labels, labels)).build();
    assertTrue(run.confusion().isEmpty());
    assertEquals(100, run.samples().size());
    assertEquals(4001, run.samples().get(0).input().length());
    run.write(folder);
    assertEquals(run.samples(), RunRecord.read(folder).samples());
  }

  @Test
  void aSampleIsWrongWhereItMissesWhatIsRight() {
    assertTrue(new RunRecord.Sample("", "yes", "no", "").isWrong());
    assertFalse(new RunRecord.Sample("", "yes", "yes", "").isWrong());
    assertFalse(new RunRecord.Sample("", "", "anything", "").isWrong());
  }

  @Test
  void aTrainingThatGoesOnHasItsCurves() throws IOException {
    Path file = folder.resolve("metrics.csv");
    Files.writeString(
        file,
        "step,train_loss,validation_loss,learning_rate\n1,3,,0.1\n2,2.5,,0.2\n2,,2.75,\n4,2,,0.1\n"
            + "4,,2.5,\n5,1.");
    RunRecord run = RunRecord.read(folder);
    assertEquals(folder.getFileName().toString(), run.name());
    assertEquals(
        List.of(new RunRecord.Metric("best validation loss", 2.5, Better.LOWER)), run.metrics());
    assertEquals(
        List.of("train/loss", "validation/loss", "learning rate"),
        run.curves().stream().map(RunRecord.Curve::name).toList());
    assertEquals(
        List.of(new RunRecord.Point(2, 2.75), new RunRecord.Point(4, 2.5)),
        run.curves().get(1).points());
    assertEquals(
        1, HtmlReport.of(List.of(run)).split("<figcaption dir=\"auto\">loss", -1).length - 1);
    full().write(folder);
    assertEquals(full().name(), RunRecord.read(folder).name());
    Files.delete(folder.resolve(RunRecord.FILE));
    for (String broken : List.of("no,metrics\n", "step,a,a\n1,2,3\n", "step,a\n1,x\n", "")) {
      Files.writeString(file, broken);
      assertThrows(FormatException.class, () -> RunRecord.read(folder));
    }
  }

  @Test
  void damagedFilesAreRefused() throws IOException {
    refused(folder.resolve(RunRecord.FILE), "no such file");
    refused(broken("\"version\" : 1", "\"version\" : 2"), "version 2");
    refused(broken("\"version\"", "\"name\""), "Duplicate field 'name'");
    refused(broken("\"task\" : \"tag\"", "\"task\" : [ ]"), "task of the report is no text");
    refused(broken("\"task\"", "\"other\""), "the report has no task");
    refused(broken(DATE.toString(), "yesterday"), "date of the report");
    refused(broken("\"value\" : 0.75", "\"value\" : 1e999"), "number 1 of metrics");
    refused(broken("\"higher\"", "\"best\""), "no higher or lower");
    refused(broken("[ 1, 2, 9 ]", "[ 1, 2 ]"), "2 steps and 3 values");
    refused(broken("[ 1, 2, 9 ]", "[ 1, 9, 2 ]"), "step 2 after step 9");
    refused(broken("[ 1, 2, 9 ]", "[ 1, 2, 9.5 ]"), "no list of whole numbers");
    refused(broken("[ 1, 2, 9 ]", "[ 1, 2, 9223372036854775808 ]"), "no list of whole numbers");
    refused(broken("[ \"B-PER\", \"O\"", "[ \"O\", \"O\""), "stands twice");
    refused(broken("[ 0, 2, 0 ]", "[ 0, 2 ]"), "2 counts of label");
    refused(broken("[ 0, 2, 0 ]", "[ 0, -2, 0 ]"), "a count of -2");
    refused(broken("\"correct\" : 1", "\"correct\" : 9"), "right");
    refused(broken("\"brier\" : ", "\"brier\" : 7"), "Brier score");
    refused(broken("\"gold\" : 1", "\"gold\" : null"), "\"LOC\" of entities");
    refused(broken("\"note\" : \"\"", "\"note\" : 7"), "note of number 2 of samples");
    Path file = folder.resolve(RunRecord.FILE);
    refused(Files.writeString(file, "[1]"), "the report is no object");
    refused(Files.writeString(file, ""), "");
    refused(Files.writeString(file, "{} {}"), "damaged or not JSON");
    refused(Files.writeString(file, "[".repeat(100_000)), "damaged or not JSON");
    refused(Files.write(file, new byte[] {'"', (byte) 0xff, '"'}), "UTF-8");
    refused(Files.write(file, new byte[(16 << 20) + 1]), "at most");
  }

  /** Whatever is missing or changed, nothing but a {@link FormatException} comes of it. */
  @Test
  void aFileThatIsCutOrFlippedAnywhereNeverDoesHarm() throws IOException {
    full().write(folder);
    Path file = folder.resolve(RunRecord.FILE);
    byte[] good = Files.readAllBytes(file);
    int refused = 0;
    for (int i = 0; i < good.length - 2; i += 5) {
      Files.write(file, Arrays.copyOf(good, i));
      assertThrows(FormatException.class, () -> RunRecord.read(folder));
      byte[] flipped = good.clone();
      flipped[i] ^= (byte) (1 << i % 8);
      Files.write(file, flipped);
      try {
        RunRecord.read(folder);
      } catch (FormatException e) {
        refused++;
      }
    }
    assertTrue(refused > good.length / 20, refused + " of " + good.length);
  }
}
