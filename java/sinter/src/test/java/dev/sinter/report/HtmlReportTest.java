package dev.sinter.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.report.RunRecord.Better;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

/** The page is well-formed, needs nothing but itself, and shows what the record says. */
class HtmlReportTest {
  private static final Instant DATE = Instant.parse("2026-11-26T01:02:03Z");
  private static final RunRecord FULL = SyntheticRuns.tagger("full", 5e-5, 0.97, 1);
  private static final RunRecord LORA = SyntheticRuns.tagger("lora", 2e-4, 0.9, 2);

  /** Elements that HTML has no end tag for, and those of drawings, which are XML. */
  private static final Set<String> VOID =
      Set.of("meta", "input", "path", "circle", "rect", "line", "svg", "title");

  @TempDir Path folder;

  /** Parses as XML, which forgives nothing. */
  private static Document parse(String page) throws Exception {
    assertTrue(page.startsWith("<!DOCTYPE html>\n<html "));
    DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
    Document document = factory.newDocumentBuilder().parse(new InputSource(new StringReader(page)));
    for (Element element : elements(document, "*")) {
      for (String attribute : List.of("src", "href", "onclick", "onload", "onerror")) {
        assertFalse(element.hasAttribute(attribute), element.getTagName() + " " + attribute);
      }
    }
    assertTrue(elements(document, "script").isEmpty());
    return document;
  }

  private static List<Element> elements(Document document, String tag) {
    NodeList nodes = document.getElementsByTagName(tag);
    List<Element> elements = new ArrayList<>();
    for (int i = 0; i < nodes.getLength(); i++) {
      elements.add((Element) nodes.item(i));
    }
    return elements;
  }

  private static List<String> texts(Document document, String tag) {
    return elements(document, tag).stream().map(Element::getTextContent).toList();
  }

  @Test
  void aPageShowsAllPartsOfARun() throws Exception {
    Document page = parse(HtmlReport.of(List.of(FULL)));
    assertEquals(
        List.of("Curves", "Entities", "Tags", "Confusion", "Calibration", "Samples", "Settings"),
        texts(page, "h2"));
    assertEquals(List.of("full"), texts(page, "h1"));
    assertEquals(List.of("loss", "learning rate", "f1"), texts(page, "figcaption"));
    String text = page.getDocumentElement().getTextContent();
    for (RunRecord.Metric metric : FULL.metrics()) {
      assertTrue(text.contains(Numbers.show(metric.value())), metric.name());
    }
    for (Map.Entry<String, String> setting : FULL.settings().entrySet()) {
      assertTrue(text.contains(setting.getKey() + setting.getValue()), setting.getKey());
    }
    LabelReport report = FULL.entities().orElseThrow();
    report
        .labels()
        .forEach((type, scores) -> assertTrue(text.contains(Numbers.score(scores.f1())), type));
    long wrong = FULL.samples().stream().filter(RunRecord.Sample::isWrong).count();
    assertTrue(wrong > 0);
    assertEquals(
        wrong,
        elements(page, "article").stream()
            .filter(article -> article.getAttribute("class").equals("wrong"))
            .count());
  }

  @Test
  void aPageNeedsNothingFromElsewhere() {
    for (List<RunRecord> runs : List.of(List.of(FULL), List.of(FULL, LORA))) {
      String page = HtmlReport.of(runs).replace(" xmlns=\"http://www.w3.org/1999/xhtml\"", "");
      for (String word : List.of("http:", "https:", "//", "url(", "@import", "<script", "<link")) {
        assertFalse(page.contains(word), word);
      }
      assertTrue(page.contains("default-src 'none'"));
    }
  }

  /** A browser reads the page as HTML, where {@code <i/>} is a start tag. */
  @Test
  void onlyVoidElementsEndThemselves() {
    String page = HtmlReport.of(List.of(FULL)) + HtmlReport.of(List.of(FULL, LORA));
    Set<String> closed = new TreeSet<>();
    Matcher matcher = Pattern.compile("<(\\w+)[^<>]*/>").matcher(page);
    while (matcher.find()) {
      closed.add(matcher.group(1));
    }
    assertTrue(closed.contains("meta") && VOID.containsAll(closed), closed.toString());
  }

