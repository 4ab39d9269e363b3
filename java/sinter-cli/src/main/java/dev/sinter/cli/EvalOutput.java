package dev.sinter.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.evaluate.Bleu;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.Entities;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.evaluate.MultipleChoice;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.evaluate.Ranking;
import dev.sinter.evaluate.Squad;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * A result for a person and for a program. README.md documents the JSON: change both together.
 *
 * @param text a table or some lines
 * @param json the same, in full precision
 */
record EvalOutput(String text, ObjectNode json) {
  /** More labels than these make a confusion matrix that no terminal holds. */
  private static final int MOST_COLUMNS = 12;

  /** Behind the point. */
  private static final int DIGITS = 4;

  /** One JSON object, on one line. */
  String json(String task) {
    ObjectNode root = object().put("task", task);
    return root.setAll(json).toString();
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }

  private static ObjectNode object() {
    return JsonNodeFactory.instance.objectNode();
  }

  /** JSON has no NaN and no infinity. */
  static void put(ObjectNode json, String name, double value) {
    if (Double.isFinite(value)) {
      json.put(name, value);
    } else {
      json.putNull(name);
    }
  }

  static EvalOutput of(Perplexity.Result result, long words, long bytes) {
    double perWord = result.perplexityPer(words);
    double perByte = result.perplexityPer(bytes);
    ObjectNode json = object();
    put(json, "loss", result.loss());
    json.put("tokens", result.tokens()).put("words", words).put("bytes", bytes);
    ObjectNode perplexity = json.putObject("perplexity");
    put(perplexity, "token", result.perplexity());
    put(perplexity, "word", perWord);
    put(perplexity, "byte", perByte);
    String text =
        format(
            "loss %.4f nats per token over %,d tokens%n"
                + "perplexity %.4f per token, %.4f per word, %.4f per byte",
            result.loss(), result.tokens(), result.perplexity(), perWord, perByte);
    return new EvalOutput(text, json);
  }

  static EvalOutput of(MultipleChoice.Report report) {
    String text =
        format(
            "accuracy %.4f by the sum of log-probabilities, %.4f by their mean per token,"
                + " %.4f per character, over %,d questions",
            report.accuracy(),
            report.accuracyPerToken(),
            report.accuracyPerCharacter(),
            report.questions());
    return new EvalOutput(
        text,
        object()
            .put("accuracy", report.accuracy())
            .put("accuracy_per_token", report.accuracyPerToken())
            .put("accuracy_per_character", report.accuracyPerCharacter())
            .put("questions", report.questions()));
  }

  /** The line that sacreBLEU prints. */
  static EvalOutput of(Bleu.Score score) {
    String signature = score.signature() + "|version:sinter-" + Version.text();
    String precisions =
        score.precisions().stream().map(p -> format("%.1f", p)).collect(Collectors.joining("/"));
    double ratio = (double) score.hypothesisLength() / Math.max(1, score.referenceLength());
    String text =
        format(
            "BLEU|%s = %.1f %s (BP = %.3f ratio = %.3f hyp_len = %d ref_len = %d)",
            signature,
            score.bleu(),
            precisions,
            score.brevityPenalty(),
            ratio,
            score.hypothesisLength(),
            score.referenceLength());
    ObjectNode json = object().put("bleu", score.bleu()).put("signature", signature);
    score.precisions().forEach(json.putArray("precisions")::add);
    json.put("brevity_penalty", score.brevityPenalty())
        .put("hypothesis_length", score.hypothesisLength())
        .put("reference_length", score.referenceLength());
    score.matches().forEach(json.putArray("matches")::add);
    score.totals().forEach(json.putArray("totals")::add);
    return new EvalOutput(text, json);
  }

  static EvalOutput exactMatch(double share, int count) {
    return new EvalOutput(
        format("exact match %.4f over %,d lines", share, count),
        object().put("exact_match", share).put("count", count));
  }

