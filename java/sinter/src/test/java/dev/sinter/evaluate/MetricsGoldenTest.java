package dev.sinter.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Against sacreBLEU, SQuAD's script, conlleval, seqeval, scikit-learn and SciPy:
 * tests/goldens/metrics.py makes the file.
 */
class MetricsGoldenTest {
  private static final Path FILE = Path.of("src/test/resources/dev/sinter/evaluate/metrics.json");
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final double TOLERANCE = 1e-9;

  private static JsonNode golden;

  @BeforeAll
  static void read() throws IOException {
    golden = JSON.readTree(FILE.toFile());
  }

  private static List<String> strings(JsonNode node) {
    return JSON.convertValue(node, new TypeReference<List<String>>() {});
  }

  private static double[] numbers(JsonNode node) {
    return JSON.convertValue(node, double[].class);
  }

  private static List<String> words(JsonNode node) {
    return List.of(node.textValue().split(" "));
  }

  private static List<List<String>> sentences(JsonNode node) {
    List<List<String>> sentences = new ArrayList<>();
    for (String sentence : node.textValue().split("\\|", -1)) {
      sentences.add(List.of(sentence.split(" ")));
    }
    return sentences;
  }

  @Test
  void whiteSpaceIsPythons() {
    List<Integer> spaces = new ArrayList<>();
    for (int c = 0; c < 1 << 16; c++) {
      if (Words.isSpace((char) c)) {
        spaces.add(c);
      }
    }
    assertEquals(JSON.convertValue(golden.get("spaces"), new TypeReference<>() {}), spaces);
  }

  @Test
  void tokensAreSacreBleus() {
    for (JsonNode pair : golden.get("tokens")) {
      String line = pair.get(0).textValue();
      assertEquals(pair.get(1).textValue(), String.join(" ", Bleu.tokenize(line)), line);
    }
  }

  @Test
  void bleuIsSacreBleus() {
    for (JsonNode one : golden.get("bleu")) {
      List<List<String>> references = new ArrayList<>();
      one.get("references").forEach(segment -> references.add(strings(segment)));
      Bleu.Score score = Bleu.corpus(strings(one.get("hypotheses")), references);
      assertEquals(one.get("bleu").doubleValue(), score.bleu(), TOLERANCE);
      assertEquals(one.get("bp").doubleValue(), score.brevityPenalty(), TOLERANCE);
      for (int i = 0; i < 4; i++) {
        double precision = one.get("precisions").get(i).doubleValue();
        assertEquals(precision, score.precisions().get(i), TOLERANCE);
        assertEquals(one.get("matches").get(i).longValue(), score.matches().get(i));
        assertEquals(one.get("totals").get(i).longValue(), score.totals().get(i));
      }
      assertEquals(one.get("lengths").get(0).longValue(), score.hypothesisLength());
      assertEquals(one.get("lengths").get(1).longValue(), score.referenceLength());
      assertEquals(one.get("signature").textValue(), score.signature());
    }
  }

  @Test
  void answersAreScoredAsSquadsScriptDoes() {
    for (JsonNode pair : golden.get("squad").get("pairs")) {
      String prediction = pair.get(0).textValue();
      String gold = pair.get(1).textValue();
      assertEquals(pair.get(2).textValue(), Squad.normalize(prediction), prediction);
      assertEquals(pair.get(3).doubleValue(), Squad.exactMatch(prediction, gold), prediction);
      assertEquals(pair.get(4).doubleValue(), Squad.f1(prediction, gold), TOLERANCE, prediction);
    }
    for (JsonNode set : golden.get("squad").get("sets")) {
      List<Squad.Question> questions = new ArrayList<>();
      Map<String, String> predictions = new HashMap<>();
      for (int i = 0; i < set.get("golds").size(); i++) {
        questions.add(new Squad.Question("" + i, strings(set.get("golds").get(i))));
        predictions.put("" + i, set.get("predictions").get(i).textValue());
      }
      Squad.Report report = Squad.score(questions, predictions);
      double[] expected = numbers(set.get("expected"));
      List<Squad.Scores> scores = List.of(report.all(), report.answerable(), report.unanswerable());
      for (int i = 0; i < scores.size(); i++) {
        assertEquals(expected[3 * i], 100 * scores.get(i).exact(), TOLERANCE);
        assertEquals(expected[3 * i + 1], 100 * scores.get(i).f1(), TOLERANCE);
        assertEquals(expected[3 * i + 2], scores.get(i).questions());
      }
      assertEquals(0, report.missing());
    }
  }