  @Test
  void hostileTextsComeOutAsText() throws Exception {
    String hostile =
        "</style><script>alert(\"1\")</script><img src=x onerror='a&b'>\u0000\u001b[2J";
    String shown = hostile.replace('\u0000', '\ufffd').replace('\u001b', '\ufffd');
    RunRecord run =
        RunRecord.of(hostile, hostile, DATE)
            .setting(hostile, hostile)
            .metric(hostile, 1, Better.LOWER)
            .point(hostile, 1, 2)
            .point(hostile + "/" + hostile, 1, 2)
            .predictions(List.of(hostile, "b"), List.of("b", hostile), new double[] {0.5, 1})
            .entities(LabelReport.of(Map.of(hostile, new LabelReport.Counts(1, 2, 3))))
            .sample(hostile, hostile, "a b \ud800", hostile)
            .build();
    for (List<RunRecord> runs : List.of(List.of(run), List.of(run, run, FULL))) {
      String source = HtmlReport.of(runs);
      Document page = parse(source);
      assertTrue(elements(page, "img").isEmpty());
      assertTrue(page.getDocumentElement().getTextContent().contains(shown));
      assertFalse(source.contains("<script") || source.contains("<img"));
    }
    String text = TextReport.of(List.of(run));
    assertTrue(text.contains(shown) && text.indexOf('\u001b') < 0);
  }

  @Test
  void runsStandSideBySide() throws Exception {
    RunRecord other =
        RunRecord.of("other", "lm", DATE)
            .metric("entity F1", Double.NaN, Better.HIGHER)
            .setting("batch", 64)
            .build();
    Document page = parse(HtmlReport.of(List.of(FULL, LORA, other)));
    assertEquals(List.of("3 runs side by side"), texts(page, "h1"));
    List<String> rows = texts(page, "tr");
    String best = Numbers.show(FULL.metrics().get(0).value());
    String worse = Numbers.show(LORA.metrics().get(0).value());
    double difference = LORA.metrics().get(0).value() - FULL.metrics().get(0).value();
    assertTrue(
        rows.contains("entity F1 ↑★ " + best + worse + Numbers.difference(difference) + "–"),
        rows.toString());
    assertTrue(rows.contains("learning rate5e-52e-4–"), rows.toString());
    assertTrue(rows.contains("batch323264"), rows.toString());
    // Of the three runs two have curves, each of train and validation.
    Element loss = elements(page, "figure").get(0);
    assertEquals(4, loss.getElementsByTagName("li").getLength());
  }

  @Test
  void whatAllRunsMadeOfAnInputStandsTogether() throws Exception {
    RunRecord one = SyntheticRuns.alignment("one", 0.1, 1);
    RunRecord two = SyntheticRuns.alignment("two", 0.4, 2);
    Document page = parse(HtmlReport.of(List.of(one, two)));
    assertEquals(1, elements(page, "article").size());
    assertEquals(4, elements(page, "figure").size());
    List<String> texts = texts(page, "article");
    assertTrue(texts.get(0).contains("reward 1.9") && texts.get(0).contains("reward 1.6"));
    Document alone = parse(HtmlReport.of(List.of(one, FULL)));
    assertTrue(elements(alone, "article").isEmpty());
  }

  @Test
  void theBestIsMarkedWhereThereIsAWorse() {
    List<RunRecord> runs =
        List.of(
            RunRecord.of("a", "lm", DATE)
                .metric("loss", 2, Better.LOWER)
                .metric("same", 1, Better.HIGHER)
                .setting("x", 1)
                .setting("y", 1)
                .build(),
            RunRecord.of("b", "lm", DATE)
                .metric("same", 1, Better.HIGHER)
                .metric("loss", 1, Better.LOWER)
                .metric("own", 3, Better.HIGHER)
                .setting("x", 1)
                .build());
    Comparison comparison = Comparison.of(runs);
    Comparison.Metric loss = comparison.metrics().get(0);
    assertEquals(
        List.of("loss", "same", "own"),
        comparison.metrics().stream().map(Comparison.Metric::name).toList());
    assertTrue(loss.isBest(1) && !loss.isBest(0) && loss.best() == 1);
    assertFalse(comparison.metrics().get(1).isBest(0));
    assertFalse(comparison.metrics().get(2).isBest(1));
    assertEquals(
        List.of("y"), comparison.settings().stream().map(Comparison.Setting::name).toList());
    String text = TextReport.of(runs);
    assertTrue(text.contains("loss  2.0000  * 1.0000\n"), text);
    assertTrue(text.contains("settings that differ\ny  1  –\n"), text);
  }

