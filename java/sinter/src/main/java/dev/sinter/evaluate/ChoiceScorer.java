package dev.sinter.evaluate;

import dev.sinter.model.EvaluationGraph;
import dev.sinter.model.LanguageModel;
import dev.sinter.text.Tokenizer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Asks a model {@linkplain MultipleChoice multiple choice}: what it thinks of each ending after its
 * context. Endings of about one length are computed together, those of all questions.
 */
public final class ChoiceScorer {
  /** Rows are evaluated together until they hold this many tokens. */
  private static final int TOKENS_AT_ONCE = 1024;

  /** Lengths are rounded up to a multiple of this, so that few graphs serve all questions. */
  private static final int LENGTH_STEP = 16;

  private static final int IGNORED = -100;

  private ChoiceScorer() {}

  /**
   * A question.
   *
   * @param context what comes before; at least one token
   * @param endings to choose from, each with a blank between it and the context, which is not part
   *     of it
   * @param gold index of the right one
   */
  public record Item(String context, List<String> endings, int gold) {}

  /** A context with one ending, as tokens. */
  private record Row(int[] tokens, int continuation) {
    /** Every token but the first is predicted from those before it. */
    int inputs() {
      return tokens.length - 1;
    }
  }

  /**
   * Asks the questions.
   *
   * @param model to ask
   * @param tokenizer of its texts; context, and blank with ending, are encoded apart
   * @param items the questions; a context that is too long for the model loses its beginning
   * @param progress hears how many endings are done
   * @return what the model thinks of each ending of each question
   * @throws IllegalArgumentException where a context or an ending is empty, or an ending alone is
   *     longer than the model's context
   */
  public static List<MultipleChoice.Question> ask(
      LanguageModel model, Tokenizer tokenizer, List<Item> items, Perplexity.Progress progress) {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < items.size(); i++) {
      int[] context = tokenizer.encode(items.get(i).context());
      for (String ending : items.get(i).endings()) {
        int[] continuation = tokenizer.encode(" " + ending);
        rows.add(row(context, continuation, model.config().context(), i));
      }
    }
    double[] logprobs = logprobs(model, rows, progress);
    List<MultipleChoice.Question> questions = new ArrayList<>();
    int row = 0;
    for (Item item : items) {
      List<MultipleChoice.Ending> endings = new ArrayList<>();
      for (String ending : item.endings()) {
        int characters = ending.codePointCount(0, ending.length());
        endings.add(
            new MultipleChoice.Ending(logprobs[row], rows.get(row).continuation(), characters));
        row++;
      }
      questions.add(new MultipleChoice.Question(List.copyOf(endings), item.gold()));
    }
    return questions;
  }

  private static Row row(int[] context, int[] continuation, int most, int item) {
    if (context.length == 0 || continuation.length > most) {
      throw new IllegalArgumentException(
          context.length == 0
              ? "the context of question " + (item + 1) + " is empty"
              : String.format(
                  "an ending of question %d has %d tokens; the model's context is %d",
                  item + 1, continuation.length, most));
    }
    int dropped = Math.max(0, context.length + continuation.length - 1 - most);
    int kept = context.length - dropped;
    int[] tokens = new int[kept + continuation.length];
    System.arraycopy(context, dropped, tokens, 0, kept);
    System.arraycopy(continuation, 0, tokens, kept, continuation.length);
    return new Row(tokens, continuation.length);
  }

  /** The log-probability of each row's continuation. */
  private static double[] logprobs(
      LanguageModel model, List<Row> rows, Perplexity.Progress progress) {
    double[] logprobs = new double[rows.size()];
    // The longest first: memory that is not there is missed at once.
    List<Integer> order =
        IntStream.range(0, rows.size())
            .boxed()
            .sorted(Comparator.comparing((Integer i) -> rows.get(i).inputs()).reversed())
            .toList();
    for (int from = 0; from < order.size(); ) {
      int length = paddedLength(rows.get(order.get(from)), model);
      int to = from;
      while (to < order.size() && paddedLength(rows.get(order.get(to)), model) == length) {
        to++;
      }
      int batch = Math.min(Math.max(1, TOKENS_AT_ONCE / length), to - from);
      try (EvaluationGraph graph = model.lossGraph(batch, length)) {
        for (; from < to; from += batch) {
          List<Integer> some = order.subList(from, Math.min(from + batch, to));
          run(graph, rows, some, batch, length, logprobs);
          progress.at(from + some.size(), rows.size());
        }
      }
      from = to;
    }
    return logprobs;
  }

  private static int paddedLength(Row row, LanguageModel model) {
    int rounded = (row.inputs() + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP;
    return Math.min(rounded, model.config().context());
  }

  private static void run(
      EvaluationGraph graph,
      List<Row> rows,
      List<Integer> some,
      int batch,
      int length,
      double[] logprobs) {
    IntBuffer inputs = graph.tokens();
    IntBuffer targets = graph.targets();
    for (int i = 0; i < batch * length; i++) {
      inputs.put(i, 0);
      targets.put(i, IGNORED);
    }
    for (int i = 0; i < some.size(); i++) {
      Row row = rows.get(some.get(i));
      for (int j = 0; j < row.inputs(); j++) {
        inputs.put(i * length + j, row.tokens()[j]);
        if (j >= row.inputs() - row.continuation()) {
          targets.put(i * length + j, row.tokens()[j + 1]);
        }
      }
    }
    FloatBuffer losses = graph.run();
    for (int i = 0; i < some.size(); i++) {
      for (int j = 0; j < length; j++) {
        logprobs[some.get(i)] -= losses.get(i * length + j);
      }
    }
  }
}
