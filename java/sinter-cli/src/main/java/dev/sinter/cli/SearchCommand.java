package dev.sinter.cli;

import dev.sinter.finetune.Evaluation;
import dev.sinter.finetune.Task;
import dev.sinter.graph.Device;
import dev.sinter.report.HtmlReport;
import dev.sinter.report.RunRecord;
import dev.sinter.search.Asha;
import dev.sinter.search.Goal;
import dev.sinter.search.Method;
import dev.sinter.search.Outcome;
import dev.sinter.search.RandomSearch;
import dev.sinter.search.Search;
import dev.sinter.search.Space;
import dev.sinter.search.Standings;
import dev.sinter.search.Trial;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Searches for the options of finetune. */
@Command(
    name = "search",
    description = "Searches for the options with which finetune gives the best model.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "The space is a JSON object. Its names are options of finetune without the dashes, its"
          + " values",
      "constants (a flag is true or false), lists to choose from, or ranges:",
      "  {\"lr\": {\"log_uniform\": [1e-5, 1e-3]}, \"weight-decay\": {\"uniform\": [0, 0.1]},",
      "   \"rank\": {\"integers\": [4, 16]}, \"batch\": [8, 16, 32], \"adapter\": \"lora\"}",
      "",
      "asha trains every trial for --min-epochs, and of each --reduction trials the best that many",
      "times as long, up to --epochs (Li et al. 2020); random trains all of them for --epochs. A",
      "trial that goes on is trained again from the start, with the same seed and a learning rate",
      "that falls over the longer run.",
      "",
      "Metrics: loss; of classify accuracy, macro_f1, matthews; of tag f1; of qa f1, exact; of"
          + " choice",
      "accuracy; of similarity pearson, spearman; of retrieve and rank mrr@10, ndcg@10; of lm",
      "perplexity; of translate bleu. They are of the checkpoint that finetune would keep.",
      "",
      "Writes best, the best model's folder; trials.csv, trials.png, trials.html; and"
          + " search.jsonl,",
      "from which a search that was killed goes on.",
      "",
      "Examples:",
      "  ./sinter search --space space.json --task classify --model bert --train train.csv"
          + " --valid valid.csv --metric accuracy --out search",
      "  ./sinter search … --out search --trials 40 --resume"
    })
final class SearchCommand implements Callable<Integer> {
  private static final String LOG = "search.jsonl";
  private static final int COMPARED = 20;

  @Spec private CommandSpec spec;

  @Option(
      names = "--space",
      paramLabel = "FILE",
      required = true,
      description = "The options and what each is drawn from, as JSON.")
  private Path space;

