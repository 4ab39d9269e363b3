package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head;
import dev.sinter.text.Encoding;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** One of several texts that could go on from another: a score of each, then softmax. */
final class ChoiceTask extends HeadTask {
  @Override
  public String name() {
    return "choice";
  }

  @Override
  public List<String> reads() {
    return List.of(
        ".csv, .tsv, .jsonl with prompt, question, ctx, context or startphrase",
        "and choices or endings (an array), or choice0, choice1 …, ending0, ending1 …",
        "and label or answer: the right one's number from 0, letter from A, or text");
  }

  @Override
  List<String> metricNames(TaskSpec spec) {
    return List.of("accuracy");
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    List<String> texts = new ArrayList<>();
    texts.add(row.text(table.column("prompt", "question", "ctx", "context", "startphrase")));
    texts.addAll(choices(table, row));
    if (!labelled) {
      return new Sample(row.file(), row.line(), "", texts, List.of());
    }
    String column = table.column("label", "answer", "answerKey");
    int right = right(row.text(column).strip(), texts.subList(1, texts.size()));
    if (right < 0) {
      throw row.wrong(
          column,
          FormatException.quote(row.text(column))
              + " is none of the "
              + (texts.size() - 1)
              + " choices; numbers count from 0");
    }
    return new Sample(row.file(), row.line(), column, texts, List.of(Integer.toString(right)));
  }

  private static List<String> choices(Table table, Table.Row row) throws DataException {
    boolean columns = table.has("choice0") || table.has("ending0");
    String column = columns ? "choice0" : table.column("choices", "endings", "options");
    List<String> choices =
        columns
            ? Columns.numbered(row, table.has("choice0") ? "choice" : "ending")
            : row.texts(column);
    if (choices.size() < 2 || choices.stream().anyMatch(String::isBlank)) {
      throw row.wrong(
          column, choices.size() < 2 ? "two choices are wanted, or more" : "a choice is empty");
    }
    return choices;
  }

  private static int right(String label, List<String> choices) {
    int number = -1;
    if (label.matches("\\d{1,3}")) {
      number = Integer.parseInt(label);
    } else if (choices.contains(label)) {
      number = choices.indexOf(label);
    } else if (label.matches("[A-Z]")) {
      number = label.charAt(0) - 'A';
    }
    return number < choices.size() ? number : -1;
  }

  @Override
  List<String> texts(String line) {
    List<String> texts = super.texts(line);
    return texts.size() < 3 ? List.of() : texts;
  }

  @Override
  TaskSpec spec(
      List<Sample> train,
      List<String> named,
      Head base,
      List<String> baseLabels,
      Consumer<String> warnings) {
    return TaskSpec.of(name()).withChoices(train.get(0).texts().size() - 1);
  }

  @Override
  List<Sample> checked(List<Sample> samples, TaskSpec spec) throws DataException {
    for (Sample sample : samples) {
      if (sample.texts().size() - 1 != spec.choices()) {
        throw new DataException(
            sample.file(),
            sample.line(),
            null,
            (sample.texts().size() - 1)
                + " choices; the first row of the training data has "
                + spec.choices());
      }
    }
    return samples;
  }

  @Override
  Head head(TaskSpec spec) {
    return Head.choice(Math.max(2, spec.choices()));
  }

  @Override
  void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to) {
    List<Encoding> all = new ArrayList<>();
    for (String choice : sample.texts().subList(1, sample.texts().size())) {
      all.add(inputs.pair(sample.texts().get(0), choice));
    }
    int right = sample.known() ? Integer.parseInt(sample.gold().get(0)) : Example.IGNORED;
    to.add(Example.of(all, right));
  }

  @Override
  Prediction predict(Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs) {
    float[] logits = new float[outputs.size()];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = outputs.get(i)[0];
    }
    double[] shares = Losses.softmax(logits);
    int best = Losses.best(shares);
    List<Double> scores = new ArrayList<>();
    for (double share : shares) {
      scores.add(share);
    }
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("choice", best);
    fields.put("text", sample.texts().get(1 + best));
    fields.put("probabilities", scores);
    return new Prediction(List.of(Integer.toString(best)), scores, fields);
  }

  @Override
  Map<String, Double> metrics(List<Sample> samples, List<Prediction> predictions, TaskSpec spec) {
    int right = 0;
    for (int i = 0; i < samples.size(); i++) {
      right += samples.get(i).gold().equals(predictions.get(i).values()) ? 1 : 0;
    }
    return Map.of("accuracy", (double) right / samples.size());
  }
}