  @Test
  void tablesOfATerminalAreThoseOfTheField() {
    String text = TextReport.of(List.of(FULL));
    Confusion tags = FULL.confusion().orElseThrow();
    assertTrue(text.contains(tags.table(4)) && text.contains(tags.matrix()));
    assertTrue(text.contains(FULL.entities().orElseThrow().table(4)));
    assertTrue(text.contains("processed 3627 tokens with 1200 phrases; found: "));
    assertTrue(text.contains("expected calibration error 0."));
    assertTrue(text.contains("validation/f1  "));
  }

  /** Whatever a curve holds, every place in the drawing is a number within it. */
  @Test
  void anyCurveCanBeDrawn() throws Exception {
    double[] odd = {
      0,
      -0.0,
      1,
      Double.NaN,
      Double.POSITIVE_INFINITY,
      Double.NEGATIVE_INFINITY,
      Double.MAX_VALUE,
      -Double.MAX_VALUE,
      Double.MIN_VALUE,
      1e-300,
      1e99,
      -1e99,
      1 + 1e-15,
      1e15,
      12345.678
    };
    Random random = new Random(5);
    for (int round = 0; round < 100; round++) {
      RunRecord.Builder run = RunRecord.of("odd", "lm", DATE);
      int points = 1 + random.nextInt(round % 5 == 0 ? 300 : 6);
      long step = round % 7 == 0 ? Long.MIN_VALUE : random.nextInt(9);
      for (int i = 0; i < points; i++) {
        run.point("train/loss", step, odd[random.nextInt(odd.length)]);
        step += 1 + (round % 3 == 0 ? random.nextInt(1 << 30) : 0);
      }
      String source = HtmlReport.of(List.of(run.build()));
      assertFalse(source.contains("NaN") || source.contains("Infinity"), source);
      for (Element path : elements(parse(source), "path")) {
        for (String place : path.getAttribute("d").split("[MLHhVv ]+", -1)) {
          double value = place.isEmpty() ? 0 : Double.parseDouble(place);
          assertTrue(value >= 0 && value <= 540, path.getAttribute("d"));
        }
      }
    }
  }

  @Test
  void axesHaveRoundNumbers() {
    assertEquals(List.of(0.0, 0.5, 1.0, 1.5, 2.0), Axis.of(0, 2.2, 0, 1, 5).ticks());
    assertEquals(List.of(-100.0, 0.0, 100.0), Axis.of(-120, 130, 0, 1, 3).ticks());
    Axis axis = Axis.of(10, 20, 200, 100, 4);
    assertEquals(150, axis.place(15));
    assertEquals(
        List.of(3.0), Axis.of(3, 3, 0, 1, 6).ticks().stream().filter(t -> t == 3).toList());
  }

  @Test
  void numbersAreShort() {
    assertEquals("0.1235", Numbers.show(0.123456));
    assertEquals("5e-5", Numbers.show(5e-5));
    assertEquals("−1.23e-10", Numbers.show(-1.23e-10));
    assertEquals("1e6", Numbers.show(1e6));
    assertEquals("1234", Numbers.show(1234.4));
    assertEquals("12.50", Numbers.show(12.5));
    assertEquals("600", Numbers.show(600));
    assertEquals("–", Numbers.show(Double.NaN));
    assertEquals("+0.5000", Numbers.difference(0.5));
    assertEquals("100", Numbers.tick(100));
    assertEquals("0", Numbers.tick(0));
    assertEquals("−0.25", Numbers.tick(-0.25));
    assertEquals("2e6", Numbers.tick(2e6));
  }

  @Test
  void aPageIsWrittenAndNoRunIsAnError() throws IOException {
    Path file = folder.resolve("page.html");
    HtmlReport.write(file, List.of(FULL));
    assertEquals(HtmlReport.of(List.of(FULL)), Files.readString(file));
    assertThrows(IllegalArgumentException.class, () -> HtmlReport.of(List.of()));
    assertThrows(IllegalArgumentException.class, () -> TextReport.of(List.of()));
  }
}
