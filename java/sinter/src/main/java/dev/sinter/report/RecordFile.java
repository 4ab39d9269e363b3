package dev.sinter.report;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.evaluate.Calibration;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.io.AtomicFiles;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** A {@link RunRecord} as JSON. Fields that are not known are passed over. */
final class RecordFile {
  private static final int VERSION = 1;
  private static final long MOST = 16 << 20;
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  private RecordFile() {}

  static void write(RunRecord run, Path folder) throws IOException {
    ObjectNode root = JSON.createObjectNode();
    root.put("version", VERSION);
    root.put("name", run.name()).put("task", run.task()).put("date", run.date().toString());
    ObjectNode settings = root.putObject("settings");
    run.settings().forEach(settings::put);
    ArrayNode metrics = root.putArray("metrics");
    for (RunRecord.Metric metric : run.metrics()) {
      ObjectNode one = metrics.addObject().put("name", metric.name());
      one.put("value", finite(metric.value()));
      one.put("better", metric.better().name().toLowerCase(Locale.ROOT));
    }
    ArrayNode curves = root.putArray("curves");
    for (RunRecord.Curve curve : run.curves()) {
      ObjectNode one = curves.addObject().put("name", curve.name());
      ArrayNode steps = one.putArray("steps");
      ArrayNode values = one.putArray("values");
      for (RunRecord.Point point : curve.points()) {
        steps.add(point.step());
        values.add(finite(point.value()));
      }
    }
    run.confusion().ifPresent(confusion -> put(root.putObject("confusion"), confusion));
    run.calibration().ifPresent(calibration -> put(root.putObject("calibration"), calibration));
    run.entities().ifPresent(entities -> put(root.putObject("entities"), entities));
    ArrayNode samples = root.putArray("samples");
    for (RunRecord.Sample sample : run.samples()) {
      samples
          .addObject()
          .put("input", sample.input())
          .put("gold", sample.gold())
          .put("predicted", sample.predicted())
          .put("note", sample.note());
    }
    // As text first: Jackson's own encoder refuses halves of characters, which inputs may have.
    String text = JSON.writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n";
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    Path file = folder.resolve(RunRecord.FILE);
    if (bytes.length > MOST) {
      throw new IOException(
          file
              + ": would have "
              + bytes.length
              + " bytes, at most "
              + MOST
              + "; keep fewer curves");
    }
    AtomicFiles.write(file, bytes);
  }

  /** JSON has no NaN and no infinity: null. */
  private static Double finite(double value) {
    return Double.isFinite(value) ? value : null;
  }

  private static void put(ObjectNode json, Confusion confusion) {
    confusion.labels().forEach(json.putArray("labels")::add);
    ArrayNode counts = json.putArray("counts");
    for (int i = 0; i < confusion.labels().size(); i++) {
      ArrayNode row = counts.addArray();
      for (int j = 0; j < confusion.labels().size(); j++) {
        row.add(confusion.count(i, j));
      }
    }
  }

  private static void put(ObjectNode json, Calibration calibration) {
    json.put("brier", calibration.brier());
    ArrayNode bins = json.putArray("bins");
    for (Calibration.Bin bin : calibration.bins()) {
      bins.addObject()
          .put("count", bin.count())
          .put("correct", bin.correct())
          .put("probability", bin.probability());
    }
  }

  private static void put(ObjectNode json, LabelReport report) {
    report
        .counts()
        .forEach(
            (label, counts) ->
                json.putObject(label)
                    .put("correct", counts.correct())
                    .put("predicted", counts.predicted())
                    .put("gold", counts.gold()));
  }

  static RunRecord read(Path folder) throws IOException {
    Path file = Files.isDirectory(folder) ? folder.resolve(RunRecord.FILE) : folder;
    if (Files.notExists(file) && Files.isRegularFile(folder.resolve(MetricsLog.FILE))) {
      return MetricsLog.read(folder);
    }
    if (!Files.isRegularFile(file)) { // reading a pipe would wait forever
      throw new FormatException(
          file, "there is no such file; name the folder of a run that has ended");
    }
    if (Files.size(file) > MOST) {
      throw new FormatException(
          file, "has " + Files.size(file) + " bytes; a report has at most " + MOST);
    }
    // A strict decoder: Jackson's own would guess UTF-16.
    ByteBuffer utf8 = ByteBuffer.wrap(Files.readAllBytes(file));
    try {
      JsonNode json = JSON.readTree(StandardCharsets.UTF_8.newDecoder().decode(utf8).toString());
      return run(new Part("the report", json));
    } catch (JsonProcessingException e) {
      String problem = e.getOriginalMessage().lines().findFirst().orElse("");
      throw new FormatException(file, "is damaged or not JSON: " + problem, e);
    } catch (CharacterCodingException e) {
      throw new FormatException(file, "is not valid UTF-8; it is damaged", e);
    } catch (IllegalArgumentException e) {
      throw new FormatException(file, e.getMessage(), e);
    }
  }

  private static RunRecord run(Part root) {
    long version = root.get("version").whole();
    if (version != VERSION) {
      throw new IllegalArgumentException(
          "has version " + version + "; this release reads version " + VERSION);
    }
    Map<String, String> settings = new LinkedHashMap<>();
    root.get("settings").fields().forEach((name, value) -> settings.put(name, value.text()));
    return new RunRecord(
        root.get("name").text(),
        root.get("task").text(),
        date(root.get("date")),
        settings,
        root.get("metrics").elements().stream().map(RecordFile::metric).toList(),
        root.get("curves").elements().stream().map(RecordFile::curve).toList(),
        root.find("confusion").map(RecordFile::confusion),
        root.find("calibration").map(RecordFile::calibration),
        root.find("entities").map(RecordFile::entities),
        root.get("samples").elements().stream().map(RecordFile::sample).toList());
  }

