package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Device;
import dev.sinter.graph.PeakRate;
import dev.sinter.graph.Sampler;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PagedDecoder;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.function.DoubleSupplier;
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
      "  ./sinter bench --weights all --batch 1,2,4,8,16,32",
      "  ./sinter bench --model model --weights q8 --pp 512 --tg 128 --batch 8",
      "  ./sinter bench --pp 0 --batch 8 --adapters 8     a sequence each, beside one for all",
      "  ./sinter bench --tokenizer bpe:8192 --data corpus.txt"
    })
final class BenchCommand implements Callable<Integer> {
  /** Positions of a page, and the most rows of a step of prefill. */
  private static final int PAGE = 16;

  private static final int CHUNK = 512;

  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      description =
          "Folder of a model, plain or packed; without it GPT-2 124M's shape with random weights.")
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
      paramLabel = "N,N…",
      split = ",",
      defaultValue = "1",
      description = "Sequences decoded together, each number by itself (default: 1).")
  private List<Integer> batches;

  @Option(
      names = "--weights",
      paramLabel = "F,F…",
      description =
          "How weights are held for prefill and decoding: f32, bf16, q8, q4, or all; each by itself"
              + " (default: as they are packed, else as --dtype says).")
  private String weights;

  @Option(
      names = "--train",
      paramLabel = "BxT",
      description = "Also train batches of B sequences of T tokens.")
  private String train;

  @Option(
      names = "--lora",
      paramLabel = "RANK",
      description =
          "With --train: LoRA of this rank over the same weights as well, in turn; and the memory"
              + " of both.")
  private int lora;

  @Option(
      names = "--adapters",
      paramLabel = "N",
      description =
          "Decoding with N adapters mixed, with one for all sequences, and without, in turn.")
  private int adapters;

  @Option(
      names = "--rank",
      paramLabel = "RANK",
      defaultValue = "8",
      description =
          "Rank of these adapters, which change all linear layers (default: ${DEFAULT-VALUE}).")
  private int rank;

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
    if (runs < 1 || prefill < 0 || decode < 0 || batches.stream().anyMatch(n -> n < 1)) {
      throw new IllegalArgumentException("--runs, --batch: 1 or more; --pp, --tg: 0 or more");
    }
    if (adapters < 0 || rank < 1) {
      throw new IllegalArgumentException("--adapters: 0 or more; --rank: 1 or more");
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
    if (lora < 0 || lora > 0 && train == null) {
      throw new IllegalArgumentException("--lora: 1 or more, with --train");
    }
    List<WeightFormat> formats = prefill > 0 || decode > 0 ? formats() : List.of();
    try (Device where = device.open()) {
      for (WeightFormat format : formats) {
        try (FrozenModel model =
            folder == null
                ? FrozenModel.create(GptConfig.gpt2Small(), where, format, 1)
                : FrozenModel.load(folder, where, format)) {
          benchFrozen(model, where);
        }
      }
      if (train != null) {
        try (LanguageModel model =
            folder == null
                ? LanguageModel.create(GptConfig.gpt2Small(), where, dtype.get(), 1)
                : ModelFiles.load(folder, where, dtype.get())) {
          printHead(model.config(), where, dtype.get().toString());
          benchTrain(model, where);
        }
      }
    }
    return 0;
  }

  private List<WeightFormat> formats() throws IOException {
    if (weights == null) {
      Optional<WeightFormat> packed =
          folder == null ? Optional.empty() : ModelFiles.readWeightFormat(folder);
      return List.of(packed.orElse(WeightFormat.of(dtype.dtype)));
    }
    return weights.equals("all")
        ? List.of(WeightFormat.values())
        : Arrays.stream(weights.split(",", -1)).map(WeightFormat::of).toList();
  }

  private void printHead(GptConfig config, Device where, String type) {
    if (!json) {
      spec.commandLine()
          .getOut()
          .printf(
              Locale.ROOT,
              "%s, %s, %d threads, %,d parameters, %s%n%-16s %12s %12s %12s%n",
              where.name(),
              where.isa(),
              where.threads(),
              config.parameters(),
              type,
              "test",
              "tok/s",
              "min",
              "max");
    }
  }

  private void benchFrozen(FrozenModel model, Device where) {
    printHead(model.config(), where, model.format().text());
    if (prefill > 0) {
      benchPrefill(model, where);
    }
    if (decode > 0) {
      for (int batch : batches) {
        if (adapters > 0) {
          benchAdapters(model, batch, where);
        } else {
          benchDecode("tg" + decode, model, batch, where);
        }
      }
      if (overhead) {
        benchOverhead(model, where);
      }
    }
  }

  private int[] tokens(GptConfig config, int count) {
    return random.ints(count, 0, config.vocabulary()).toArray();
  }

  /** A decoder with room for so many positions of each sequence. */
  private static PagedDecoder decoder(FrozenModel model, int sequences, int positions, int rows) {
    if (positions > model.config().context()) {
      throw new IllegalArgumentException(
          positions + " tokens; the model's context is " + model.config().context());
    }
    int page = Math.min(PAGE, model.config().context());
    int each = (positions + page - 1) / page;
    PagedDecoder decoder = new PagedDecoder(model, sequences * each, page, sequences, rows);
    for (int i = 0; i < sequences * each; i++) {
      decoder.setPage(i / each, i % each, i);
    }
    return decoder;
  }

  private void benchPrefill(FrozenModel model, Device where) {
    int chunk = Math.min(prefill, CHUNK);
    try (PagedDecoder decoder = decoder(model, 1, prefill, chunk)) {
      measure(
          "pp" + prefill,
          model.format().text(),
          where,
          () -> {
            int[] prompt = tokens(model.config(), prefill);
            long started = System.nanoTime();
            for (int done = 0; done < prefill; done += chunk) {
              decoder.begin();
              int last = 0;
              for (int i = done; i < Math.min(done + chunk, prefill); i++) {
                last = decoder.add(0, i, prompt[i]);
              }
              if (done + chunk >= prefill) {
                decoder.choose(last, Sampler.Settings.GREEDY, 1, 0, 0);
              }
              decoder.run();
            }
            return prefill * 1e9 / (System.nanoTime() - started);
          });
    }
  }

  private void benchDecode(String test, FrozenModel model, int batch, Device where) {
    try (PagedDecoder decoder = decoder(model, batch, decode + 1, batch)) {
      measure(
          test + (batch == 1 ? "" : " x" + batch),
          model.format().text(),
          where,
          () -> tokensPerSecond(decoder, tokens(model.config(), batch), decode));
    }
  }

  /** Decodes so many tokens after one of each sequence. */
  static double tokensPerSecond(PagedDecoder decoder, int[] fed, int count) {
    step(decoder, fed, 0);
    long started = System.nanoTime();
    for (int i = 1; i <= count; i++) {
      step(decoder, fed, i);
    }
    return (double) fed.length * count * 1e9 / (System.nanoTime() - started);
  }

  private void benchAdapters(FrozenModel model, int batch, Device where) {
    try (PagedDecoder plain = decoder(model, batch, decode + 1, batch);
        AdapterSteps adapted =
            new AdapterSteps(model, decoder(model, batch, decode + 1, batch), adapters, rank)) {
      List<DoubleSupplier> ways =
          List.of(
              () -> tokensPerSecond(plain, tokens(model.config(), batch), decode),
              () -> adapted.tokensPerSecond(1, tokens(model.config(), batch), decode),
              () -> adapted.tokensPerSecond(adapters, tokens(model.config(), batch), decode));
      double[][] rates = inTurn(ways);
      String test = "tg" + decode + " x" + batch;
      String type = model.format().text();
      print(test, type, where, rates[0]);
      print(test + " adapter", type, where, rates[1]);
      print(test + " " + adapters + " mixed", type, where, rates[2]);
      double mixed = median(rates[2]);
      share(batch, type, mixed / median(rates[1]), mixed / median(rates[0]));
    }
  }

  /** How adapters mixed in one batch compare. */
  private void share(int batch, String type, double ofOne, double ofNone) {
    PrintWriter out = spec.commandLine().getOut();
    if (json) {
      ObjectNode row = new ObjectMapper().createObjectNode();
      row.put("engine", "sinter");
      row.put("what", adapters + " adapters of rank " + rank + " mixed, x" + batch + " " + type);
      row.put("share_of_one", ofOne).put("share_of_none", ofNone);
      out.println(row);
    } else {
      out.printf(
          Locale.ROOT,
          "%d adapters of rank %d mixed: %.0f%% of one's tokens/s, %.0f%% of none's%n",
          adapters,
          rank,
          100 * ofOne,
          100 * ofNone);
    }
  }

  /** Replaces each sequence's token by the one after it. */
  private static void step(PagedDecoder decoder, int[] fed, int position) {
    decoder.begin();
    for (int slot = 0; slot < fed.length; slot++) {
      int row = decoder.add(slot, position, fed[slot]);
      decoder.choose(row, Sampler.Settings.GREEDY, 1, position, 0);
    }
    decoder.run();
    for (int slot = 0; slot < fed.length; slot++) {
      fed[slot] = decoder.token(slot);
    }
  }

  /** The same calls on next to no numbers: Java, JNI, the checks and the waking of threads. */
  private void benchOverhead(FrozenModel model, Device where) {
    GptConfig config = model.config();
    GptConfig least = GptConfig.of(16, decode + 1, config.heads(), config.layers(), config.heads());
    try (FrozenModel small = FrozenModel.create(least, where, model.format(), 1)) {
      benchDecode("overhead " + decode, small, 1, where);
    }
  }

  private void benchTrain(LanguageModel model, Device where) {
    try (TrainingSteps whole = new TrainingSteps(model, train, random)) {
      if (lora == 0) {
        double[] rates = inTurn(List.of(whole::tokensPerSecond))[0];
        printTraining("train " + train, where, rates, whole);
        return;
      }
      try (LanguageModel adapted = model.adapted(LoraConfig.of(lora), 1);
          TrainingSteps few = new TrainingSteps(adapted, train, random)) {
        List<DoubleSupplier> both = List.of(whole::tokensPerSecond, few::tokensPerSecond);
        double[][] rates = inTurn(both);
        printTraining("train " + train, where, rates[0], whole);
        printTraining("train " + train + " lora " + lora, where, rates[1], few);
        long base = model.parameters().bytes() - whole.trainingBytes();
        cost(whole.bytes(), base + few.bytes(), median(rates[0]), median(rates[1]));
      }
    }
  }

  /** A training's rate, and how much of the device's arithmetic it makes use of. */
  private void printTraining(String test, Device where, double[] rates, TrainingSteps steps) {
    PeakRate peak = where.peak(dtype.get());
    double share = peak.share(median(rates) * steps.flopsPerToken());
    PrintWriter out = spec.commandLine().getOut();
    if (json) {
      ObjectNode row = row(test, dtype.dtype, where, rates);
      row.put("mfu", share).put("flop_per_token", steps.flopsPerToken());
      row.put("peak_flop_s", peak.flops()).put("peak_from", peak.source());
      out.println(row);
    } else {
      print(test, dtype.dtype, where, rates);
      out.printf(Locale.ROOT, "%-16s %11.1f%% of %s%n", "  MFU", 100 * share, peak);
    }
  }

  /** How a step with LoRA compares with one of all weights. */
  private void cost(long wholeBytes, long fewBytes, double wholeRate, double fewRate) {
    PrintWriter out = spec.commandLine().getOut();
    if (json) {
      ObjectNode row = new ObjectMapper().createObjectNode();
      row.put("engine", "sinter").put("what", "lora " + lora + " beside all weights, " + train);
      row.put("bytes_all", wholeBytes).put("bytes_lora", fewBytes);
      row.put("memory_share", (double) fewBytes / wholeBytes);
      row.put("time_share", wholeRate / fewRate);
      out.println(row);
    } else {
      out.printf(
          Locale.ROOT,
          "lora %d: %,d MiB of %,d MiB (%.0f%%), %.0f%% of the time of a step%n",
          lora,
          fewBytes >> 20,
          wholeBytes >> 20,
          100.0 * fewBytes / wholeBytes,
          100 * wholeRate / fewRate);
    }
  }

  private void measure(String test, String type, Device where, DoubleSupplier run) {
    print(test, type, where, inTurn(List.of(run))[0]);
  }

  /** Rates of some measurements that take turns, sorted; the first of each warms up. */
  private double[][] inTurn(List<DoubleSupplier> all) {
    double[][] rates = new double[all.size()][runs];
    for (int run = -1; run < runs; run++) {
      for (int i = 0; i < all.size(); i++) {
        double rate = all.get(i).getAsDouble();
        if (run >= 0) {
          rates[i][run] = rate;
        }
      }
    }
    for (double[] of : rates) {
      Arrays.sort(of);
    }
    return rates;
  }

  private double median(double[] rates) {
    return runs % 2 == 1 ? rates[runs / 2] : (rates[runs / 2 - 1] + rates[runs / 2]) / 2;
  }

  private void print(String test, String type, Device where, double[] rates) {
    double median = median(rates);
    PrintWriter out = spec.commandLine().getOut();
    if (!json) {
      out.printf(
          Locale.ROOT, "%-16s %,12.1f %,12.1f %,12.1f%n", test, median, rates[0], rates[runs - 1]);
      return;
    }
    out.println(row(test, type, where, rates));
  }

  private ObjectNode row(String test, String type, Device where, double[] rates) {
    double median = median(rates);
    ObjectNode row = new ObjectMapper().createObjectNode();
    row.put("engine", "sinter");
    row.put("what", test + " " + type);
    row.put("isa", where.isa());
    row.put("threads", where.threads());
    row.put("tok_s_median", Math.round(median * 10) / 10.0);
    row.put("tok_s_min", Math.round(rates[0] * 10) / 10.0);
    row.put("tok_s_max", Math.round(rates[runs - 1] * 10) / 10.0);
    row.put("n", runs);
    return row;
  }
}
