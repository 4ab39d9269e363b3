package dev.sinter.finetune;

import dev.sinter.data.Conll;
import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.data.TextFiles;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.Entities;
import dev.sinter.evaluate.Entities.Entity;
import dev.sinter.evaluate.Entities.Scheme;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/**
 * A tag for each word, that of its first token (Devlin et al. 2019, section 5.3). Entities in IOB1
 * become IOB2. A sentence that is too long is read in parts, cut between words.
 */
final class TagTask extends HeadTask {
  private static final Pattern IOB = Pattern.compile("O|[BI](-.+)?");
  private static final Pattern WORD =
      Pattern.compile("[\\p{L}\\p{M}\\p{N}]+|[^\\s\\p{L}\\p{M}\\p{N}]");

  @Override
  public String name() {
    return "tag";
  }

  @Override
  public List<String> reads() {
    return List.of(
        "CoNLL columns (.conll, .txt, .iob, .bio): token first, tag last, blank lines between"
            + " sentences",
        ".jsonl with arrays: tokens or words; tags, ner_tags, pos_tags or labels");
  }

  @Override
  List<String> metricNames(TaskSpec spec) {
    return areIob(spec.labels())
        ? List.of("f1", "precision", "recall", "accuracy")
        : List.of("f1", "accuracy");
  }

  @Override
  public List<Sample> read(Path file, boolean labelled) throws IOException {
    if (isNamed(file, ".json", ".jsonl", ".ndjson")) {
      return super.read(file, labelled);
    }
    return conll(file, TextFiles.read(List.of(file)), labelled);
  }

  private static List<Sample> conll(Path file, String text, boolean labelled) throws DataException {
    List<Sample> samples = new ArrayList<>();
    for (Conll.Sentence sentence : Conll.parse(file, text, 0)) {
      if (labelled && sentence.tags().isEmpty()) {
        throw new DataException(
            file, sentence.line(), null, "one column; a token and its tag are wanted");
      }
      samples.add(
          sample(file, sentence.line(), "tags", sentence.tokens(), sentence.tags(), labelled));
    }
    return samples;
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    String tokens = table.column("tokens", "words");
    List<String> words = row.texts(tokens);
    if (words.isEmpty() || words.stream().anyMatch(String::isBlank)) {
      throw row.wrong(tokens, words.isEmpty() ? "is empty" : "a token is empty");
    }
    if (!labelled) {
      return sample(row.file(), row.line(), "", words, List.of(), false);
    }
    String column = table.column("tags", "ner_tags", "pos_tags", "labels");
    List<String> tags = row.texts(column);
    if (tags.size() != words.size()) {
      throw row.wrong(column, tags.size() + " tags for " + words.size() + " tokens");
    }
    return sample(row.file(), row.line(), column, words, tags, true);
  }

  private static Sample sample(
      Path file, long line, String column, List<String> words, List<String> tags, boolean known) {
    return new Sample(file, line, known ? column : "", words, known ? tags : List.of());
  }

  @Override
  List<String> texts(String line) {
    return WORD.matcher(line).results().map(match -> match.group()).toList();
  }

  @Override
  public String shown(Sample sample) {
    return String.join(" ", sample.texts());
  }

  @Override
  TaskSpec spec(
      List<Sample> train,
      List<String> named,
      Head base,
      List<String> baseLabels,
      Consumer<String> warnings)
      throws DataException {
    boolean kept = base != null && base.task() == Head.Task.TOKENS;
    List<String> labels =
        Labels.choose(iob2(train), named, kept ? baseLabels : List.of(), warnings);
    if (labels.size() < 2) {
      throw new DataException(
          train.get(0).file(), 0, null, "all tags are " + FormatException.quote(labels.get(0)));
    }
    return TaskSpec.of(name()).withLabels(labels, false);
  }

  @Override
  List<Sample> checked(List<Sample> samples, TaskSpec spec) throws DataException {
    return Labels.named(iob2(samples), spec.labels());
  }

  private static boolean areIob(Iterable<String> labels) {
    for (String label : labels) {
      if (!IOB.matcher(label).matches()) {
        return false;
      }
    }
    return true;
  }

