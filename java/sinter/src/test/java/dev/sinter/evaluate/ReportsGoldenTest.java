package dev.sinter.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Tables to the letter as scikit-learn, seqeval and conlleval print them, and calibration against
 * scikit-learn and NumPy: tests/goldens/reports.py makes the file.
 */
class ReportsGoldenTest {
  private static final Path FILE = Path.of("src/test/resources/dev/sinter/evaluate/reports.json");
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final double TOLERANCE = 1e-12;

  private static JsonNode golden;

  @BeforeAll
  static void read() throws IOException {
    golden = JSON.readTree(FILE.toFile());
  }

  private static List<String> words(JsonNode node) {
    return List.of(node.textValue().strip().split(" +"));
  }

  private static List<List<String>> sentences(JsonNode node) {
    List<List<String>> sentences = new ArrayList<>();
    node.forEach(sentence -> sentences.add(words(sentence)));
    return sentences;
  }

  private static double[] numbers(JsonNode node) {
    return JSON.convertValue(node, double[].class);
  }

  @Test
  void entitiesArePrintedAsConllevalAndSeqevalDo() {
    int tables = 0;
    for (JsonNode one : golden.get("entities")) {
      List<List<String>> gold = sentences(one.get("gold"));
      List<List<String>> predicted = sentences(one.get("predicted"));
      Confusion tags =
          Confusion.of(
              gold.stream().flatMap(List::stream).toList(),
              predicted.stream().flatMap(List::stream).toList());
      LabelReport conll = Entities.score(gold, predicted, Entities.Scheme.CONLL);
      assertEquals(one.get("conlleval").textValue(), Entities.table(conll, tags));
      for (Entities.Scheme scheme : Entities.Scheme.values()) {
        LabelReport report = Entities.score(gold, predicted, scheme);
        JsonNode expected = one.path(scheme.name().toLowerCase(Locale.ROOT));
        assertEquals(expected.isMissingNode(), report.labels().isEmpty());
        if (!report.labels().isEmpty()) {
          assertEquals(expected.textValue(), report.table(6));
          tables++;
        }
      }
    }
    assertTrue(tables > 60, tables + " tables");
  }

  @Test
  void classesArePrintedAsScikitLearnDoes() {
    for (JsonNode one : golden.get("classes")) {
      List<String> gold = words(one.get("gold"));
      List<String> predicted = words(one.get("predicted"));
      Confusion confusion = Confusion.of(gold, predicted);
      int[] digits = {2, 4, 13};
      for (int i = 0; i < digits.length; i++) {
        assertEquals(one.get("table").get(i).textValue(), confusion.table(digits[i]));
      }
      if (one.has("without O")) {
        assertEquals(one.get("without O").textValue(), confusion.report("O").table(3));
      }
    }
  }

  @Test
  void labelsThatNeverOccurAreScikitLearns() {
    for (JsonNode one : golden.get("classes")) {
      long[][] counts = JSON.convertValue(one.get("confusion"), long[][].class);
      Confusion known = Confusion.of(words(one.get("known")), counts);
      assertEquals(one.get("known table").textValue(), known.table(2));
      assertEquals(words(one.get("gold")).size(), known.total());
    }
  }

  @Test
  void calibrationIsScikitLearnsAndGuos() {
    for (JsonNode one : golden.get("calibration")) {
      double[] probabilities = numbers(one.get("probabilities"));
      boolean[] correct = new boolean[probabilities.length];
      for (int i = 0; i < correct.length; i++) {
        correct[i] = one.get("correct").get(i).intValue() == 1;
      }
      int bins = one.get("bins").intValue();
      Calibration calibration = Calibration.of(probabilities, correct, bins);
      assertEquals(bins, calibration.bins().size());
      assertEquals(probabilities.length, calibration.count());
      assertEquals(one.get("brier").doubleValue(), calibration.brier(), TOLERANCE);
      assertEquals(one.get("scikit-learn's brier").doubleValue(), calibration.brier(), TOLERANCE);
      assertEquals(one.get("error").doubleValue(), calibration.expectedError(), TOLERANCE);
      List<Calibration.Bin> filled =
          calibration.bins().stream().filter(bin -> bin.count() > 0).toList();
      double[] shares = numbers(one.get("shares"));
      assertEquals(shares.length, filled.size());
      for (int i = 0; i < shares.length; i++) {
        assertEquals(shares[i], filled.get(i).accuracy(), TOLERANCE);
        double mean = one.get("means").get(i).doubleValue();
        assertEquals(mean, filled.get(i).probability(), TOLERANCE);
      }
    }
  }

  @Test
  void reciprocalRanksAreScikitLearns() {
    for (JsonNode one : golden.get("reciprocal ranks")) {
      Map<String, Map<String, Integer>> judged = new HashMap<>();
      Map<String, Map<String, Double>> ranked = new HashMap<>();
      for (int query = 0; query < one.get("relevant").size(); query++) {
        Map<String, Double> scores = new HashMap<>();
        for (JsonNode score : one.get("scores").get(query)) {
          scores.put("d" + scores.size(), score.doubleValue());
        }
        judged.put("q" + query, Map.of("d" + one.get("relevant").get(query).intValue(), 1));
        ranked.put("q" + query, scores);
      }
      Ranking.Report report = Ranking.score(judged, ranked, 100, Ranking.Gain.LINEAR);
      assertEquals(one.get("mrr").doubleValue(), report.mrr(), TOLERANCE);
    }
  }

  @Test
  void aMatrixHasARowForWhatIsRight() {
    Confusion confusion =
        Confusion.of(List.of("yes", "no", "no", "地名"), List.of("yes", "yes", "no", "地名"));
    List<String> lines = confusion.matrix().lines().toList();
    assertEquals(
        List.of(
            "is \\ taken for   no  yes   地名",
            "no                1    1    0",
            "yes               0    1    0",
            "地名                0    0    1"),
        lines);
  }

  @Test
  void countsThatCannotBeAreErrors() {
    List<String> two = List.of("a", "b");
    for (long[][] counts :
        new long[][][] {{{1, 1}}, {{1, 1}, {1}}, {{1, -1}, {1, 1}}, {{0, 0}, {0, 0}}}) {
      assertThrows(IllegalArgumentException.class, () -> Confusion.of(two, counts));
    }
    long[][] ones = {{1, 1}, {1, 1}};
    assertThrows(IllegalArgumentException.class, () -> Confusion.of(List.of("a", "a"), ones));
    for (LabelReport.Counts counts :
        List.of(
            new LabelReport.Counts(2, 1, 2),
            new LabelReport.Counts(-1, 1, 2),
            new LabelReport.Counts(0, 1L << 41, 2))) {
      assertThrows(IllegalArgumentException.class, () -> LabelReport.of(Map.of("a", counts)));
    }
    boolean[] outcome = {true};
    for (double probability : new double[] {-0.1, 1.1, Double.NaN}) {
      assertThrows(
          IllegalArgumentException.class,
          () -> Calibration.of(new double[] {probability}, outcome, 10));
    }
    assertThrows(
        IllegalArgumentException.class, () -> Calibration.of(new double[] {1}, outcome, 0));
    assertThrows(IllegalArgumentException.class, () -> Calibration.of(new double[2], outcome, 10));
  }
}
