package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.evaluate.Ranking;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head;
import dev.sinter.text.Encoding;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * How relevant a document is to a query, both read together: one logit, and the likelihood of being
 * relevant as its loss (Nogueira and Cho 2019). Relevances above 1 count as 1 in the loss.
 */
final class RankTask extends HeadTask {
  private static final int FIRST = 10;

  @Override
  public String name() {
    return "rank";
  }

  @Override
  public List<String> reads() {
    return List.of(
        ".csv, .tsv, .jsonl with query or question; document, passage, text or answer",
        "and label, relevance or score: 0 (not relevant), 1, or higher grades");
  }

  @Override
  List<String> metricNames(TaskSpec spec) {
    return List.of("mrr@10", "ndcg@10");
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    List<String> texts =
        List.of(
            row.text(table.column("query", "question")),
            row.text(table.column("document", "passage", "text", "answer")));
    if (!labelled) {
      return new Sample(row.file(), row.line(), "", texts, List.of());
    }
    String column = table.column("label", "relevance", "score");
    int grade = row.integer(column);
    if (grade < 0) {
      throw row.wrong(column, FormatException.quote("" + grade) + " is below 0");
    }
    return new Sample(row.file(), row.line(), column, texts, List.of("" + grade));
  }

  @Override
  List<String> texts(String line) {
    List<String> texts = super.texts(line);
    return texts.size() == 2 ? texts : List.of();
  }

  @Override
  Head head(TaskSpec spec) {
    return Head.sequence(1).withLoss(Head.Loss.BINARY_CROSS_ENTROPY);
  }

  @Override
  void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to) {
    Encoding input = inputs.of(sample.texts());
    to.add(
        sample.known()
            ? Example.ofNumbers(input, Math.min(1, Integer.parseInt(sample.gold().get(0))))
            : Example.of(input));
  }

  @Override
  Prediction predict(Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs) {
    double score = Losses.sigmoid(outputs.get(0)[0]);
    return new Prediction(List.of(Double.toString(score)), List.of(score), Map.of("score", score));
  }

  /** Within the candidates of each query. */
  @Override
  Map<String, Double> metrics(List<Sample> samples, List<Prediction> predictions, TaskSpec spec) {
    Map<String, Map<String, Integer>> judged = new LinkedHashMap<>();
    Map<String, Map<String, Double>> ranked = new LinkedHashMap<>();
    for (int i = 0; i < samples.size(); i++) {
      String query = samples.get(i).texts().get(0);
      String document = Integer.toString(i);
      judged
          .computeIfAbsent(query, key -> new LinkedHashMap<>())
          .put(document, Integer.parseInt(samples.get(i).gold().get(0)));
      ranked
          .computeIfAbsent(query, key -> new LinkedHashMap<>())
          .put(document, predictions.get(i).scores().get(0));
    }
    Ranking.Report report = Ranking.score(judged, ranked, FIRST, Ranking.Gain.EXPONENTIAL);
    Map<String, Double> metrics = new LinkedHashMap<>();
    metrics.put("mrr@10", report.mrr());
    metrics.put("ndcg@10", report.ndcg());
    return metrics;
  }
}