  /** Compares with rows of precision, recall, F1 and support, those of the means among them. */
  private static void assertReport(JsonNode expected, LabelReport report) {
    int rows = report.labels().size();
    Map<String, LabelReport.Scores> all = new HashMap<>(report.labels());
    all.put("micro avg", report.micro());
    all.put("macro avg", report.macro());
    all.put("weighted avg", report.weighted());
    for (Map.Entry<String, JsonNode> row : expected.properties()) {
      LabelReport.Scores scores = all.get(row.getKey());
      double[] wanted = numbers(row.getValue());
      assertEquals(wanted[0], scores.precision(), TOLERANCE, row.getKey());
      assertEquals(wanted[1], scores.recall(), TOLERANCE, row.getKey());
      assertEquals(wanted[2], scores.f1(), TOLERANCE, row.getKey());
      assertEquals((long) wanted[3], scores.support(), row.getKey());
      rows -= row.getKey().endsWith(" avg") ? 0 : 1;
    }
    assertEquals(0, rows);
  }

  @Test
  void entitiesAreSeqevalsAndConllevals() {
    for (JsonNode one : golden.get("entities")) {
      List<List<String>> gold = sentences(one.get("gold"));
      List<List<String>> predicted = sentences(one.get("predicted"));
      LabelReport conll = Entities.score(gold, predicted, Entities.Scheme.CONLL);
      assertReport(one.get("conll"), conll);
      assertReport(one.get("iob2"), Entities.score(gold, predicted, Entities.Scheme.IOB2));

      JsonNode printed = one.get("conlleval");
      double[] counts = numbers(printed.get("counts"));
      assertEquals((long) counts[0], conll.micro().support());
      assertEquals(counts[1] == 0 ? 0 : counts[2] / counts[1], conll.micro().precision());
      assertEquals(counts[0] == 0 ? 0 : counts[2] / counts[0], conll.micro().recall());
      assertEquals(conll.labels().size(), printed.get("types").size());
      for (Map.Entry<String, JsonNode> type : printed.get("types").properties()) {
        double[] percents = numbers(type.getValue());
        LabelReport.Scores scores = conll.labels().get(type.getKey());
        assertEquals(percents[0], 100 * scores.precision(), 0.005 + TOLERANCE);
        assertEquals(percents[1], 100 * scores.recall(), 0.005 + TOLERANCE);
        assertEquals(percents[2], 100 * scores.f1(), 0.005 + TOLERANCE);
      }
    }
  }

  @Test
  void confusionAccuracyReportAndMatthewsAreScikitLearns() {
    for (JsonNode one : golden.get("classes")) {
      Confusion confusion = Confusion.of(words(one.get("gold")), words(one.get("predicted")));
      assertEquals(strings(one.get("labels")), confusion.labels());
      for (int i = 0; i < confusion.labels().size(); i++) {
        for (int j = 0; j < confusion.labels().size(); j++) {
          assertEquals(one.get("confusion").get(i).get(j).longValue(), confusion.count(i, j));
        }
      }
      double accuracy = one.get("accuracy").doubleValue();
      assertEquals(accuracy, confusion.accuracy(), TOLERANCE);
      assertEquals(accuracy, confusion.report().micro().f1(), TOLERANCE);
      assertEquals(one.get("matthews").doubleValue(), confusion.matthews(), TOLERANCE);
      assertReport(one.get("report"), confusion.report());
      if (one.has("micro without O")) {
        double[] expected = numbers(one.get("micro without O"));
        LabelReport.Scores micro = confusion.report("O").micro();
        assertEquals(expected[0], micro.precision(), TOLERANCE);
        assertEquals(expected[1], micro.recall(), TOLERANCE);
        assertEquals(expected[2], micro.f1(), TOLERANCE);
      }
    }
  }

  @Test
  void correlationsAreSciPys() {
    for (JsonNode one : golden.get("correlations")) {
      double[] x = numbers(one.get("x"));
      double[] y = numbers(one.get("y"));
      assertEquals(one.get("pearson").doubleValue(), Correlation.pearson(x, y), TOLERANCE);
      assertEquals(one.get("spearman").doubleValue(), Correlation.spearman(x, y), TOLERANCE);
    }
  }

  @Test
  void ndcgIsScikitLearns() {
    for (JsonNode one : golden.get("rankings")) {
      Map<String, Integer> judged = new HashMap<>();
      Map<String, Double> ranked = new HashMap<>();
      for (int i = 0; i < one.get("scores").size(); i++) {
        judged.put("d" + i, one.get("relevance").get(i).intValue());
        ranked.put("d" + i, one.get("scores").get(i).doubleValue());
      }
      int k = one.get("k").intValue();
      for (Ranking.Gain gain : Ranking.Gain.values()) {
        Ranking.Report report = Ranking.score(Map.of("q", judged), Map.of("q", ranked), k, gain);
        double expected = one.get(gain.name().toLowerCase(java.util.Locale.ROOT)).doubleValue();
        assertEquals(expected, report.ndcg(), TOLERANCE);
      }
    }
  }

  @Test
  void thereAreHundredsOfValues() {
    assertTrue(golden.get("tokens").size() + golden.get("squad").get("pairs").size() >= 400);
    for (String metric : List.of("bleu", "entities", "classes", "correlations", "rankings")) {
      assertTrue(golden.get(metric).size() > 30, metric);
    }
  }
}
