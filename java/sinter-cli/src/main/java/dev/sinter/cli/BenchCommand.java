package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.model.Decoder;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TrainingGraph;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.function.DoubleSupplier;
import java.util.stream.DoubleStream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Measures how fast a model runs, or a tokenizer. */
@Command(
    name = "bench",
    description =
        "Measures tokens per second: prefill (pp), decoding (tg) and, if asked, training (train);"
            + " or megabytes per second of a tokenizer.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Examples:",
      "  ./sinter bench                                   GPT-2 124M's shape with random weights",
      "  ./sinter bench --dtype bf16 --train 4x256 --json",
      "  ./sinter bench --pp 0 --overhead                 what JNI and the graph cost a token",
      "  ./sinter bench --model model --pp 512 --tg 128 --batch 8",
      "  ./sinter bench --tokenizer bpe:8192 --data corpus.txt"
    })
final class BenchCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      description = "Folder of a model; without it GPT-2 124M's shape with random weights.")
  private Path folder;

  @Option(
      names = "--pp",
      paramLabel = "N",
      defaultValue = "512",
      description = "Tokens of the prompt; 0: none (default: ${DEFAULT-VALUE}).")
  private int prefill;

  @Option(
      names = "--tg",
      paramLabel = "N",
      defaultValue = "128",
      description = "Tokens to generate; 0: none (default: ${DEFAULT-VALUE}).")
  private int decode;

  @Option(
      names = "--batch",
      paramLabel = "N",
      defaultValue = "1",
      description = "Sequences decoded together (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--train",
      paramLabel = "BxT",
      description = "Also train batches of B sequences of T tokens.")
  private String train;

  @Option(
      names = "--runs",
      paramLabel = "N",
      defaultValue = "5",
      description = "Runs after one that does not count (default: ${DEFAULT-VALUE}).")
  private int runs;

  @Option(
      names = "--overhead",
      description =
          "Also measure what a decoded token costs apart from arithmetic and memory: the same"
              + " graph, width 1 a head.")
  private boolean overhead;

  @Option(
      names = "--tokenizer",
      paramLabel = "KIND",
      description =
          "Measure a tokenizer instead: bpe:N, gpt1:N or wordpiece:N, learned from the data, or a"
              + " tokenizer.json.")
  private String tokenizer;

  @Option(names = "--data", paramLabel = "FILE", description = "The text that it encodes.")
  private Path data;

  @Option(names = "--json", description = "Print one JSON object a row.")
  private boolean json;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  private final Random random = new Random(1);

  @Override
  public Integer call() throws IOException {
    if (runs < 1 || batch < 1 || prefill < 0 || decode < 0) {
      throw new IllegalArgumentException("--runs, --batch: 1 or more; --pp, --tg: 0 or more");
    }
    if ((tokenizer == null) != (data == null)) {
      throw new IllegalArgumentException("--tokenizer and --data go together");
    }
    if (tokenizer != null) {
      String text = Files.readString(data);
      new TokenizerBench(TokenizerKind.make(tokenizer, text), text, spec.commandLine().getOut())
          .run(runs, json);
      return 0;
    }
    DType type = dtype.get();
    try (Device where = device.open();
        LanguageModel model =
            folder == null
                ? LanguageModel.create(GptConfig.gpt2Small(), where, type, 1)
                : ModelFiles.load(folder, where, type)) {
      if (!json) {
        spec.commandLine()
            .getOut()
            .printf(
                Locale.ROOT,
                "%s, %s, %d threads, %,d parameters, %s%n%-16s %12s %12s %12s%n",
                where.name(),
                where.isa(),
                where.threads(),
                model.config().parameters(),
                type,
                "test",
                "tok/s",
                "min",
                "max");
      }
      if (prefill > 0) {
        benchPrefill(model, where);
      }
      if (decode > 0) {
        benchDecode("tg" + decode, model, where);
        if (overhead) {
          benchOverhead(model, where);
        }
      }
      if (train != null) {
        benchTrain(model, where);
      }
    }
    return 0;
  }

  private int[] tokens(LanguageModel model, int count) {
    return random.ints(count, 0, model.config().vocabulary()).toArray();
  }

  private void benchPrefill(LanguageModel model, Device where) {
    try (Decoder decoder = model.decoder(1, prefill)) {
      decoder.sampler().set(1, 0, 0, 1, 0);
      measure(
          "pp" + prefill,
          where,
          () -> {
            int[] prompt = tokens(model, prefill);
            decoder.reset();
            long started = System.nanoTime();
            decoder.next(prompt, 0);
            return prefill * 1e9 / (System.nanoTime() - started);
          });
    }
  }

  private void benchDecode(String test, LanguageModel model, Device where) {
    try (Decoder decoder = model.decoder(batch, decode + 1)) {
      decoder.sampler().set(1, 0, 0, 1, 0);
      int[] fed = new int[batch];
      measure(
          test + (batch == 1 ? "" : " x" + batch),
          where,
          () -> {
            decoder.reset();
            System.arraycopy(decoder.next(tokens(model, batch), 0), 0, fed, 0, batch);
            long started = System.nanoTime();
            for (int i = 0; i < decode; i++) {
              System.arraycopy(decoder.next(fed, i + 1), 0, fed, 0, batch);
            }
            return (double) batch * decode * 1e9 / (System.nanoTime() - started);
          });
    }
  }

  /** The same calls on next to no numbers: Java, JNI, the checks and the waking of threads. */
  private void benchOverhead(LanguageModel model, Device where) {
    GptConfig config = model.config();
    GptConfig least = GptConfig.of(16, decode + 1, config.heads(), config.layers(), config.heads());
    try (LanguageModel small = LanguageModel.create(least, where, dtype.get(), 1)) {
      benchDecode("overhead " + decode, small, where);
    }
  }

  private void benchTrain(LanguageModel model, Device where) {
    if (!train.matches("\\d{1,6}x\\d{1,6}")) {
      throw new IllegalArgumentException("--train " + train + "; BxT, for example 4x256");
    }
    int sequences = Integer.parseInt(train.substring(0, train.indexOf('x')));
    int length = Integer.parseInt(train.substring(train.indexOf('x') + 1));
    try (TrainingGraph graph = model.trainingGraph(sequences, length, 1, Recompute.NONE, 1)) {
      long[] step = {0};
      measure(
          "train " + train,
          where,
          () -> {
            graph.tokens().put(tokens(model, sequences * length));
            graph.targets().put(tokens(model, sequences * length));
            long started = System.nanoTime();
            graph.run(step[0], false);
            model.parameters().gradientNorm();
            model
                .parameters()
                .update(new Parameters.AdamW(1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, 1), ++step[0]);
            return (double) sequences * length * 1e9 / (System.nanoTime() - started);
          });
    }
  }

  private void measure(String test, Device where, DoubleSupplier run) {
    // The first run warms up and does not count.
    double[] rates = DoubleStream.generate(run).limit(runs + 1L).skip(1).toArray();
    Arrays.sort(rates);
    double median = runs % 2 == 1 ? rates[runs / 2] : (rates[runs / 2 - 1] + rates[runs / 2]) / 2;
    PrintWriter out = spec.commandLine().getOut();
    if (!json) {
      out.printf(
          Locale.ROOT, "%-16s %,12.1f %,12.1f %,12.1f%n", test, median, rates[0], rates[runs - 1]);
      return;
    }
    ObjectNode row = new ObjectMapper().createObjectNode();
    row.put("engine", "sinter");
    row.put("what", test + " " + dtype.dtype);
    row.put("isa", where.isa());
    row.put("threads", where.threads());
    row.put("tok_s_median", Math.round(median * 10) / 10.0);
    row.put("tok_s_min", Math.round(rates[0] * 10) / 10.0);
    row.put("tok_s_max", Math.round(rates[runs - 1] * 10) / 10.0);
    row.put("n", runs);
    out.println(row);
  }
}
