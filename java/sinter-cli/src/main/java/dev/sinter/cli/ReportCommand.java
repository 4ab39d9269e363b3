package dev.sinter.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.evaluate.Calibration;
import dev.sinter.evaluate.Confusion;
import dev.sinter.report.HtmlReport;
import dev.sinter.report.RunRecord;
import dev.sinter.report.TextReport;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Shows what runs left behind. */
@Command(
    name = "report",
    description = "Prints the tables of a run, or several side by side, and writes them as a page.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "A run leaves report.json in its folder; of one that goes on metrics.csv gives the curves.",
      "The page is one file of HTML that needs nothing else: curves, tables, samples, settings.",
      "",
      "Examples:",
      "  ./sinter report runs/ner",
      "  ./sinter report runs/full runs/lora runs/adapter --out compared.html"
    })
final class ReportCommand implements Callable<Integer> {
  private static final String PAGE = "report.html";

  @Spec private CommandSpec spec;

  @Parameters(paramLabel = "RUN_DIR", arity = "1..*", description = "Folders of runs.")
  private List<Path> folders;

  @Option(
      names = "--out",
      paramLabel = "FILE",
      description = "The page (default: " + PAGE + " in the run's folder; of several runs, here).")
  private Path out;

  @Option(names = "--json", description = "Print one JSON object.")
  private boolean json;

  @Override
  public Integer call() throws IOException {
    List<RunRecord> runs = new ArrayList<>();
    for (Path folder : folders) {
      runs.add(RunRecord.read(folder));
    }
    runs = distinct(runs);
    Path page = out == null ? page() : out;
    HtmlReport.write(page, runs);
    spec.commandLine().getOut().print(json ? json(runs) + "\n" : TextReport.of(runs));
    spec.commandLine().getOut().flush();
    spec.commandLine().getErr().println("page: " + page);
    return 0;
  }

  private Path page() {
    if (folders.size() > 1) {
      return Path.of(PAGE);
    }
    Path folder = folders.get(0);
    return Files.isDirectory(folder) ? folder.resolve(PAGE) : folder.resolveSibling(PAGE);
  }

  /** Runs of one name are told apart by their folders. */
  private List<RunRecord> distinct(List<RunRecord> runs) {
    if (runs.stream().map(RunRecord::name).distinct().count() == runs.size()) {
      return runs;
    }
    List<RunRecord> named = new ArrayList<>();
    for (int i = 0; i < runs.size(); i++) {
      named.add(runs.get(i).named(folders.get(i).toString()));
    }
    return named;
  }

  /** README.md documents it: change both together. */
  private static String json(List<RunRecord> runs) {
    ObjectNode root = JsonNodeFactory.instance.objectNode();
    ArrayNode all = root.putArray("runs");
    for (RunRecord run : runs) {
      ObjectNode one = all.addObject();
      one.put("name", run.name()).put("task", run.task()).put("date", run.date().toString());
      ObjectNode metrics = one.putObject("metrics");
      for (RunRecord.Metric metric : run.metrics()) {
        EvalOutput.put(metrics, metric.name(), metric.value());
      }
      run.settings().forEach(one.putObject("settings")::put);
      run.entities().ifPresent(entities -> one.set("entities", EvalOutput.json(entities)));
      run.confusion().ifPresent(confusion -> put(one, confusion));
      run.calibration().ifPresent(bins -> put(one.putObject("calibration"), bins));
    }
    return root.toString();
  }

  private static void put(ObjectNode run, Confusion confusion) {
    run.put("accuracy", confusion.accuracy()).put("matthews", confusion.matthews());
    run.set("labels", EvalOutput.json(confusion.report()));
  }

  private static void put(ObjectNode json, Calibration calibration) {
    json.put("expected_error", calibration.expectedError()).put("brier", calibration.brier());
    json.put("predictions", calibration.count());
  }
}