  @Option(names = "--task", paramLabel = "TASK", required = true, description = "As of finetune.")
  private String task;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "The pre-trained model's folder.")
  private Path model;

  @Option(
      names = "--train",
      paramLabel = "FILE",
      required = true,
      description = "What is learned from.")
  private Path train;

  @Option(
      names = "--valid",
      paramLabel = "FILE",
      required = true,
      description = "What trials are judged by.")
  private Path valid;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Where the best model and the tables go.")
  private Path out;

  @Option(
      names = "--metric",
      paramLabel = "NAME",
      required = true,
      description = "What is to be best.")
  private String metric;

  @Option(
      names = "--trials",
      paramLabel = "N",
      defaultValue = "20",
      description = "How many draws from the space (default: ${DEFAULT-VALUE}).")
  private int trials;

  @Option(
      names = "--method",
      paramLabel = "NAME",
      defaultValue = "asha",
      description = "asha or random (default: ${DEFAULT-VALUE}).")
  private String method;

  @Option(
      names = "--epochs",
      paramLabel = "N",
      defaultValue = "9",
      description = "Epochs of a whole training (default: ${DEFAULT-VALUE}).")
  private int epochs;

  @Option(
      names = "--min-epochs",
      paramLabel = "N",
      defaultValue = "1",
      description = "Epochs of asha's first rung (default: ${DEFAULT-VALUE}).")
  private int minEpochs;

  @Option(
      names = "--reduction",
      paramLabel = "N",
      defaultValue = "3",
      description = "One of so many is promoted by asha (default: ${DEFAULT-VALUE}).")
  private int reduction;

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "42",
      description = "Of the draws, and of trainings (default: ${DEFAULT-VALUE}).")
  private long seed;

  @Option(names = "--resume", description = "Go on with the search in --out.")
  private boolean resume;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    Path log = out.resolve(LOG);
    if (Files.exists(log) != resume) {
      throw new IllegalArgumentException(
          resume
              ? out + ": holds no search; leave --resume out to begin one"
              : out + ": holds a search; go on with it by --resume, or name another folder");
    }
    Task.named(task);
    Space options = Space.read(space);
    Method plan = plan();
    FinetuneTrials objective =
        new FinetuneTrials(spec.commandLine().getErr(), metric, out, seed, fixed());
    objective.check(options.draw(trials, seed), plan.rungs());
    Files.createDirectories(out);
    Standings standings;
    try (Device where = device.open()) {
      standings =
          Search.of(options, plan, goal(metric), seed)
              .settings(settings())
              .onResult(objective::heard)
              .run(log, objective.on(where));
    } catch (IllegalArgumentException e) {
      if (objective.standings().history().isEmpty()) {
        Files.deleteIfExists(log); // No search was begun that another would have to make way for.
      }
      throw e;
    }
    write(standings);
    print(standings);
    return 0;
  }

  private Method plan() {
    return switch (method) {
      case "asha" -> new Asha(trials, minEpochs, epochs, reduction);
      case "random" -> new RandomSearch(trials, epochs);
      default -> throw new IllegalArgumentException("--method " + method + "; asha or random");
    };
  }

  /** Which of a metric's values is better. */
  static Goal goal(String metric) {
    return Evaluation.lowerIsBetter(metric) ? Goal.MINIMIZE : Goal.MAXIMIZE;
  }

  /** The options of finetune that all trials have. */
  private Map<String, String> fixed() {
    Map<String, String> fixed = new TreeMap<>();
    fixed.put("task", task);
    fixed.put("model", model.toString());
    fixed.put("train", train.toString());
    fixed.put("valid", valid.toString());
    return fixed;
  }

  private Map<String, String> settings() {
    Map<String, String> settings = fixed();
    settings.put("metric", metric);
    return settings;
  }

  private void write(Standings standings) throws IOException {
    new TrialTable(standings, metric).writeCsv(out.resolve("trials.csv"));
    PrintWriter err = spec.commandLine().getErr();
    Path plot = out.resolve("trials.png");
    try {
      TrialPlot.draw(standings, metric, goal(metric), "epochs", plot);
      err.println("plot: " + plot);
    } catch (IOException e) {
      err.println("sinter: " + e.getMessage());
    }
    List<RunRecord> records = new ArrayList<>();
    for (Outcome outcome : standings.ranking()) {
      Path folder = FinetuneTrials.folder(out, outcome.trial(), outcome.resource());
      if (records.size() < COMPARED && Files.exists(folder.resolve(RunRecord.FILE))) {
        records.add(RunRecord.read(folder));
      }
    }
    if (!records.isEmpty()) {
      Path page = out.resolve("trials.html");
      HtmlReport.write(page, records);
      err.println("report: " + page);
    }
  }

  private void print(Standings standings) {
    PrintWriter print = spec.commandLine().getOut();
    print.print(new TrialTable(standings, metric).text());
    standings
        .best()
        .ifPresentOrElse(
            best ->
                print.printf(
                    Locale.ROOT,
                    "best: trial %d, epochs %d, %s %.4f, in %s%n",
                    best.trial().number(),
                    best.resource(),
                    metric,
                    best.metric(),
                    out.resolve(FinetuneTrials.BEST)),
            () -> print.println("best: none; every trial failed"));
  }

  /** A trial's options as a user would write them. */
  static String shown(Trial trial) {
    List<String> shown = new ArrayList<>();
    trial.options().forEach((name, value) -> shown.add("--" + name + " " + value));
    return String.join(" ", shown);
  }
}
