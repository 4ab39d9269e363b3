package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.evaluate.LabelReport.Counts;
import dev.sinter.model.Head;
import dev.sinter.text.Encoding;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/** A label, or several, for a text or a pair of texts. */
final class ClassifyTask extends HeadTask {
  @Override
  public String name() {
    return "classify";
  }

  @Override
  public List<String> reads() {
    return List.of(
        ".csv, .tsv, .jsonl with a text: " + String.join(", ", Columns.TEXT),
        "or a pair: " + Columns.pairs(),
        "and label (a name or a number; an array of them: several labels)");
  }

  @Override
  List<String> metricNames(TaskSpec spec) {
    return spec.manyLabels()
        ? List.of("micro_f1", "macro_f1", "accuracy")
        : List.of("accuracy", "macro_f1", "matthews");
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    List<String> texts = Columns.texts(table, row);
    if (!labelled) {
      return new Sample(row.file(), row.line(), "", texts, List.of());
    }
    String column = table.column(Columns.LABEL);
    List<String> labels =
        row.isArray(column) ? row.texts(column) : List.of(row.text(column).strip());
    return new Sample(row.file(), row.line(), column, texts, labels);
  }

  @Override
  TaskSpec spec(
      List<Sample> train,
      List<String> named,
      Head base,
      List<String> baseLabels,
      Consumer<String> warnings)
      throws DataException {
    boolean many = train.stream().anyMatch(sample -> sample.gold().size() != 1);
    boolean kept = base != null && base.task() == Head.Task.SEQUENCE;
    List<String> labels = Labels.choose(train, named, kept ? baseLabels : List.of(), warnings);
    if (labels.isEmpty() || !many && Labels.of(train).size() < 2) {
      throw new DataException(
          train.get(0).file(),
          0,
          train.get(0).column(),
          "all rows have the same label; a classifier needs two or more");
    }
    return TaskSpec.of(name()).withLabels(labels, many);
  }

  @Override
  List<Sample> checked(List<Sample> samples, TaskSpec spec) throws DataException {
    for (Sample sample : samples) {
      if (!spec.manyLabels() && sample.gold().size() != 1) {
        throw sample.wrong(sample.gold().size() + " labels; the training data have one a row");
      }
    }
    return Labels.named(samples, spec.labels());
  }

  @Override
  Head head(TaskSpec spec) {
    Head head = Head.sequence(spec.labels().size());
    return spec.manyLabels() ? head.withLoss(Head.Loss.BINARY_CROSS_ENTROPY) : head;
  }

  @Override
  void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to) {
    Encoding input = inputs.of(sample.texts());
    if (!sample.known()) {
      to.add(Example.of(input));
    } else if (spec.manyLabels()) {
      float[] there = new float[spec.labels().size()];
      sample.gold().forEach(label -> there[spec.labels().indexOf(label)] = 1);
      to.add(Example.ofNumbers(input, there));
    } else {
      to.add(Example.of(input, spec.labels().indexOf(sample.gold().get(0))));
    }
  }

  @Override
  Prediction predict(Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs) {
    float[] logits = outputs.get(0);
    List<Double> shares = new ArrayList<>();
    double[] softmax = Losses.softmax(logits);
    Map<String, Object> all = new LinkedHashMap<>();
    List<String> there = new ArrayList<>();
    for (int i = 0; i < logits.length; i++) {
      shares.add(spec.manyLabels() ? Losses.sigmoid(logits[i]) : softmax[i]);
      all.put(spec.labels().get(i), shares.get(i));
      if (spec.manyLabels() && logits[i] > 0) {
        there.add(spec.labels().get(i));
      }
    }
    if (spec.manyLabels()) {
      return new Prediction(there, shares, Map.of("labels", there, "probabilities", all));
    }
    String label = spec.labels().get(Losses.best(softmax));
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("label", label);
    fields.put("score", all.get(label));
    fields.put("probabilities", all);
    return new Prediction(List.of(label), shares, fields);
  }

  @Override
  Map<String, Double> metrics(List<Sample> samples, List<Prediction> predictions, TaskSpec spec) {
    return spec.manyLabels() ? ofMany(samples, predictions) : ofOne(samples, predictions);
  }

  private static Map<String, Double> ofOne(List<Sample> samples, List<Prediction> predictions) {
    Confusion confusion =
        Confusion.of(
            samples.stream().map(sample -> sample.gold().get(0)).toList(),
            predictions.stream().map(prediction -> prediction.values().get(0)).toList());
    Map<String, Double> metrics = new LinkedHashMap<>();
    metrics.put("accuracy", confusion.accuracy());
    metrics.put("macro_f1", confusion.report().macro().f1());
    metrics.put("matthews", confusion.matthews());
    return metrics;
  }

  private static Map<String, Double> ofMany(List<Sample> samples, List<Prediction> predictions) {
    Map<String, Counts> all = new LinkedHashMap<>();
    int exact = 0;
    for (int i = 0; i < samples.size(); i++) {
      Set<String> gold = Set.copyOf(samples.get(i).gold());
      Set<String> found = Set.copyOf(predictions.get(i).values());
      exact += gold.equals(found) ? 1 : 0;
      gold.forEach(label -> add(all, label, found.contains(label) ? 1 : 0, 0, 1));
      found.forEach(label -> add(all, label, 0, 1, 0));
    }
    LabelReport report = LabelReport.of(all);
    Map<String, Double> metrics = new LinkedHashMap<>();
    metrics.put("micro_f1", report.micro().f1());
    metrics.put("macro_f1", report.macro().f1());
    metrics.put("accuracy", (double) exact / samples.size());
    return metrics;
  }

  private static void add(
      Map<String, Counts> all, String label, long correct, long predicted, long gold) {
    all.merge(
        label,
        new Counts(correct, predicted, gold),
        (a, b) ->
            new Counts(
                a.correct() + b.correct(), a.predicted() + b.predicted(), a.gold() + b.gold()));
  }
}
