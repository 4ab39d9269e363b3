package dev.sinter.cli;

import dev.sinter.Gpt;
import dev.sinter.data.TextFiles;
import dev.sinter.data.Tokens;
import dev.sinter.evaluate.Bleu;
import dev.sinter.evaluate.ChoiceScorer;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.Correlation;
import dev.sinter.evaluate.Entities;
import dev.sinter.evaluate.ExactMatch;
import dev.sinter.evaluate.MultipleChoice;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.evaluate.Ranking;
import dev.sinter.evaluate.Squad;
import dev.sinter.graph.Device;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import me.tongfei.progressbar.ProgressBar;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Evaluates a model, or what some model predicted. */
@Command(
    name = "eval",
    description = "Computes a model's loss and perplexity on a text, or another metric.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Tasks that run a model (--model, --data):",
      "  lm         loss and perplexity of a text",
      "  choice     multiple choice, a line of JSON each: {\"ctx\", \"endings\", \"label\"}",
      "",
      "Tasks that compare files (--predictions, --references):",
      "  bleu       a text a line; several files of references may be named",
      "  match      the same; the share of lines that equal a reference",
      "  squad      {id: answer}, and the questions as SQuAD has them, version 1 or 2",
      "  ner        CoNLL columns, the tag last; in one file the right and the predicted",
      "  classify   a label a line; in one file the right one, a tab, the predicted",
      "  correlate  the same with numbers",
      "  rank       query, document, score or relevance a line; or TREC's columns",
      "",
      "Examples:",
      "  ./sinter eval --model model --data valid.txt --stride 32",
      "  ./sinter eval --task choice --model model --data hellaswag_val.jsonl",
      "  ./sinter eval --task bleu --predictions out.de --references newstest.de",
      "  ./sinter eval --task ner --predictions tagged.conll --json"
    })
final class EvalCommand implements Callable<Integer> {
  private static final Pattern WORD = Pattern.compile("\\S+");

  /** What to compute. */
  enum Task {
    LM,
    CHOICE,
    BLEU,
    MATCH,
    SQUAD,
    NER,
    CLASSIFY,
    CORRELATE,
    RANK;

    boolean runsAModel() {
      return this == LM || this == CHOICE;
    }

    /** Whether one file may hold both what is right and what was predicted. */
    boolean readsOneFile() {
      return this == NER || this == CLASSIFY || this == CORRELATE;
    }

    /** Whether an option means something to it. */
    boolean knows(String option) {
      return switch (option) {
        case "--task", "--json", "--debug" -> true;
        case "--model", "--data", "--dtype", "--device", "--threads" -> runsAModel();
        case "--predictions", "--references" -> !runsAModel();
        case "--stride" -> this == LM;
        case "--limit", "--harness" -> this == CHOICE;
        case "--scheme" -> this == NER;
        case "--k", "--gain" -> this == RANK;
        default -> false;
      };
    }

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  @Spec private CommandSpec spec;

  @Option(
      names = "--task",
      paramLabel = "TASK",
      defaultValue = "lm",
      description = "${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
  private Task task;

  @Option(names = "--model", paramLabel = "DIR", description = "Folder of the model.")
  private Path model;

  @Option(
      names = "--data",
      paramLabel = "PATH",
      arity = "1..*",
      description = "lm: files, folders, or jars of sources; choice: a file.")
  private List<Path> data;

  @Option(
      names = "--stride",
      paramLabel = "N",
      defaultValue = "0",
      description =
          "lm: tokens from window to window: fewer give each token more context; 0: the context"
              + " (default: ${DEFAULT-VALUE}).")
  private int stride;

  @Option(
      names = "--limit",
      paramLabel = "N",
      defaultValue = "0",
      description = "choice: the first N questions; 0: all (default: ${DEFAULT-VALUE}).")
  private int limit;

  @Option(
      names = "--harness",
      description =
          "choice: HellaSwag's texts as lm-evaluation-harness prepares them: the activity first,"
              + " without markup.")
  private boolean harness;

  @Option(names = "--predictions", paramLabel = "FILE", description = "What was predicted.")
  private Path predictions;

  @Option(
      names = "--references",
      paramLabel = "FILE",
      arity = "1..*",
      description = "What is right; bleu and match take several files.")
  private List<Path> references;

  @Option(
      names = "--scheme",
      paramLabel = "SCHEME",
      defaultValue = "conll",
      description =
          "ner: conll reads IOB1 and IOB2 as conlleval does, iob2 is strict: entities start at B"
              + " alone (default: ${DEFAULT-VALUE}).")
  private Entities.Scheme scheme;

  @Option(
      names = "--k",
      paramLabel = "N",
      defaultValue = "10",
      description = "rank: documents of a query that count (default: ${DEFAULT-VALUE}).")
  private int k;

  @Option(
      names = "--gain",
      paramLabel = "GAIN",
      defaultValue = "exponential",
      description =
          "rank: of nDCG; exponential: 2^relevance - 1, linear: relevance"
              + " (default: ${DEFAULT-VALUE}).")
  private Ranking.Gain gain;

  @Option(names = "--json", description = "Print one JSON object.")
  private boolean json;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    checkOptions();
    EvalOutput output =
        switch (task) {
          case LM -> perplexity();
          case CHOICE -> choice();
          case BLEU -> bleu();
          case MATCH -> match();
          case SQUAD -> squad();
          case NER -> entities();
          case CLASSIFY -> classify();
          case CORRELATE -> correlate();
          case RANK -> rank();
        };
    spec.commandLine().getOut().println(json ? output.json(task.toString()) : output.text());
    return 0;
  }

