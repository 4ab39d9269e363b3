package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.evaluate.Correlation;
import dev.sinter.model.Head;
import dev.sinter.text.Encoding;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A number for a pair of texts, or for one: regression, as STS-B's. GPT-1 reads both orders. */
final class SimilarityTask extends HeadTask {
  @Override
  public String name() {
    return "similarity";
  }

  @Override
  public List<String> reads() {
    return List.of(
        ".csv, .tsv, .jsonl with a pair: " + Columns.pairs(),
        "or a text: " + String.join(", ", Columns.TEXT),
        "and score, similarity_score, similarity or label: a number");
  }

  @Override
  List<String> metricNames(TaskSpec spec) {
    return List.of("pearson", "spearman", "mean_squared_error");
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    List<String> texts = Columns.texts(table, row);
    if (!labelled) {
      return new Sample(row.file(), row.line(), "", texts, List.of());
    }
    String column = table.column("score", "similarity_score", "similarity", "label");
    return new Sample(
        row.file(), row.line(), column, texts, List.of(Double.toString(row.number(column))));
  }

  @Override
  Head head(TaskSpec spec) {
    return Head.sequence(1).withLoss(Head.Loss.SQUARED_ERROR);
  }

  @Override
  boolean readsBothOrders() {
    return true;
  }

  @Override
  void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to) {
    List<Encoding> orders = inputs.orders(sample.texts());
    to.add(
        sample.known()
            ? Example.ofNumbers(orders, Float.parseFloat(sample.gold().get(0)))
            : Example.of(orders));
  }

  @Override
  Prediction predict(Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs) {
    double score = outputs.get(0)[0];
    return new Prediction(List.of(Double.toString(score)), List.of(score), Map.of("score", score));
  }

  @Override
  Map<String, Double> metrics(List<Sample> samples, List<Prediction> predictions, TaskSpec spec) {
    double[] gold = new double[samples.size()];
    double[] found = new double[samples.size()];
    double squares = 0;
    for (int i = 0; i < gold.length; i++) {
      gold[i] = Double.parseDouble(samples.get(i).gold().get(0));
      found[i] = predictions.get(i).scores().get(0);
      squares += (gold[i] - found[i]) * (gold[i] - found[i]);
    }
    Map<String, Double> metrics = new LinkedHashMap<>();
    metrics.put("pearson", Correlation.pearson(gold, found));
    metrics.put("spearman", Correlation.spearman(gold, found));
    metrics.put("mean_squared_error", squares / gold.length);
    return metrics;
  }
}
