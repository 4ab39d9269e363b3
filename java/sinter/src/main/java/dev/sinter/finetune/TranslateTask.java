package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.data.TextFiles;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TransformerModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A text for a text, by an encoder-decoder. */
final class TranslateTask extends Task {
  private static final String TARGET = "target";

  @Override
  public String name() {
    return "translate";
  }

  @Override
  public List<String> reads() {
    return List.of(
        ".csv, .tsv, .jsonl with source or src; target or tgt",
        "or translation: an object of two texts, the source first",
        ".txt: a source, a tab and its target a line");
  }

  @Override
  public List<Sample> read(Path file, boolean labelled) throws IOException {
    if (!isNamed(file, ".txt")) {
      return super.read(file, labelled);
    }
    List<Sample> samples = new ArrayList<>();
    long number = 0;
    for (String line : TextFiles.read(List.of(file)).lines().toList()) {
      number++;
      String[] sides = line.split("\t", -1);
      if (labelled && sides.length != 2 || sides[0].isBlank()) {
        throw new DataException(file, number, null, "is not a source, a tab and its target");
      }
      samples.add(sample(file, number, sides[0], labelled ? sides[1] : null));
    }
    return samples;
  }

  private static Sample sample(Path file, long line, String source, String target)
      throws DataException {
    if (target != null && target.isBlank()) {
      throw new DataException(file, line, TARGET, "is empty");
    }
    return target == null
        ? new Sample(file, line, "", List.of(source), List.of())
        : new Sample(file, line, TARGET, List.of(source), List.of(target));
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    if (table.has("translation")) {
      Table.Row both = row.object("translation");
      List<String> names = both.columns();
      if (names.size() != 2) {
        throw row.wrong("translation", names.size() + " texts; a source and its target are wanted");
      }
      String target = labelled ? both.text(names.get(1)) : null;
      return sample(row.file(), row.line(), both.text(names.get(0)), target);
    }
    String source = row.text(table.column("source", "src"));
    String target = labelled ? row.text(table.column(TARGET, "tgt")) : null;
    return sample(row.file(), row.line(), source, target);
  }

  @Override
  List<String> texts(String line) {
    return List.of(line);
  }

  @Override
  Learner learner(TaskSpec spec, Loading loading, Tuning tuning) throws IOException {
    TransformerModel model =
        ModelFiles.loadTransformer(loading.folder(), loading.device(), loading.dtype());
    int context = model.config().context();
    int length = spec.length() == 0 ? context : Math.min(spec.length(), context);
    return new TranslateLearner(
        model, spec.withInput(length, List.of()), loading.tokenizer(), tuning);
  }
}