  /**
   * Entities with a B at the start of each, whatever scheme they are in; other tags as they are.
   */
  private static List<Sample> iob2(List<Sample> samples) {
    if (!areIob(Labels.of(samples))) {
      return samples;
    }
    return samples.stream()
        .map(
            sample -> {
              List<String> tags = new ArrayList<>(sample.gold());
              for (Entity entity : Entities.of(sample.gold(), Scheme.CONLL)) {
                String first = tags.get(entity.start());
                tags.set(entity.start(), "B" + first.substring(1));
              }
              return sample.withGold(tags);
            })
        .toList();
  }

  @Override
  Head head(TaskSpec spec) {
    return Head.tokens(spec.labels().size());
  }

  @Override
  void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to) throws DataException {
    List<String> words = sample.texts();
    for (int from = 0; from < words.size(); ) {
      Encoding input = inputs.plain(String.join(" ", words.subList(from, words.size())));
      int last = Arrays.stream(input.ends()).max().orElse(0);
      int to1 = from;
      for (int end = -1; to1 < words.size(); to1++) {
        end += 1 + words.get(to1).length();
        if (end > last && hasMore(input, inputs)) {
          break;
        }
      }
      // A word that is longer than an input stands cut off in one.
      int until = Math.max(to1, from + 1);
      to.add(example(sample, spec, from, until, input));
      from = until;
    }
  }

  private static boolean hasMore(Encoding input, Inputs inputs) {
    return input.length() >= inputs.length();
  }

  /** The words of a part: each one's first token has its tag. */
  private static Example example(
      Sample sample, TaskSpec spec, int from, int until, Encoding input) {
    int[] targets = new int[input.length()];
    Arrays.fill(targets, Example.IGNORED);
    int[] places = new int[until - from];
    Arrays.fill(places, -1);
    int start = 0;
    int token = 0;
    for (int word = from; word < until; word++) {
      int end = start + sample.texts().get(word).length();
      while (token < input.length() && (input.special(token) || input.ends()[token] <= start)) {
        token++;
      }
      if (token < input.length() && input.starts()[token] < end) {
        places[word - from] = token;
        targets[token] = sample.known() ? spec.labels().indexOf(sample.gold().get(word)) : 0;
        token++;
      }
      start = end + 1;
    }
    return new Example(List.of(input), targets, new float[0], places);
  }

  @Override
  Prediction predict(Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs) {
    int labels = spec.labels().size();
    int outside = Math.max(0, spec.labels().indexOf("O"));
    List<String> tags = new ArrayList<>();
    List<Double> scores = new ArrayList<>();
    for (int part = 0; part < parts.size(); part++) {
      for (int place : parts.get(part).places()) {
        int best = outside;
        double score = 0;
        if (place >= 0) {
          int from = place * labels;
          double[] shares =
              Losses.softmax(Arrays.copyOfRange(outputs.get(part), from, from + labels));
          best = Losses.best(shares);
          score = shares[best];
        }
        tags.add(spec.labels().get(best));
        scores.add(score);
      }
    }
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("tokens", sample.texts());
    fields.put("tags", tags);
    fields.put("scores", scores);
    if (areIob(spec.labels())) {
      fields.put("entities", entities(sample.texts(), tags));
    }
    return new Prediction(tags, scores, fields);
  }

  private static List<Map<String, Object>> entities(List<String> words, List<String> tags) {
    List<Map<String, Object>> entities = new ArrayList<>();
    for (Entity entity : Entities.of(tags, Scheme.CONLL)) {
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("type", entity.type());
      one.put("text", String.join(" ", words.subList(entity.start(), entity.end())));
      one.put("start", entity.start());
      one.put("end", entity.end());
      entities.add(one);
    }
    return entities;
  }

  @Override
  Map<String, Double> metrics(List<Sample> samples, List<Prediction> predictions, TaskSpec spec) {
    List<List<String>> gold = samples.stream().map(Sample::gold).toList();
    List<List<String>> found = predictions.stream().map(Prediction::values).toList();
    Confusion confusion =
        Confusion.of(
            gold.stream().flatMap(List::stream).toList(),
            found.stream().flatMap(List::stream).toList());
    Map<String, Double> metrics = new LinkedHashMap<>();
    if (areIob(spec.labels())) {
      LabelReport report = Entities.score(gold, found, Scheme.CONLL);
      metrics.put("f1", report.micro().f1());
      metrics.put("precision", report.micro().precision());
      metrics.put("recall", report.micro().recall());
    } else {
      metrics.put("f1", confusion.report().macro().f1());
    }
    metrics.put("accuracy", confusion.accuracy());
    return Collections.unmodifiableMap(metrics);
  }
}
