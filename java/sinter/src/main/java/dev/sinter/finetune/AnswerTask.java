package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Question;
import dev.sinter.data.Table;
import dev.sinter.data.TextFiles;
import dev.sinter.evaluate.Squad;
import dev.sinter.io.FormatException;
import dev.sinter.model.Head;
import dev.sinter.model.TaskModel;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.IntStream;

/**
 * The part of a text that answers a question (Devlin et al. 2019, sections 4.2 and 4.3): windows of
 * at most 384 tokens that overlap by up to 128, answers of at most 30, the null answer at the first
 * token.
 */
final class AnswerTask extends HeadTask {
  private static final int LENGTH = 384;
  private static final int OVERLAP = 128;
  private static final int MOST_QUESTION = 64;
  private static final int MOST_ANSWER = 30;
  private static final int BEST = 20;

  @Override
  public String name() {
    return "qa";
  }

  @Override
  public List<String> reads() {
    return List.of(
        "SQuAD's JSON, 1.1 or 2 (.json)",
        ".jsonl with question, context, answers {text[], answer_start[]}, id");
  }

  @Override
  List<String> metricNames(TaskSpec spec) {
    return List.of("f1", "exact");
  }

  @Override
  public List<Sample> read(Path file, boolean labelled) throws IOException {
    if (!isNamed(file, ".json") || TextFiles.read(List.of(file)).stripLeading().startsWith("[")) {
      return super.read(file, labelled);
    }
    return Question.read(file).stream()
        .map(
            question ->
                sample(
                    file,
                    labelled ? "answers" : "",
                    question,
                    question.answers().stream().map(Question.Answer::start).toList()))
        .toList();
  }

  private static Sample sample(Path file, String column, Question question, List<Integer> places) {
    List<String> answers = question.answers().stream().map(Question.Answer::text).toList();
    return new Sample(
        file,
        question.line(),
        column,
        question.id(),
        List.of(question.question(), question.context()),
        column.isEmpty() ? List.of() : answers.isEmpty() ? List.of("") : answers,
        column.isEmpty() ? List.of() : places);
  }

  @Override
  Sample sample(Table table, Table.Row row, boolean labelled) throws DataException {
    String context = row.text("context");
    List<Question.Answer> answers = new ArrayList<>();
    if (labelled) {
      Table.Row there = row.object("answers");
      List<String> texts = there.texts("text");
      int[] starts = there.integers("answer_start");
      if (starts.length != texts.size()) {
        throw there.wrong(
            "answer_start", starts.length + " places for " + texts.size() + " answers");
      }
      for (int i = 0; i < starts.length; i++) {
        int at = Question.find(context, texts.get(i), starts[i]);
        if (at < 0) {
          throw there.wrong(
              "answer_start",
              FormatException.quote(texts.get(i)) + " is not in the context at " + starts[i]);
        }
        answers.add(new Question.Answer(texts.get(i), at));
      }
    }
    String id = row.has("id") ? row.text("id") : "line-" + row.line();
    return sample(
        row.file(),
        labelled ? "answers" : "",
        new Question(row.line(), id, row.text("question"), context, answers),
        answers.stream().map(Question.Answer::start).toList());
  }

  @Override
  List<String> texts(String line) {
    List<String> texts = super.texts(line);
    return texts.size() == 2 ? texts : List.of();
  }

  @Override
  TaskSpec spec(
      List<Sample> train,
      List<String> named,
      Head base,
      List<String> baseLabels,
      Consumer<String> warnings) {
    boolean none = train.stream().anyMatch(sample -> sample.gold().equals(List.of("")));
    return TaskSpec.of(name()).withNoAnswer(none);
  }

  @Override
  Head head(TaskSpec spec) {
    return Head.span();
  }

  @Override
  int longest(TaskModel model) {
    return Math.min(LENGTH, model.context());
  }