  private static Instant date(Part json) {
    try {
      return Instant.parse(json.text());
    } catch (DateTimeException e) {
      throw new IllegalArgumentException(json.where + ": " + e.getMessage(), e);
    }
  }

  private static RunRecord.Metric metric(Part json) {
    Part better = json.get("better");
    return switch (better.text()) {
      case "higher" -> metric(json, RunRecord.Better.HIGHER);
      case "lower" -> metric(json, RunRecord.Better.LOWER);
      default -> throw better.isNo("higher or lower");
    };
  }

  private static RunRecord.Metric metric(Part json, RunRecord.Better better) {
    return new RunRecord.Metric(json.get("name").text(), json.get("value").valueOrNone(), better);
  }

  private static RunRecord.Curve curve(Part json) {
    long[] steps = json.get("steps").wholes();
    double[] values = json.get("values").values();
    if (steps.length != values.length) {
      throw new IllegalArgumentException(
          json.where + " has " + steps.length + " steps and " + values.length + " values");
    }
    List<RunRecord.Point> points = new ArrayList<>();
    for (int i = 0; i < steps.length; i++) {
      points.add(new RunRecord.Point(steps[i], values[i]));
    }
    return new RunRecord.Curve(json.get("name").text(), points);
  }

  private static Confusion confusion(Part json) {
    List<String> labels = json.get("labels").elements().stream().map(Part::text).toList();
    checkLabels(json, labels.size());
    long[][] counts =
        json.get("counts").elements().stream().map(Part::wholes).toArray(long[][]::new);
    return Confusion.of(labels, counts);
  }

  private static Calibration calibration(Part json) {
    List<Calibration.Bin> bins = new ArrayList<>();
    for (Part bin : json.get("bins").elements()) {
      bins.add(
          new Calibration.Bin(
              bin.get("count").whole(),
              bin.get("correct").whole(),
              bin.get("probability").value()));
    }
    return new Calibration(bins, json.get("brier").value());
  }

  private static LabelReport entities(Part json) {
    Map<String, Part> types = json.fields();
    checkLabels(json, types.size());
    Map<String, LabelReport.Counts> counts = new LinkedHashMap<>();
    types.forEach(
        (type, one) ->
            counts.put(
                type,
                new LabelReport.Counts(
                    one.get("correct").whole(),
                    one.get("predicted").whole(),
                    one.get("gold").whole())));
    return LabelReport.of(counts);
  }

  private static void checkLabels(Part json, int labels) {
    if (labels > RunRecord.MOST_LABELS) {
      throw new IllegalArgumentException(
          json.where + " has " + labels + " labels; at most " + RunRecord.MOST_LABELS);
    }
  }

  private static RunRecord.Sample sample(Part json) {
    return new RunRecord.Sample(
        json.get("input").text(),
        json.get("gold").text(),
        json.get("predicted").text(),
        json.get("note").text());
  }

  /** A value, and where it stands, for complaints. */
  private record Part(String where, JsonNode json) {
    Part get(String name) {
      return find(name).orElseThrow(() -> new IllegalArgumentException(where + " has no " + name));
    }

    Optional<Part> find(String name) {
      if (!json.isObject()) {
        throw isNo("object");
      }
      return Optional.ofNullable(json.get(name))
          .map(value -> new Part(name + " of " + where, value));
    }

    Map<String, Part> fields() {
      if (!json.isObject()) {
        throw isNo("object");
      }
      Map<String, Part> fields = new LinkedHashMap<>();
      json.properties()
          .forEach(
              field ->
                  fields.put(
                      field.getKey(),
                      new Part(quote(field.getKey()) + " of " + where, field.getValue())));
      return fields;
    }

    List<Part> elements() {
      List<Part> elements = new ArrayList<>();
      for (JsonNode element : list()) {
        elements.add(new Part("number " + (elements.size() + 1) + " of " + where, element));
      }
      return elements;
    }

    /** Without a {@link Part} for each: there may be millions. */
    long[] wholes() {
      long[] wholes = new long[list().size()];
      for (int i = 0; i < wholes.length; i++) {
        wholes[i] = whole(json.get(i));
      }
      return wholes;
    }

    double[] values() {
      double[] values = new double[list().size()];
      for (int i = 0; i < values.length; i++) {
        values[i] = valueOrNone(json.get(i));
      }
      return values;
    }

    private JsonNode list() {
      if (!json.isArray()) {
        throw isNo("list");
      }
      return json;
    }

    String text() {
      if (!json.isTextual()) {
        throw isNo("text");
      }
      return json.textValue();
    }

    long whole() {
      return whole(json);
    }

    private long whole(JsonNode node) {
      if (!node.isIntegralNumber() || !node.canConvertToLong()) {
        throw isNo(json.isArray() ? "list of whole numbers" : "whole number");
      }
      return node.longValue();
    }

    double value() {
      if (json.isNull()) {
        throw isNo("number");
      }
      return valueOrNone();
    }

    double valueOrNone() {
      return valueOrNone(json);
    }

    private double valueOrNone(JsonNode node) {
      if (node.isNull()) {
        return Double.NaN;
      }
      if (!node.isNumber() || !Double.isFinite(node.doubleValue())) {
        throw isNo(json.isArray() ? "list of numbers" : "number");
      }
      return node.doubleValue();
    }

    IllegalArgumentException isNo(String wanted) {
      return new IllegalArgumentException(where + " is no " + wanted);
    }
  }
}
