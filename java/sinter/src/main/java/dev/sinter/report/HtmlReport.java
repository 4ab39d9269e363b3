package dev.sinter.report;

import dev.sinter.evaluate.Calibration;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.io.AtomicFiles;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/**
 * Runs as one page that needs nothing but itself: no scripts, no fonts, nothing from elsewhere.
 * Curves and diagrams are drawings in the page; light or dark is what the reader's system prefers.
 */
public final class HtmlReport {
  private static final DateTimeFormatter DATE =
      DateTimeFormatter.ofPattern("d MMMM yyyy, HH:mm 'UTC'", Locale.ENGLISH)
          .withZone(ZoneOffset.UTC);

  /** More labels than these make no grid that a page holds; the commonest mistakes are listed. */
  private static final int MOST_COLUMNS = 40;

  /** Labels of more characters than these stand upright over their columns. */
  private static final int WIDE = 60;

  private static final int MISTAKES = 10;

  /** The share of its cell that a full bar takes; the rest is the number's. */
  private static final double BAR = 0.55;

  private final Html html = new Html();

  private HtmlReport() {}

  /**
   * Makes the page of one run, or one that puts several side by side.
   *
   * @param runs at least one
   * @return HTML, well-formed as XML too; whatever texts and labels hold comes out as text
   * @throws IllegalArgumentException where there is no run
   */
  public static String of(List<RunRecord> runs) {
    if (runs.isEmpty()) {
      throw new IllegalArgumentException("there is no run to report on");
    }
    HtmlReport report = new HtmlReport();
    report.page(runs);
    return "<!DOCTYPE html>\n" + report.html + "\n";
  }

  /**
   * Writes the page, whole or not at all.
   *
   * @param file the file, replaced where it is there
   * @param runs at least one
   * @throws IOException where it cannot be written
   */
  public static void write(Path file, List<RunRecord> runs) throws IOException {
    AtomicFiles.write(file, of(runs).getBytes(StandardCharsets.UTF_8));
  }

  private void page(List<RunRecord> runs) {
    String title = runs.size() == 1 ? runs.get(0).name() : runs.size() + " runs side by side";
    html.open("html", "lang", "en", "xmlns", "http://www.w3.org/1999/xhtml").open("head");
    html.empty("meta", "charset", "utf-8");
    html.empty("meta", "name", "viewport", "content", "width=device-width, initial-scale=1");
    html.empty(
        "meta",
        "http-equiv",
        "Content-Security-Policy",
        "content",
        "default-src 'none'; style-src 'unsafe-inline'");
    html.leaf("title", title).open("style").raw(style()).close(2);
    html.open("body").open("main");
    if (runs.size() == 1) {
      run(title, runs.get(0));
    } else {
      comparison(title, runs);
    }
    html.leaf("footer", "Sinter");
    html.close(3);
  }

