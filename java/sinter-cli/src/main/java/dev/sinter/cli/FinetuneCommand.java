package dev.sinter.cli;

import dev.sinter.finetune.Evaluation;
import dev.sinter.finetune.FineTuner;
import dev.sinter.finetune.Task;
import dev.sinter.graph.Device;
import dev.sinter.graph.PeakRate;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import me.tongfei.progressbar.ProgressBar;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Tunes a pre-trained model for a task. */
@Command(
    name = "finetune",
    description = "Tunes a pre-trained model for a task, on your own data.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Tasks and what they read (the ending of a file's name says its format):",
      "  classify    .csv .tsv .jsonl: text or sentence, or sentence1+sentence2,",
      "              premise+hypothesis, question1+question2 …; label, a name or a",
      "              number, or labels, an array",
      "  tag         CoNLL columns, token first and tag last; or .jsonl: tokens and",
      "              tags or ner_tags, two arrays",
      "  qa          SQuAD's JSON, 1.1 or 2; or .jsonl: question, context, answers",
      "              {text[], answer_start[]}, id",
      "  choice      .csv .tsv .jsonl: prompt, question or ctx; choices or endings, or",
      "              choice0, choice1 …; label",
      "  similarity  .csv .tsv .jsonl: a pair as of classify; score",
      "  retrieve    .csv .tsv .jsonl: query or anchor; positive; negative if there is",
      "              one, or an array of them",
      "  rank        .csv .tsv .jsonl: query; document or passage; label, 0 or more",
      "  lm          .csv .tsv .jsonl: text; or any file, as one text",
      "  translate   .csv .tsv .jsonl: source, target; or translation, an object; or",
      "              .txt: source, tab, target",
      "",
      "Writes the model in Hugging Face's layout, of all evaluations the best one's, with",
      "the tokenizer, task.json, metrics.csv, TensorBoard's events, and report.json, which",
      "./sinter report shows. The head is new where the model has none for the task, or one",
      "for other labels.",
      "",
      "Examples:",
      "  ./sinter finetune --task classify --model bert --train train.csv --valid valid.csv"
          + " --out sentiment",
      "  ./sinter finetune --task tag --model bert --train train.conll --valid valid.conll --out"
          + " ner --freeze embeddings,0-5",
      "  ./sinter finetune --task classify --model bert --train train.csv --valid valid.csv"
          + " --out small --adapter lora --rank 8 --lr 1e-3",
      "  ./sinter finetune --task lm --model gpt2 --train text.txt --out style --adapter lora"
          + " --weights q4",
      "  ./sinter predict --model ner --input lines.txt"
    })
