package dev.sinter.search;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.AppendOnlyFile;
import dev.sinter.io.AtomicFiles;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What a search has done, a line of JSON each, so that it can go on after a kill: first its
 * settings, then starts and results of trainings in their order.
 *
 * <pre>{@code
 * {"search":{"method":"asha", …,"seed":7,"space":{"lr":{"log_uniform":[1.0E-5,0.001]}}}}
 * {"start":{"trial":1,"from":0,"to":1,"options":{"lr":"3.162e-4"}}}
 * {"result":{"trial":1,"to":1,"metric":0.81}}
 * }</pre>
 */
final class TrialLog implements AutoCloseable {
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);
  private static final String SEARCH = "search";
  private static final String START = "start";
  private static final String RESULT = "result";

  private final Path file;
  private final AppendOnlyFile lines;
  private final List<Event> events;

  /** A start, or a result. */
  sealed interface Event {}

  /** Training begins. */
  record Start(Rungs.Job job, Map<String, String> options) implements Event {}

  /** Training has ended; NaN: it failed. */
  record Result(int trial, int to, double metric) implements Event {}

  private TrialLog(Path file, AppendOnlyFile lines, List<Event> events) {
    this.file = file;
    this.lines = lines;
    this.events = events;
  }

  /**
   * Opens a log, a new one or that of a search that was killed: a last line that was cut off is
   * dropped.
   *
   * @param settings all that decides what the trials are
   * @throws FormatException where it is of another search, or no such log
   */
  static TrialLog open(Path file, ObjectNode settings) throws IOException {
    ObjectNode first = JSON.createObjectNode().set(SEARCH, settings);
    List<String> kept = Files.exists(file) ? wholeLines(file) : List.of();
    List<Event> events = new ArrayList<>();
    for (int i = 0; i < kept.size(); i++) {
      Line line = new Line(file, i + 1, kept.get(i));
      if (i == 0) {
        line.checkSettings(settings);
      } else {
        events.add(line.event());
      }
    }
    StringBuilder text = new StringBuilder();
    for (String line : kept.isEmpty() ? List.of(first.toString()) : kept) {
      text.append(line).append('\n');
    }
    AtomicFiles.write(file, text.toString().getBytes(StandardCharsets.UTF_8));
    return new TrialLog(file, new AppendOnlyFile(file, StandardOpenOption.CREATE), events);
  }

  /** What was there when the log was opened. */
  List<Event> events() {
    return events;
  }

  /** A complaint about an event that was there. */
  FormatException failure(int event, String problem) {
    return new Line(file, event + 2, "").failure(problem);
  }

  void start(Rungs.Job job, Trial trial) throws IOException {
    ObjectNode node = JSON.createObjectNode();
    node.put("trial", job.trial()).put("from", job.from()).put("to", job.to());
    ObjectNode options = node.putObject("options");
    trial.options().forEach(options::put);
    append(START, node);
  }

  void result(Rungs.Job job, double metric) throws IOException {
    ObjectNode node = JSON.createObjectNode().put("trial", job.trial()).put("to", job.to());
    append(RESULT, Double.isNaN(metric) ? node.putNull("metric") : node.put("metric", metric));
  }

  private void append(String kind, ObjectNode node) throws IOException {
    String line = JSON.createObjectNode().set(kind, node).toString() + "\n";
    lines.append(ByteBuffer.wrap(line.getBytes(StandardCharsets.UTF_8)));
  }

  @Override
  public void close() throws IOException {
    lines.close();
  }

  /** Latin-1 holds every byte: what is no text at all fails as a line, with its number. */
  private static List<String> wholeLines(Path file) throws IOException {
    byte[] bytes = Files.readAllBytes(file);
    String latin = new String(bytes, StandardCharsets.ISO_8859_1);
    int end = latin.lastIndexOf('\n') + 1;
    return new String(bytes, 0, end, StandardCharsets.UTF_8).lines().toList();
  }

  /** One line of a log, and complaints that name it. */
  private record Line(Path file, int number, String text) {
    FormatException failure(String problem) {
      return new FormatException(file, "line " + number + ": " + problem);
    }

    private JsonNode parse() throws FormatException {
      try {
        JsonNode json = JSON.readTree(text);
        if (json != null && json.isObject() && json.size() == 1) {
          return json;
        }
      } catch (JsonProcessingException e) {
        throw failure("is damaged: " + quote(text));
      }
      throw failure("is no line of a search's log: " + quote(text));
    }

    void checkSettings(ObjectNode settings) throws FormatException {
      JsonNode there = parse().path(SEARCH);
      if (!there.isObject()) {
        throw failure("is no line of a search's log: " + quote(text));
      }
      checkEqual("", there, settings);
    }

    /** Compared as they are written: 1 is another node than a 1 that was read. */
    private void checkEqual(String name, JsonNode old, JsonNode now) throws FormatException {
      if (old.isObject() && now.isObject()) {
        Set<String> names = new LinkedHashSet<>();
        now.fieldNames().forEachRemaining(names::add);
        old.fieldNames().forEachRemaining(names::add);
        for (String inner : names) {
          checkEqual(name.isEmpty() ? inner : name + "." + inner, old.path(inner), now.path(inner));
        }
      } else if (!old.toString().equals(now.toString())) {
        throw new FormatException(
            file,
            String.format(
                "is of another search: %s is %s there, %s here; name another folder",
                name, shown(old), shown(now)));
      }
    }

    private static String shown(JsonNode node) {
      return node.isMissingNode() ? "missing" : node.toString();
    }

    Event event() throws FormatException {
      JsonNode json = parse();
      if (json.has(START)) {
        JsonNode node = json.get(START);
        Map<String, String> options = new LinkedHashMap<>();
        node.path("options")
            .properties()
            .forEach(o -> options.put(o.getKey(), o.getValue().asText()));
        return new Start(
            new Rungs.Job(number(node, "trial"), number(node, "from"), number(node, "to")),
            options);
      }
      if (json.has(RESULT)) {
        JsonNode node = json.get(RESULT);
        JsonNode metric = node.path("metric");
        if (!metric.isNumber() && !metric.isNull()) {
          throw failure("has no metric: " + quote(text));
        }
        return new Result(
            number(node, "trial"),
            number(node, "to"),
            metric.isNull() ? Double.NaN : metric.doubleValue());
      }
      throw failure("is no line of a search's log: " + quote(text));
    }

    private int number(JsonNode node, String name) throws FormatException {
      JsonNode value = node.path(name);
      if (!value.canConvertToExactIntegral() || !value.canConvertToInt()) {
        throw failure("has no whole number " + name + ": " + quote(text));
      }
      return value.intValue();
    }
  }
}
