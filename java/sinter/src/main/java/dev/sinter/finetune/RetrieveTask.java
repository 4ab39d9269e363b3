package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Vectors of queries and documents, near to each other where the document is the query's. */
final class RetrieveTask extends Task {
  private static final String[] QUERY = {"query", "anchor", "question"};
  private static final String[] POSITIVE = {"positive", "document", "passage", "answer"};
  private static final String NEGATIVE = "negative";

  @Override
  public String name() {
    return "retrieve";
  }

  @Override
  public List<String> reads() {
    return List.of(
        ".csv, .tsv, .jsonl with query, anchor or question",
        "and positive, document, passage or answer; negative (a text or an array) may be there");
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    if (!labelled) {
      String column = table.has("text") ? "text" : table.column(QUERY);
      return new Sample(row.file(), row.line(), "", List.of(row.text(column)), List.of());
    }
    List<String> texts = new ArrayList<>();
    texts.add(row.text(table.column(QUERY)));
    String positive = table.column(POSITIVE);
    texts.add(row.text(positive));
    if (row.has(NEGATIVE)) {
      texts.addAll(row.isArray(NEGATIVE) ? row.texts(NEGATIVE) : List.of(row.text(NEGATIVE)));
    }
    if (texts.stream().anyMatch(String::isBlank)) {
      throw row.wrong(NEGATIVE, "a text is empty");
    }
    return new Sample(row.file(), row.line(), positive, texts, List.of(texts.get(1)));
  }

  @Override
  List<String> texts(String line) {
    return List.of(line);
  }

  @Override
  Learner learner(TaskSpec spec, Loading loading, Tuning tuning) throws IOException {
    TaskModel model =
        ModelFiles.loadTask(loading.folder(), Head.mean(), loading.device(), loading.dtype());
    int length = spec.length() == 0 ? model.context() : Math.min(spec.length(), model.context());
    return new RetrieveLearner(
        model,
        spec.withInput(length, List.of()),
        new Inputs(loading.tokenizer(), length, List.of()),
        tuning);
  }
}
