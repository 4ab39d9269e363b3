package dev.sinter.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.data.TextFiles;
import dev.sinter.evaluate.ChoiceScorer;
import dev.sinter.evaluate.Entities;
import dev.sinter.evaluate.Squad;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** Reads what metrics compare. Whatever is wrong is one line that says in which file, and where. */
final class EvalFiles {
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY);

  private EvalFiles() {}

  /** What is right, and what was predicted. */
  record Pairs<T>(List<T> gold, List<T> predicted) {}

  /** A line's fields, and its number for complaints. */
  private record Row(int line, List<String> fields) {
    String last(int back) {
      return fields.get(fields.size() - back);
    }
  }

  static FormatException problem(Path file, int line, String problem) {
    return new FormatException(file, "line " + line + ": " + problem);
  }

  /** The lines of a text; the last may lack its end. */
  static List<String> lines(Path file) throws IOException {
    String text = TextFiles.read(List.of(file));
    List<String> lines = new ArrayList<>();
    for (String line : text.split("\n", -1)) {
      lines.add(line.endsWith("\r") ? line.substring(0, line.length() - 1) : line);
    }
    if (text.endsWith("\n")) {
      lines.remove(lines.size() - 1);
    }
    return lines;
  }

  /** For each line of the predictions the same line of each file of references. */
  static List<List<String>> references(Path predictions, int count, List<Path> files)
      throws IOException {
    List<List<String>> references = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      references.add(new ArrayList<>());
    }
    for (Path file : files) {
      List<String> lines = lines(file);
      checkLines(file, lines.size(), predictions, count);
      for (int i = 0; i < count; i++) {
        references.get(i).add(lines.get(i));
      }
    }
    return references;
  }

  private static void checkLines(Path file, int lines, Path other, int others) throws IOException {
    if (lines != others) {
      throw new FormatException(
          file, "has " + lines + " lines, " + other + " has " + others + "; each needs the other");
    }
  }

  /** Labels, one a line in each of two files, or the right and the predicted one in one file. */
  static Pairs<String> labels(Path predictions, Path references) throws IOException {
    Pairs<String> pairs = new Pairs<>(new ArrayList<>(), new ArrayList<>());
    if (references == null) {
      for (Row row : rows(predictions, "\t")) {
        checkFields(predictions, row, "the right label, a tab, the predicted label", 2);
        pairs.gold.add(row.fields.get(0));
        pairs.predicted.add(row.fields.get(1));
      }
    } else {
      for (Row row : rows(references, "\n")) {
        pairs.gold.add(row.fields.get(0));
      }
      for (Row row : rows(predictions, "\n")) {
        pairs.predicted.add(row.fields.get(0));
      }
      checkLines(predictions, pairs.predicted.size(), references, pairs.gold.size());
    }
    return pairs;
  }

  /** Labels that are numbers. */
  static Pairs<Double> numbers(Path predictions, Path references) throws IOException {
    Pairs<String> labels = labels(predictions, references);
    Pairs<Double> numbers = new Pairs<>(new ArrayList<>(), new ArrayList<>());
    for (int i = 0; i < labels.gold.size(); i++) {
      Path file = references == null ? predictions : references;
      numbers.gold.add(number(file, i + 1, labels.gold.get(i)));
      numbers.predicted.add(number(predictions, i + 1, labels.predicted.get(i)));
    }
    return numbers;
  }

  /** The rows of a file in which no line is blank. */
  private static List<Row> rows(Path file, String separator) throws IOException {
    List<Row> rows = new ArrayList<>();
    for (String line : lines(file)) {
      if (line.isBlank()) {
        throw problem(file, rows.size() + 1, "is blank");
      }
      List<String> fields = new ArrayList<>();
      for (String field : line.strip().split(separator, -1)) {
        fields.add(field.strip());
      }
      rows.add(new Row(rows.size() + 1, fields));
    }
    return rows;
  }

  private static void checkFields(Path file, Row row, String wanted, int... counts)
      throws IOException {
    for (int count : counts) {
      if (row.fields.size() == count) {
        return;
      }
    }
    throw problem(file, row.line, row.fields.size() + " fields; a line is " + wanted);
  }

  private static double number(Path file, int line, String field) throws IOException {
    try {
      double number = Double.parseDouble(field);
      if (Double.isFinite(number)) {
        return number;
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw problem(file, line, quoted(field) + " is not a number");
  }

  private static String quoted(String text) {
    return "\"" + (text.length() > 40 ? text.substring(0, 40) + "…" : text) + "\"";
  }

  /**
   * Tags of sentences, which blank lines part: the last column of two files, or the last two of
   * one, the right one first.
   */
  static Pairs<List<String>> tags(Path predictions, Path references) throws IOException {
    List<List<Row>> predicted = sentences(predictions);
    Path goldFile = references == null ? predictions : references;
    List<List<Row>> gold = references == null ? predicted : sentences(references);
    if (gold.size() != predicted.size()) {
      throw new FormatException(
          predictions,
          String.format(
              "has %d sentences, %s has %d; blank lines part them",
              predicted.size(), goldFile, gold.size()));
    }
    Pairs<List<String>> pairs = new Pairs<>(new ArrayList<>(), new ArrayList<>());
    for (int i = 0; i < gold.size(); i++) {
      if (gold.get(i).size() != predicted.get(i).size()) {
        throw problem(
            predictions,
            predicted.get(i).get(0).line,
            String.format(
                "the sentence has %d tokens, that at line %d of %s has %d",
                predicted.get(i).size(), gold.get(i).get(0).line, goldFile, gold.get(i).size()));
      }
      pairs.gold.add(column(goldFile, gold.get(i), references == null ? 2 : 1));
      pairs.predicted.add(column(predictions, predicted.get(i), 1));
    }
    return pairs;
  }

  private static List<List<Row>> sentences(Path file) throws IOException {
    List<List<Row>> sentences = new ArrayList<>();
    List<Row> sentence = new ArrayList<>();
    int number = 0;
    for (String line : lines(file)) {
      number++;
      if (!line.isBlank()) {
        sentence.add(new Row(number, List.of(line.strip().split("\\s+", -1))));
      } else if (!sentence.isEmpty()) {
        sentences.add(sentence);
        sentence = new ArrayList<>();
      }
    }
    if (!sentence.isEmpty()) {
      sentences.add(sentence);
    }
    return sentences;
  }

  private static List<String> column(Path file, List<Row> sentence, int back) throws IOException {
    List<String> tags = new ArrayList<>();
    for (Row row : sentence) {
      if (row.fields.size() < back) {
        throw problem(file, row.line, "one column; the right tag and the predicted one are wanted");
      }
      tags.add(row.last(back));
      try {
        Entities.of(List.of(row.last(back)), Entities.Scheme.CONLL);
      } catch (IllegalArgumentException e) {
        throw problem(file, row.line, e.getMessage());
      }
    }
    return tags;
  }

  /** Relevance by query and document: query, document, relevance; or TREC's, with a column more. */
  static Map<String, Map<String, Integer>> judgements(Path file) throws IOException {
    Map<String, Map<String, Integer>> judgements = new LinkedHashMap<>();
    for (Row row : rows(file, "\\s+")) {
      checkFields(file, row, "query, document, relevance; or query, 0, document, relevance", 3, 4);
      double relevance = number(file, row.line, row.last(1));
      if (relevance != (int) relevance) {
        throw problem(file, row.line, "relevance " + relevance + " is not a whole number");
      }
      put(judgements, file, row, row.last(2), (int) relevance);
    }
    return judgements;
  }

  /** Scores by query and document: query, document, score; or TREC's six columns. */
  static Map<String, Map<String, Double>> rankings(Path file) throws IOException {
    Map<String, Map<String, Double>> rankings = new LinkedHashMap<>();
    for (Row row : rows(file, "\\s+")) {
      checkFields(
          file, row, "query, document, score; or query, Q0, document, rank, score, run", 3, 6);
      boolean trec = row.fields.size() == 6;
      double score = number(file, row.line, row.fields.get(trec ? 4 : 2));
      put(rankings, file, row, row.fields.get(trec ? 2 : 1), score);
    }
    return rankings;
  }

  private static <T> void put(
      Map<String, Map<String, T>> queries, Path file, Row row, String document, T value)
      throws IOException {
    String query = row.fields.get(0);
    if (queries.computeIfAbsent(query, q -> new LinkedHashMap<>()).put(document, value) != null) {
      throw problem(
          file, row.line, "document " + quoted(document) + " again for query " + quoted(query));
    }
  }

  /** SQuAD's questions: data, paragraphs, qas. */
  static List<Squad.Question> questions(Path file) throws IOException {
    List<Squad.Question> questions = new ArrayList<>();
    Set<String> seen = new HashSet<>();
    JsonNode data = json(file, 0, TextFiles.read(List.of(file))).path("data");
    for (JsonNode article : array(file, data, "data")) {
      for (JsonNode paragraph : array(file, article.path("paragraphs"), "data[].paragraphs")) {
        for (JsonNode qa : array(file, paragraph.path("qas"), "data[].paragraphs[].qas")) {
          String where = "question " + (questions.size() + 1);
          String id = text(file, qa.path("id"), where + ", id");
          if (!seen.add(id)) {
            throw new FormatException(file, where + ": id " + quoted(id) + " again");
          }
          List<String> answers = new ArrayList<>();
          for (JsonNode answer : array(file, qa.path("answers"), where + ", answers")) {
            answers.add(text(file, answer.path("text"), where + ", answers[].text"));
          }
          questions.add(new Squad.Question(id, answers));
        }
      }
    }
    if (questions.isEmpty()) {
      throw new FormatException(file, "has no questions");
    }
    return questions;
  }

  /** Answers by the id of their question. */
  static Map<String, String> answers(Path file) throws IOException {
    JsonNode root = json(file, 0, TextFiles.read(List.of(file)));
    if (!root.isObject()) {
      throw new FormatException(file, "is not an object of question ids and answers");
    }
    Map<String, String> answers = new LinkedHashMap<>();
    for (Map.Entry<String, JsonNode> answer : root.properties()) {
      String where = "answer to " + quoted(answer.getKey());
      answers.put(answer.getKey(), text(file, answer.getValue(), where));
    }
    return answers;
  }

  /** Multiple choice, a JSON object a line, with HellaSwag's names. */
  static List<ChoiceScorer.Item> choices(Path file, boolean harness, int limit) throws IOException {
    List<ChoiceScorer.Item> items = new ArrayList<>();
    for (String line : lines(file)) {
      int number = items.size() + 1;
      if (limit > 0 && number > limit) {
        break;
      }
      String where = "line " + number + ": ";
      JsonNode item = json(file, number, line);
      List<String> endings = new ArrayList<>();
      for (JsonNode ending : array(file, item.path("endings"), where + "endings")) {
        String text = text(file, ending, where + "endings[]");
        endings.add(harness ? withoutMarkup(text) : text);
      }
      String context = text(file, item.path(harness ? "ctx_a" : "ctx"), where + "ctx");
      if (harness) {
        String activity = text(file, item.path("activity_label"), where + "activity_label");
        String next = capitalized(text(file, item.path("ctx_b"), where + "ctx_b"));
        context = withoutMarkup(activity + ": " + context + " " + next);
      }
      // HellaSwag has had both 3 and "3".
      int gold = item.path("label").asInt(-1);
      if (gold < 0 || gold >= endings.size()) {
        throw problem(
            file,
            number,
            "label " + item.path("label") + "; the index of one of " + endings.size() + " endings");
      }
      if (context.isEmpty() || endings.contains("")) {
        throw problem(file, number, "the context or an ending is empty");
      }
      items.add(new ChoiceScorer.Item(context, endings, gold));
    }
    return items;
  }

  /** WikiHow's titles and other brackets out of HellaSwag, as lm-evaluation-harness does it. */
  private static String withoutMarkup(String text) {
    return text.strip().replace(" [title]", ". ").replaceAll("\\[.*?\\]", "").replace("  ", " ");
  }

  private static String capitalized(String text) {
    if (text.isEmpty()) {
      return text;
    }
    int first = text.offsetByCodePoints(0, 1);
    return Character.toString(Character.toTitleCase(text.codePointAt(0)))
        + text.substring(first).toLowerCase(Locale.ROOT);
  }

  /** Parses a line of a file, or all of it where the line is 0. */
  private static JsonNode json(Path file, int line, String text) throws IOException {
    try {
      JsonNode node = JSON.readTree(text);
      if (node.isMissingNode()) {
        throw problem(file, Math.max(1, line), "is blank; JSON is wanted");
      }
      return node;
    } catch (JsonProcessingException e) {
      int at = line == 0 ? e.getLocation().getLineNr() : line;
      String message = e.getOriginalMessage().lines().findFirst().orElse("malformed");
      throw problem(file, at, "no JSON: " + message);
    }
  }

  private static JsonNode array(Path file, JsonNode node, String name) throws IOException {
    if (!node.isArray()) {
      throw new FormatException(file, name + " is missing, or no array");
    }
    return node;
  }

  private static String text(Path file, JsonNode node, String name) throws IOException {
    if (!node.isTextual()) {
      throw new FormatException(file, name + " is missing, or no text");
    }
    return node.textValue();
  }
}