final class FinetuneCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--task",
      paramLabel = "TASK",
      required = true,
      description = "classify, tag, qa, choice, similarity, retrieve, rank, lm or translate.")
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
      description = "What chooses the best checkpoint; without it the last is kept.")
  private Path valid;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Where the tuned model goes.")
  private Path out;

  @Option(
      names = "--epochs",
      defaultValue = "3",
      description = "How often the data are seen; may be a fraction (default: ${DEFAULT-VALUE}).")
  private double epochs;

  @Option(
      names = "--batch",
      defaultValue = "16",
      description = "Examples of a pass (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--accumulate",
      defaultValue = "1",
      description = "Passes of a step (default: ${DEFAULT-VALUE}).")
  private int accumulate;

  @Option(
      names = "--length",
      paramLabel = "N",
      description = "Most tokens of an input (default: the context; of qa 384).")
  private Integer length;

  @Option(
      names = "--lr",
      defaultValue = "5e-5",
      description = "Peak learning rate; it falls to 0 (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Option(
      names = "--warmup",
      defaultValue = "0.1",
      description = "Share of the steps over which it rises (default: ${DEFAULT-VALUE}).")
  private double warmup;

  @Option(
      names = "--weight-decay",
      defaultValue = "0.01",
      description = "Of matrices and tables (default: ${DEFAULT-VALUE}).")
  private double weightDecay;

  @Option(
      names = "--grad-clip",
      defaultValue = "1",
      description =
          "Most that the gradients' norm may be; 0: no limit (default: ${DEFAULT-VALUE}).")
  private double clip;

  @Option(
      names = "--labels",
      paramLabel = "A,B…",
      split = ",",
      description = "The labels and their order (default: those of the data, sorted).")
  private List<String> labels = new ArrayList<>();

  @Option(
      names = "--class-weights",
      paramLabel = "W",
      description = "balanced, or label=weight,label=weight…")
  private String classWeights;

  @Option(
      names = "--freeze",
      paramLabel = "PARTS",
      defaultValue = "",
      description = "What stays as it is: embeddings and layers, as embeddings,0-5.")
  private String freeze;

  @Option(
      names = "--layer-decay",
      defaultValue = "1",
      description = "Learning rate from a layer to the one below (default: ${DEFAULT-VALUE}).")
  private double layerDecay;

  @Option(
      names = "--eval-every",
      paramLabel = "STEPS",
      description = "Steps between evaluations (default: an epoch's).")
  private Long evalEvery;

  @Option(
      names = "--patience",
      defaultValue = "0",
      description =
          "Evaluations that are no better before it stops; 0: never (default:"
              + " ${DEFAULT-VALUE}).")
  private int patience;

  @Option(
      names = "--seed",
      defaultValue = "42",
      description = "Of the head, the order and dropout (default: ${DEFAULT-VALUE}).")
  private long seed;

  @Mixin private AdaptingOptions adapter;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  private ProgressBar bar;
  private String judged = "";
  private PeakRate peak;

  @Override
  public Integer call() throws IOException {
    PrintWriter err = spec.commandLine().getErr();
    FineTuner.Outcome outcome;
    try (Device where = device.open()) {
      peak = where.peak(dtype.get());
      err.printf("MFU is of %s%n", peak);
      outcome =
          tuner()
              .onStep(step -> show(step, err))
              .onEvaluation(evaluation -> show(evaluation, err))
              .onWarning(warning -> err.println("sinter: " + warning))
              .device(where)
              .run();
    } finally {
      if (bar != null) {
        bar.close();
      }
    }
    FinetuneReport.write(out, Task.named(task), outcome);
    err.println("model: " + out);
    Evaluation best = outcome.best();
    if (best != null) {
      spec.commandLine().getOut().println(metrics(best));
    }
    return 0;
  }

  /** The run that the options ask for. */
  FineTuner tuner() {
    adapter.check();
    FineTuner tuner =
        FineTuner.of(Task.named(task), model)
            .train(train)
            .validation(valid)
            .out(out)
            .epochs(epochs)
            .batch(batch)
            .accumulate(accumulate)
            .learningRate(learningRate)
            .warmup(warmup)
            .weightDecay(weightDecay)
            .clip(clip)
            .labels(labels)
            .freeze(freeze)
            .layerDecay(layerDecay)
            .patience(patience)
            .seed(seed)
            .dtype(dtype.get());
    if (adapter.given()) {
      tuner.adapter(adapter::config).packed(adapter.packed());
    }
    if (adapter.merges()) {
      tuner.merge();
    }
    if (length != null) {
      tuner.length(length);
    }
    if (evalEvery != null) {
      tuner.evaluateEvery(evalEvery);
    }
    if (classWeights != null) {
      tuner.classWeights(weights());
    }
    return tuner;
  }

  private Map<String, Double> weights() {
    if (classWeights.equals("balanced")) {
      return FineTuner.BALANCED;
    }
    Map<String, Double> weights = new HashMap<>();
    for (String one : classWeights.split(",", -1)) {
      int at = one.lastIndexOf('=');
      try {
        weights.put(one.substring(0, Math.max(0, at)), Double.parseDouble(one.substring(at + 1)));
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException(
            "--class-weights " + one + "; balanced, or label=weight,label=weight…", e);
      }
    }
    return weights;
  }

  private void show(FineTuner.Progress step, PrintWriter err) {
    String status =
        String.format(
            Locale.ROOT,
            "loss %.3f%s  %,.0f tok/s  MFU %.1f%%",
            step.loss(),
            judged,
            step.tokensPerSecond(),
            100 * peak.share(step.flopsPerSecond()));
    if (Terminal.isInteractive()) {
      bar = bar == null ? Terminal.bar(task, 0, step.steps()) : bar;
      bar.stepTo(step.step());
      bar.setExtraMessage(status);
    } else if (step.step() % Math.max(1, step.steps() / 20) == 0 || step.step() == step.steps()) {
      err.printf(
          Locale.ROOT,
          "step %d/%d  epoch %.2f  %s%n",
          step.step(),
          step.steps(),
          step.epoch(),
          status);
    }
  }

  private void show(Evaluation evaluation, PrintWriter err) {
    Iterator<Map.Entry<String, Double>> first = evaluation.metrics().entrySet().iterator();
    Map.Entry<String, Double> metric = first.next();
    judged = String.format(Locale.ROOT, "  %s %.4f", metric.getKey(), metric.getValue());
    if (bar == null) {
      err.printf(
          Locale.ROOT,
          "step %d  validation loss %.4f  %s%s%n",
          evaluation.step(),
          evaluation.loss(),
          metrics(evaluation).replace("\n", "  "),
          evaluation.best() ? "  best" : "");
    }
  }

  private static String metrics(Evaluation evaluation) {
    return evaluation.metrics().entrySet().stream()
        .map(metric -> String.format(Locale.ROOT, "%s %.4f", metric.getKey(), metric.getValue()))
        .collect(Collectors.joining("\n"));
  }
}
