package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.data.TextFiles;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** The next token of a user's texts, as in a GPT's pre-training. */
final class LmTask extends Task {
  @Override
  public String name() {
    return "lm";
  }

  @Override
  public List<String> reads() {
    return List.of(".csv, .tsv, .jsonl with text or content; any other file is one text in UTF-8");
  }

  @Override
  public List<Sample> read(Path file, boolean labelled) throws IOException {
    if (isNamed(file, ".csv", ".tsv", ".json", ".jsonl", ".ndjson")) {
      return super.read(file, labelled);
    }
    return List.of(text(file, 1, TextFiles.read(List.of(file))));
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    return text(row.file(), row.line(), row.text(table.column("text", "content")));
  }

  /** A text is its own target. */
  private static Sample text(Path file, long line, String text) {
    return new Sample(file, line, "text", List.of(text), List.of());
  }

  @Override
  Learner learner(TaskSpec spec, Loading loading, Tuning tuning) throws IOException {
    if (loading.packed() != null) {
      FrozenModel packed = FrozenModel.load(loading.folder(), loading.device(), loading.packed());
      int most = packed.config().context();
      int length = spec.length() == 0 ? most : Math.min(spec.length(), most);
      return new LmLearner(packed, spec.withInput(length, List.of()), loading.tokenizer(), tuning);
    }
    LanguageModel model = ModelFiles.load(loading.folder(), loading.device(), loading.dtype());
    int context = model.config().context();
    int length = spec.length() == 0 ? context : Math.min(spec.length(), context);
    return new LmLearner(model, spec.withInput(length, List.of()), loading.tokenizer(), tuning);
  }
}