  /** An option of another task is a mistake, not to be passed over. */
  private void checkOptions() {
    for (OptionSpec option : spec.commandLine().getParseResult().matchedOptions()) {
      if (!task.knows(option.longestName())) {
        throw usage(option.longestName() + " means nothing to --task " + task);
      }
    }
    if (task.runsAModel()) {
      if (model == null || data == null) {
        throw usage("--task " + task + " needs --model and --data");
      }
    } else if (predictions == null || (references == null && !task.readsOneFile())) {
      String and = task.readsOneFile() ? "" : " and --references";
      throw usage("--task " + task + " needs --predictions" + and);
    }
    boolean severalFiles = task == Task.BLEU || task == Task.MATCH;
    if (references != null && references.size() > 1 && !severalFiles) {
      throw usage("--task " + task + " takes one file of --references");
    }
    if (task == Task.CHOICE && data.size() > 1) {
      throw usage("--task choice takes one file of --data");
    }
    if (limit < 0 || k < 1) {
      throw usage("--limit is 0 or more, --k 1 or more");
    }
  }

  private ParameterException usage(String problem) {
    return new ParameterException(spec.commandLine(), problem);
  }

  private Path reference() {
    return references == null ? null : references.get(0);
  }

  private EvalOutput perplexity() throws IOException {
    String text = TextFiles.read(data);
    try (Device where = device.open();
        Gpt gpt = Gpt.load(model, where, dtype.get())) {
      Tokens tokens = Tokens.of(gpt.tokenizer().encode(text));
      int context = gpt.model().config().context();
      try (Perplexity perplexity =
              new Perplexity(gpt.model(), context, stride == 0 ? context : stride);
          ProgressBar bar = bar()) {
        Perplexity.Result result = perplexity.evaluate(tokens, 0, progress(bar));
        // The first token is given, not predicted, so its words and bytes do not count.
        String first = gpt.tokenizer().decode(tokens.get(0));
        String predicted = text.substring(Math.min(first.length(), text.length()));
        long bytes = predicted.getBytes(StandardCharsets.UTF_8).length;
        return EvalOutput.of(result, WORD.matcher(predicted).results().count(), bytes);
      }
    }
  }

  private EvalOutput choice() throws IOException {
    List<ChoiceScorer.Item> items = EvalFiles.choices(data.get(0), harness, limit);
    try (Device where = device.open();
        Gpt gpt = Gpt.load(model, where, dtype.get());
        ProgressBar bar = bar()) {
      return EvalOutput.of(
          MultipleChoice.score(
              ChoiceScorer.ask(gpt.model(), gpt.tokenizer(), items, progress(bar))));
    }
  }

  /** Null, which try-with-resources passes over, where nobody watches. */
  static ProgressBar bar() {
    return Terminal.isInteractive() ? Terminal.bar("evaluating", 0, 0) : null;
  }

  static Perplexity.Progress progress(ProgressBar bar) {
    return (done, all) -> {
      if (bar != null) {
        bar.maxHint(all).stepTo(done);
      }
    };
  }

  private EvalOutput bleu() throws IOException {
    List<String> hypotheses = EvalFiles.lines(predictions);
    return EvalOutput.of(
        Bleu.corpus(hypotheses, EvalFiles.references(predictions, hypotheses.size(), references)));
  }

  private EvalOutput match() throws IOException {
    List<String> texts = EvalFiles.lines(predictions);
    double share =
        ExactMatch.score(texts, EvalFiles.references(predictions, texts.size(), references));
    return EvalOutput.exactMatch(share, texts.size());
  }

  private EvalOutput squad() throws IOException {
    return EvalOutput.of(
        Squad.score(EvalFiles.questions(reference()), EvalFiles.answers(predictions)));
  }

  private EvalOutput entities() throws IOException {
    EvalFiles.Pairs<List<String>> tags = EvalFiles.tags(predictions, reference());
    if (tags.gold().isEmpty()) {
      throw new FormatException(predictions, "has no sentences");
    }
    return EvalOutput.of(
        Entities.score(tags.gold(), tags.predicted(), scheme),
        Confusion.of(flat(tags.gold()), flat(tags.predicted())));
  }

  private static List<String> flat(List<List<String>> sentences) {
    return sentences.stream().flatMap(List::stream).toList();
  }

  private EvalOutput classify() throws IOException {
    EvalFiles.Pairs<String> labels = EvalFiles.labels(predictions, reference());
    return EvalOutput.of(Confusion.of(labels.gold(), labels.predicted()));
  }

  private EvalOutput correlate() throws IOException {
    EvalFiles.Pairs<Double> pairs = EvalFiles.numbers(predictions, reference());
    double[] gold = pairs.gold().stream().mapToDouble(Double::doubleValue).toArray();
    double[] predicted = pairs.predicted().stream().mapToDouble(Double::doubleValue).toArray();
    return EvalOutput.correlation(
        Correlation.pearson(gold, predicted), Correlation.spearman(gold, predicted), gold.length);
  }

  private EvalOutput rank() throws IOException {
    return EvalOutput.of(
        Ranking.score(EvalFiles.judgements(reference()), EvalFiles.rankings(predictions), k, gain),
        k,
        gain);
  }
}