  private static String style() {
    try (InputStream in = HtmlReport.class.getResourceAsStream("report.css")) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException("report.css cannot be read from the library's jar", e);
    }
  }

  private void run(String title, RunRecord run) {
    html.open("header").leaf("h1", title, "dir", "auto");
    html.open("p").leaf("bdi", run.task()).text(" · " + DATE.format(run.date())).close(2);
    tiles(run.metrics());
    curves(List.of(run));
    run.entities().ifPresent(this::entities);
    run.confusion().ifPresent(this::labels);
    run.confusion().ifPresent(this::confusion);
    run.calibration().ifPresent(this::calibration);
    samples(run.samples());
    settings(run.settings());
  }

  private void section(String title) {
    html.open("section").leaf("h2", title);
  }

  private void tiles(List<RunRecord.Metric> metrics) {
    if (metrics.isEmpty()) {
      return;
    }
    html.open("dl", "class", "tiles");
    for (RunRecord.Metric metric : metrics) {
      String better = metric.better() == RunRecord.Better.HIGHER ? "higher" : "lower";
      html.open("div").leaf("dt", metric.name(), "dir", "auto");
      html.open("dd").text(Numbers.show(metric.value()));
      html.leaf("small", better + " is better").close(2);
    }
    html.close();
  }

  /** Curves that measure one thing share a plot, those of several runs too. */
  private void curves(List<RunRecord> runs) {
    Map<String, List<LinePlot.Series>> plots = new LinkedHashMap<>();
    List<String> kinds =
        runs.stream()
            .flatMap(run -> run.curves().stream())
            .map(curve -> kind(curve.name()))
            .distinct()
            .toList();
    for (int i = 0; i < runs.size(); i++) {
      for (RunRecord.Curve curve : runs.get(i).curves()) {
        String kind = kind(curve.name());
        int place = kinds.indexOf(kind);
        boolean isAlone = runs.size() == 1;
        String label = isAlone ? kind : runs.get(i).name() + (kinds.size() > 1 ? " " + kind : "");
        plots
            .computeIfAbsent(measure(curve.name()), name -> new ArrayList<>())
            .add(
                new LinePlot.Series(
                    label.strip(), isAlone ? place : i, isAlone ? 0 : place, curve.points()));
      }
    }
    if (plots.isEmpty()) {
      return;
    }
    section("Curves");
    html.open("div", "class", "plots");
    plots.forEach((measure, series) -> LinePlot.draw(html, measure, series));
    html.close(2);
  }

  /** Of train/loss train; nothing where there is no slash. */
  private static String kind(String curve) {
    return curve.substring(0, Math.max(0, curve.indexOf('/')));
  }

  private static String measure(String curve) {
    return curve.substring(curve.indexOf('/') + 1);
  }

  private void entities(LabelReport report) {
    section("Entities");
    html.leaf("p", "An entity counts where its start, its end and its type are right.");
    html.open("div", "class", "wide").open("table");
    head("type", "precision", "recall", "F1", "found", "support");
    html.open("tbody");
    report
        .labels()
        .forEach(
            (type, scores) ->
                scores(type, scores, Long.toString(report.counts().get(type).predicted())));
    html.close().open("tfoot");
    long found = report.counts().values().stream().mapToLong(LabelReport.Counts::predicted).sum();
    scores("micro average", report.micro(), Long.toString(found));
    scores("macro average", report.macro(), "");
    scores("weighted average", report.weighted(), "");
    html.close(4);
  }

  private void labels(Confusion confusion) {
    boolean isTags = confusion.labels().contains("O");
    LabelReport report = confusion.report();
    section(isTags ? "Tags" : "Labels");
    html.open("p").text("Accuracy ").leaf("b", Numbers.score(confusion.accuracy()));
    if (isTags && confusion.labels().size() > 1) {
      html.text(", over what is not O ");
      html.leaf("b", Numbers.score(confusion.report("O").micro().recall()));
    }
    html.text("; Matthews’ correlation ").leaf("b", Numbers.score(confusion.matthews()));
    html.text(String.format(Locale.ROOT, "; %,d predictions.", confusion.total())).close();
    html.open("div", "class", "wide").open("table");
    head("label", "precision", "recall", "F1", "support");
    html.open("tbody");
    report.labels().forEach(this::scores);
    html.close().open("tfoot");
    if (isTags && confusion.labels().size() > 1) {
      scores("micro average without O", confusion.report("O").micro());
    }
    scores("macro average", report.macro());
    scores("weighted average", report.weighted());
    html.close(4);
  }

  private void head(String... columns) {
    html.open("thead").open("tr");
    for (String column : columns) {
      html.leaf("th", column);
    }
    html.close(2);
  }

  /** A row: the name, three scores, what stands between, how many there were to find. */
  private void scores(String name, LabelReport.Scores scores, String... between) {
    html.open("tr").leaf("th", name, "dir", "auto");
    html.leaf("td", Numbers.score(scores.precision()));
    html.leaf("td", Numbers.score(scores.recall()));
    html.open("td", "class", "bar");
    html.leaf("i", "", "style", "width:" + Numbers.percent(BAR * scores.f1()));
    html.text(Numbers.score(scores.f1())).close();
    for (String cell : between) {
      html.leaf("td", cell);
    }
    html.leaf("td", Long.toString(scores.support())).close();
  }

  private void confusion(Confusion confusion) {
    List<String> labels = confusion.labels();
    section("Confusion");
    html.open("div", "class", "beside");
    if (labels.size() <= MOST_COLUMNS) {
      grid(confusion);
    }
    mistakes(confusion);
    html.close(2);
  }

  /** Shaded by the share of a row: blue for what is right, orange for what is not. */
  private void grid(Confusion confusion) {
    List<String> labels = confusion.labels();
    boolean isWide = labels.stream().mapToInt(String::length).sum() > WIDE;
    html.open("div", "class", "wide").open("table", "class", isWide ? "grid upright" : "grid");
    html.open("thead").open("tr");
    html.leaf("td", "is ↓   taken for →");
    labels.forEach(label -> html.open("th").leaf("span", label, "dir", "auto").close());
    html.close(2).open("tbody");
    for (int i = 0; i < labels.size(); i++) {
      html.open("tr").leaf("th", labels.get(i), "dir", "auto");
      long row = 0;
      for (int j = 0; j < labels.size(); j++) {
        row += confusion.count(i, j);
      }
      for (int j = 0; j < labels.size(); j++) {
        long count = confusion.count(i, j);
        double share = row == 0 ? 0 : (double) count / row;
        String colour = i == j ? "--right" : "--wrong";
        html.leaf(
            "td",
            Long.toString(count),
            "class",
            count == 0 ? "none" : share > 0.5 ? "deep" : "",
            "style",
            String.format(Locale.ROOT, "background:rgb(var(%s)/%.2f)", colour, share),
            "title",
            labels.get(i) + " → " + labels.get(j) + ": " + Numbers.percent(share));
      }
      html.close();
    }
    html.close(3);
  }

  private record Mistake(String gold, String predicted, long count) {}

  private void mistakes(Confusion confusion) {
    List<String> labels = confusion.labels();
    List<Mistake> mistakes = new ArrayList<>();
    long wrong = 0;
    for (int i = 0; i < labels.size(); i++) {
      for (int j = 0; j < labels.size(); j++) {
        long count = i == j ? 0 : confusion.count(i, j);
        wrong += count;
        if (count > 0) {
          mistakes.add(new Mistake(labels.get(i), labels.get(j), count));
        }
      }
    }
    if (mistakes.isEmpty()) {
      html.leaf("p", "Nothing was taken for anything else.");
      return;
    }
    mistakes.sort(Comparator.comparingLong(Mistake::count).reversed());
    html.open("div").open("table").leaf("caption", "The commonest mistakes");
    html.open("thead").open("tr").leaf("th", "is").leaf("th", "taken for", "class", "name");
    html.leaf("th", "times").leaf("th", "of all mistakes").close(2).open("tbody");
    for (Mistake mistake : mistakes.subList(0, Math.min(MISTAKES, mistakes.size()))) {
      html.open("tr").leaf("th", mistake.gold, "dir", "auto");
      html.leaf("td", mistake.predicted, "class", "name", "dir", "auto");
      html.leaf("td", Long.toString(mistake.count));
      html.leaf("td", Numbers.percent((double) mistake.count / wrong)).close();
    }
    html.close(3);
  }

  private void calibration(Calibration calibration) {
    section("Calibration");
    html.open("div", "class", "beside");
    ReliabilityPlot.draw(html, calibration);
    html.open("div").open("dl", "class", "tiles");
    html.open("div").leaf("dt", "expected calibration error");
    html.open("dd").text(Numbers.show(calibration.expectedError()));
    html.leaf("small", calibration.bins().size() + " bins of equal width").close(2);
    html.open("div").leaf("dt", "Brier score");
    html.open("dd").text(Numbers.show(calibration.brier()));
    html.leaf("small", "of the predicted label").close(3);
    html.leaf(
        "p",
        "The line on a bar is the share of its predictions that is right, orange how far it is from"
            + " their mean probability. Below the diagonal the model is surer than it should be,"
            + " above it less sure. The bars at the foot show how many predictions there are.");
    html.close(3);
  }

  private void samples(List<RunRecord.Sample> samples) {
    if (samples.isEmpty()) {
      return;
    }
    section("Samples");
    long wrong = samples.stream().filter(RunRecord.Sample::isWrong).count();
    if (wrong > 0) {
      html.open("p").text(wrong + " of these " + samples.size() + " are wrong. ");
      html.open("label").empty("input", "type", "checkbox", "id", "errors");
      html.text(" Only those").close(2);
    }
    html.open("div", "class", "samples");
    for (RunRecord.Sample sample : samples) {
      html.open("article", "class", sample.isWrong() ? "wrong" : "right");
      SampleView.show(html, sample);
      html.close();
    }
    html.close(2);
  }

  private void settings(Map<String, String> settings) {
    if (settings.isEmpty()) {
      return;
    }
    section("Settings");
    html.open("div", "class", "wide").open("table", "class", "settings").open("tbody");
    settings.forEach(
        (name, value) -> {
          html.open("tr").leaf("th", name, "dir", "auto");
          html.leaf("td", value, "class", "name", "dir", "auto").close();
        });
    html.close(4);
  }

  private void comparison(String title, List<RunRecord> runs) {
    html.open("header").leaf("h1", title);
    html.open("ol", "class", "legend");
    for (int i = 0; i < runs.size(); i++) {
      html.open("li");
      swatch(i);
      html.leaf("bdi", runs.get(i).name()).text(" ");
      html.open("small").leaf("bdi", runs.get(i).task());
      html.text(" · " + DATE.format(runs.get(i).date())).close(2);
    }
    html.close(2);
    Comparison comparison = Comparison.of(runs);
    if (!comparison.metrics().isEmpty()) {
      metrics(runs, comparison.metrics());
    }
    if (!comparison.settings().isEmpty()) {
      differences(runs, comparison.settings());
    }
    curves(runs);
    labelsSideBySide("F1 of entities", runs, RunRecord::entities);
    labelsSideBySide("F1 of labels", runs, run -> run.confusion().map(Confusion::report));
    samplesSideBySide(runs);
  }

  private void swatch(int run) {
    html.open("svg", "viewBox", "0 0 24 8", "class", "swatch");
    html.empty("path", "d", "M0 4H24", "class", "s" + run % 8).close();
  }

  private void headOfRuns(String first, List<RunRecord> runs) {
    html.open("thead").open("tr").leaf("th", first);
    for (int i = 0; i < runs.size(); i++) {
      html.open("th");
      swatch(i);
      html.leaf("bdi", runs.get(i).name()).close();
    }
    html.close(2);
  }

  private void metrics(List<RunRecord> runs, List<Comparison.Metric> metrics) {
    section("Results");
    html.leaf(
        "p",
        "The best of a row is marked ★, the others say how far they are from it; ↑ means that more"
            + " is better, ↓ less.");
    html.open("div", "class", "wide").open("table");
    headOfRuns("", runs);
    html.open("tbody");
    for (Comparison.Metric metric : metrics) {
      metric(metric, metric.better() == RunRecord.Better.HIGHER ? " ↑" : " ↓");
    }
    html.close(4);
  }

  private void metric(Comparison.Metric metric, String arrow) {
    html.open("tr").open("th").leaf("bdi", metric.name()).text(arrow).close();
    for (int i = 0; i < metric.values().size(); i++) {
      double value = metric.values().get(i);
      boolean isBest = metric.isBest(i);
      html.open("td", "class", isBest ? "best" : "");
      html.text((isBest ? "★ " : "") + Numbers.show(value));
      double difference = value - metric.best();
      if (difference != 0 && !Double.isNaN(difference)) {
        html.leaf("small", Numbers.difference(difference));
      }
      html.close();
    }
    html.close();
  }

  private void differences(List<RunRecord> runs, List<Comparison.Setting> settings) {
    section("Settings that differ");
    html.open("div", "class", "wide").open("table");
    headOfRuns("", runs);
    html.open("tbody");
    for (Comparison.Setting setting : settings) {
      html.open("tr").leaf("th", setting.name(), "dir", "auto");
      for (Optional<String> value : setting.values()) {
        html.leaf("td", value.orElse("–"), "class", "name", "dir", "auto");
      }
      html.close();
    }
    html.close(4);
  }

  private interface Scored {
    Optional<LabelReport> of(RunRecord run);
  }

  private void labelsSideBySide(String title, List<RunRecord> runs, Scored scored) {
    List<RunRecord> asMetrics = new ArrayList<>();
    for (RunRecord run : runs) {
      RunRecord.Builder scores = RunRecord.of(run.name(), run.task(), run.date());
      scored
          .of(run)
          .ifPresent(
              report ->
                  report
                      .labels()
                      .forEach(
                          (label, score) ->
                              scores.metric(label, score.f1(), RunRecord.Better.HIGHER)));
      asMetrics.add(scores.build());
    }
    List<Comparison.Metric> rows = Comparison.of(asMetrics).metrics();
    if (rows.isEmpty()) {
      return;
    }
    section(title);
    html.open("div", "class", "wide").open("table");
    headOfRuns("", runs);
    html.open("tbody");
    rows.forEach(row -> metric(row, ""));
    html.close(4);
  }

  /** What the runs made of the same inputs. */
  private void samplesSideBySide(List<RunRecord> runs) {
    Map<String, List<RunRecord.Sample>> byInput = new LinkedHashMap<>();
    for (int i = 0; i < runs.size(); i++) {
      for (RunRecord.Sample sample : runs.get(i).samples()) {
        List<RunRecord.Sample> same =
            byInput.computeIfAbsent(sample.input(), input -> new ArrayList<>());
        if (same.size() == i) { // the first that a run has of this input
          same.add(sample);
        }
      }
    }
    byInput.values().removeIf(same -> same.size() < runs.size());
    if (byInput.isEmpty()) {
      return;
    }
    section("Samples");
    html.leaf("p", "What the runs made of the same inputs.");
    html.open("div", "class", "samples");
    byInput.values().forEach(same -> sideBySide(runs, same));
    html.close(2);
  }

  private void sideBySide(List<RunRecord> runs, List<RunRecord.Sample> same) {
    RunRecord.Sample first = same.get(0);
    boolean isWrong = same.stream().anyMatch(RunRecord.Sample::isWrong);
    html.open("article", "class", isWrong ? "wrong" : "right");
    html.leaf("p", first.input(), "class", "input", "dir", "auto").open("dl");
    if (!first.gold().isEmpty()) {
      html.leaf("dt", "right").leaf("dd", first.gold(), "dir", "auto");
    }
    for (int i = 0; i < same.size(); i++) {
      html.open("dt");
      swatch(i);
      html.leaf("bdi", runs.get(i).name()).close();
      html.open("dd", "dir", "auto");
      SampleView.predicted(html, same.get(i));
      if (!same.get(i).note().isEmpty()) {
        html.text(" ").leaf("small", same.get(i).note());
      }
      html.close();
    }
    html.close(2);
  }
}