  static EvalOutput of(Squad.Report report) {
    ObjectNode json = object();
    StringBuilder text =
        new StringBuilder(format("%-14s %8s %8s %10s", "", "exact", "F1", "questions"));
    List<String> names = List.of("all", "answerable", "unanswerable");
    List<Squad.Scores> parts = List.of(report.all(), report.answerable(), report.unanswerable());
    for (int i = 0; i < parts.size(); i++) {
      Squad.Scores part = parts.get(i);
      json.putObject(names.get(i))
          .put("exact", part.exact())
          .put("f1", part.f1())
          .put("questions", part.questions());
      text.append(
          format(
              "%n%-14s %8.4f %8.4f %,10d",
              names.get(i), part.exact(), part.f1(), part.questions()));
    }
    json.put("missing", report.missing());
    if (report.missing() > 0) {
      text.append(format("%nquestions without a prediction, which score 0: %,d", report.missing()));
    }
    return new EvalOutput(text.toString(), json);
  }

  /** Entities, and the tags that they are made of. */
  static EvalOutput of(LabelReport entities, Confusion tags) {
    double withoutO = tags.report("O").micro().recall();
    String text =
        format(
            "%s%n%s%n%s%ntag accuracy %.4f, without O %.4f",
            Entities.table(entities, tags),
            entities.table(DIGITS),
            tags.table(DIGITS),
            tags.accuracy(),
            withoutO);
    ObjectNode json = object();
    json.set("entities", json(entities));
    json.putObject("tags")
        .put("accuracy", tags.accuracy())
        .put("accuracy_without_o", withoutO)
        .set("report", json(tags.report()));
    return new EvalOutput(text, json);
  }

  static EvalOutput of(Confusion confusion) {
    String text =
        format(
            "%s%naccuracy %.4f, Matthews' correlation %.4f",
            confusion.table(DIGITS), confusion.accuracy(), confusion.matthews());
    ObjectNode json =
        object().put("accuracy", confusion.accuracy()).put("matthews", confusion.matthews());
    json.set("report", json(confusion.report()));
    ObjectNode matrix = json.putObject("confusion");
    confusion.labels().forEach(matrix.putArray("labels")::add);
    ArrayNode counts = matrix.putArray("counts");
    for (int i = 0; i < confusion.labels().size(); i++) {
      ArrayNode row = counts.addArray();
      for (int j = 0; j < confusion.labels().size(); j++) {
        row.add(confusion.count(i, j));
      }
    }
    return new EvalOutput(text + matrix(confusion), json);
  }

  private static String matrix(Confusion confusion) {
    return confusion.labels().size() > MOST_COLUMNS
        ? ""
        : format("%n%n") + confusion.matrix().stripTrailing();
  }

  static EvalOutput correlation(double pearson, double spearman, int count) {
    ObjectNode json = object();
    put(json, "pearson", pearson);
    put(json, "spearman", spearman);
    json.put("count", count);
    return new EvalOutput(
        format("Pearson %.4f, Spearman %.4f over %,d pairs", pearson, spearman, count), json);
  }

  static EvalOutput of(Ranking.Report report, int k, Ranking.Gain gain) {
    String gainName = gain.name().toLowerCase(Locale.ROOT);
    String text =
        format(
            "MRR@%d %.4f, nDCG@%d %.4f (%s gain) over %,d queries",
            k, report.mrr(), k, report.ndcg(), gainName, report.queries());
    if (report.missing() > 0) {
      text += format("%nqueries without a ranking, which score 0: %,d", report.missing());
    }
    ObjectNode json = object().put("k", k).put("gain", gainName);
    json.put("mrr", report.mrr()).put("ndcg", report.ndcg());
    json.put("queries", report.queries()).put("missing", report.missing());
    return new EvalOutput(text, json);
  }

  static ObjectNode json(LabelReport report) {
    ObjectNode json = object();
    ObjectNode labels = json.putObject("labels");
    report.labels().forEach((name, scores) -> labels.set(name, json(scores)));
    json.set("micro", json(report.micro()));
    json.set("macro", json(report.macro()));
    json.set("weighted", json(report.weighted()));
    return json;
  }

  private static ObjectNode json(LabelReport.Scores scores) {
    return object()
        .put("precision", scores.precision())
        .put("recall", scores.recall())
        .put("f1", scores.f1())
        .put("support", scores.support());
  }
}