  @Override
  void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to) throws DataException {
    int added = inputs.tokenizer().encoding("", "").length();
    int most = Math.min(MOST_QUESTION, Math.max(1, inputs.length() / 2 - added));
    Encoding asked = inputs.tokenizer().encoding(sample.texts().get(0), most + added);
    String question =
        sample.texts().get(0).substring(0, Arrays.stream(asked.ends()).max().orElse(0));
    int room = inputs.length() - added - inputs.tokenizer().encode(question).length;
    int overlap = Math.max(0, Math.min(OVERLAP, room / 2));
    for (Encoding window :
        inputs.tokenizer().windows(question, sample.texts().get(1), inputs.length(), overlap)) {
      to.add(Example.of(window, span(sample, window)));
    }
  }

  /**
   * The first answer's first and last token; where the window lacks one of them, the first token.
   */
  private static int[] span(Sample sample, Encoding window) {
    int start = -1;
    int end = -1;
    for (int i = 0; i < window.length() && !sample.places().isEmpty(); i++) {
      int from = sample.places().get(0);
      int until = from + sample.gold().get(0).length();
      if (window.sequences()[i] == 1) {
        start = start < 0 && window.starts()[i] <= from && window.ends()[i] > from ? i : start;
        end = window.starts()[i] < until && window.ends()[i] >= until ? i : end;
      }
    }
    return start >= 0 && end >= start ? new int[] {start, end} : new int[2];
  }

  private record Span(int start, int end, double score) {}

  @Override
  Prediction predict(Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs) {
    Map<Integer, Integer> widest = widest(parts);
    List<Span> spans = new ArrayList<>();
    double none = Double.POSITIVE_INFINITY;
    for (int w = 0; w < parts.size(); w++) {
      float[] scores = outputs.get(w);
      Encoding window = parts.get(w).inputs().get(0);
      int length = window.length();
      none = Math.min(none, (double) scores[0] + scores[length]);
      for (int i : greatest(scores, 0, length)) {
        for (int j : greatest(scores, length, length)) {
          boolean inside = window.sequences()[i] == 1 && window.sequences()[j] == 1;
          if (inside && j >= i && j < i + MOST_ANSWER && widest.get(window.starts()[i]) == w) {
            spans.add(
                new Span(
                    window.starts()[i], window.ends()[j], (double) scores[i] + scores[length + j]));
          }
        }
      }
    }
    spans.sort(Comparator.comparingDouble(Span::score).reversed().thenComparing(Span::start));
    return prediction(sample, spec, spans, none);
  }

  /** The window in which a token has the most context to both sides (Devlin et al.'s code). */
  private static Map<Integer, Integer> widest(List<Example> parts) {
    Map<Integer, Integer> best = new HashMap<>();
    Map<Integer, Double> most = new HashMap<>();
    for (int w = 0; w < parts.size(); w++) {
      Encoding window = parts.get(w).inputs().get(0);
      int[] own =
          IntStream.range(0, window.length()).filter(i -> window.sequences()[i] == 1).toArray();
      for (int i = 0; i < own.length; i++) {
        double context = Math.min(i, own.length - 1 - i) + 0.01 * own.length;
        int start = window.starts()[own[i]];
        if (context > most.getOrDefault(start, -1.0)) {
          most.put(start, context);
          best.put(start, w);
        }
      }
    }
    return best;
  }

  private static int[] greatest(float[] scores, int from, int count) {
    return IntStream.range(0, count)
        .boxed()
        .sorted(Comparator.comparingDouble(i -> -scores[from + i]))
        .limit(BEST)
        .mapToInt(Integer::intValue)
        .toArray();
  }

  private static Prediction prediction(
      Sample sample, TaskSpec spec, List<Span> spans, double none) {
    String context = sample.texts().get(1);
    List<String> answers = new ArrayList<>();
    List<Span> kept = new ArrayList<>();
    if (spec.noAnswer() && (spans.isEmpty() || none > spans.get(0).score) || spans.isEmpty()) {
      answers.add("");
      kept.add(new Span(0, 0, none));
    }
    for (Span span : spans) {
      String text = context.substring(span.start, span.end);
      if (answers.size() < BEST && !answers.contains(text)) {
        answers.add(text);
        kept.add(span);
      }
    }
    float[] logits = new float[kept.size()];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) kept.get(i).score;
    }
    double[] shares = Losses.softmax(logits);
    List<Map<String, Object>> best = new ArrayList<>();
    List<Double> scores = new ArrayList<>();
    for (int i = 0; i < shares.length; i++) {
      scores.add(shares[i]);
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("answer", answers.get(i));
      one.put("start", kept.get(i).start);
      one.put("end", kept.get(i).end);
      one.put("score", shares[i]);
      best.add(one);
    }
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("id", sample.id());
    fields.putAll(best.get(0));
    fields.put("n_best", best.subList(1, best.size()));
    return new Prediction(answers, scores, fields);
  }

  @Override
  Map<String, Double> metrics(List<Sample> samples, List<Prediction> predictions, TaskSpec spec) {
    List<Squad.Question> questions = new ArrayList<>();
    Map<String, String> answers = new HashMap<>();
    for (int i = 0; i < samples.size(); i++) {
      // By number: ids of rows need not differ.
      String id = Integer.toString(i);
      List<String> gold = samples.get(i).gold();
      questions.add(new Squad.Question(id, gold.equals(List.of("")) ? List.of() : gold));
      answers.put(id, predictions.get(i).values().get(0));
    }
    Squad.Scores scores = Squad.score(questions, answers).all();
    Map<String, Double> metrics = new LinkedHashMap<>();
    metrics.put("f1", scores.f1());
    metrics.put("exact", scores.exact());
    return metrics;
  }
}
