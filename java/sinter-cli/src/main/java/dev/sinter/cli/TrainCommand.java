package dev.sinter.cli;

import dev.sinter.Gpt;
import dev.sinter.data.TextFiles;
import dev.sinter.data.Tokens;
import dev.sinter.graph.Device;
import dev.sinter.io.FormatException;
import dev.sinter.model.GptConfig;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Checkpoint;
import dev.sinter.train.Schedule;
import dev.sinter.train.Step;
import dev.sinter.train.Trainer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import java.util.zip.CRC32C;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Trains a model from text. */
@Command(
    name = "train",
    description = "Trains a GPT on text, from scratch.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Examples:",
      "  ./sinter train --data shakespeare.txt --out model",
      "  ./sinter train --data src/ --out model --tokenizer bpe:2048 --layers 6 --width 384 --heads"
          + " 6",
      "  ./sinter train --out model --resume",
      "",
      "Ctrl-C saves a checkpoint; --resume goes on from it to the same bits. Exit codes: 0 done, 1"
          + " failed, 2 wrong",
      "usage, 130 interrupted."
    })
final class TrainCommand implements Callable<Integer> {
  static final String CHECKPOINT = "checkpoint.safetensors";
  private static final String OPTION = "sinter.option.";
  private static final String DATA_CHECK = "sinter.data";

  /** Options that may differ when a training is resumed. */
  private static final Set<String> OF_THIS_RUN =
      Set.of(
          "--out",
          "--resume",
          "--device",
          "--threads",
          "--checkpoint-every",
          "--debug",
          "--help",
          "--version");

  @Spec private CommandSpec spec;

  @Option(
      names = "--data",
      paramLabel = "PATH",
      arity = "1..*",
      description = "Files, folders, or jars of sources, read as UTF-8 text.")
  private List<Path> data = new ArrayList<>();

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Where the model goes.")
  private Path out;

  @Option(
      names = "--tokenizer",
      paramLabel = "KIND",
      defaultValue = "char",
      description =
          "char, bpe:N (a vocabulary of N), gpt1:N, wordpiece:N, or a tokenizer.json (default:"
              + " ${DEFAULT-VALUE}).")
  private String tokenizer;

  @Option(
      names = "--family",
      description = "gpt1, gpt2 or gpt3, whose every other layer is banded (default: gpt2).")
  private GptConfig.Family family;

  @Option(
      names = "--window",
      paramLabel = "N",
      description = "Tokens that gpt3's banded layers see (default: a quarter of the context).")
  private Integer window;

  @Option(
      names = "--preset",
      paramLabel = "NAME",
      description =
          "Family and sizes of a published model: openai-gpt, gpt2, gpt2-medium, gpt3-small, ….")
  private String preset;

  @Option(names = "--layers", description = "Blocks (default: 4).")
  private Integer layers;

  @Option(names = "--heads", description = "Attention heads (default: 4).")
  private Integer heads;

  @Option(names = "--width", description = "Hidden width (default: 128).")
  private Integer width;

  @Option(names = "--context", description = "Tokens of a sequence (default: 64, or the preset's).")
  private Integer context;

  @Option(
      names = "--batch",
      defaultValue = "12",
      description = "Sequences of a batch (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--accumulate",
      defaultValue = "1",
      description = "Batches of a step (default: ${DEFAULT-VALUE}).")
  private int accumulate;

  @Option(
      names = "--steps",
      defaultValue = "2000",
      description = "Steps in all (default: ${DEFAULT-VALUE}).")
  private long steps;

  @Option(
      names = "--lr",
      defaultValue = "1e-3",
      description = "Peak learning rate (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Option(
      names = "--min-lr",
      defaultValue = "1e-4",
      description = "Last learning rate (default: ${DEFAULT-VALUE}).")
  private double minLearningRate;

  @Option(
      names = "--warmup",
      defaultValue = "100",
      description = "Steps of warm-up (default: ${DEFAULT-VALUE}).")
  private long warmup;

  @Option(
      names = "--weight-decay",
      defaultValue = "0.1",
      description = "Decoupled, on matrices (default: ${DEFAULT-VALUE}).")
  private double weightDecay;

  @Option(
      names = "--beta1",
      defaultValue = "0.9",
      description = "AdamW's first beta (default: ${DEFAULT-VALUE}).")
  private double beta1;

  @Option(
      names = "--beta2",
      defaultValue = "0.99",
      description = "AdamW's second beta (default: ${DEFAULT-VALUE}).")
  private double beta2;

  @Option(
      names = "--dropout",
      defaultValue = "0",
      description = "Probability, everywhere (default: ${DEFAULT-VALUE}).")
  private float dropout;

  @Option(
      names = "--grad-clip",
      defaultValue = "1",
      description = "Most of the gradients' norm; 0: any (default: ${DEFAULT-VALUE}).")
  private double gradClip;

  @Option(
      names = "--validation",
      defaultValue = "0.1",
      description = "Share of the text, at its end (default: ${DEFAULT-VALUE}).")
  private double validation;

  @Option(
      names = "--eval-every",
      defaultValue = "250",
      description = "Steps between evaluations (default: ${DEFAULT-VALUE}).")
  private long evalEvery;

  @Option(
      names = "--eval-batches",
      defaultValue = "0",
      description =
          "Batches of an evaluation; 0: the whole validation text (default: ${DEFAULT-VALUE}).")
  private long evalBatches;

  @Option(
      names = "--checkpoint-every",
      defaultValue = "500",
      description = "Steps between checkpoints (default: ${DEFAULT-VALUE}).")
  private long checkpointEvery;

  @Option(
      names = "--seed",
      defaultValue = "1337",
      description = "Of weights, order and dropout (default: ${DEFAULT-VALUE}).")
  private long seed;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Option(
      names = "--resume",
      description = "Go on from the checkpoint in --out, with its settings.")
  private boolean resume;

  @Override
  public Integer call() throws IOException {
    if (!resume) {
      return train(Map.of());
    }
    Path checkpoint = out.resolve(CHECKPOINT);
    if (!Files.exists(checkpoint)) {
      throw new FormatException(
          checkpoint, "there is no checkpoint to resume from; leave --resume out");
    }
    Map<String, String> settings = Checkpoint.settings(checkpoint);
    return restored(settings, checkpoint).train(settings);
  }

  /** A command with the options of the checkpoint and what this run may change. */
  private TrainCommand restored(Map<String, String> settings, Path checkpoint) throws IOException {
    List<String> arguments = new ArrayList<>();
    settings.forEach(
        (key, value) -> {
          if (key.startsWith(OPTION)) {
            String name = key.substring(OPTION.length());
            if (name.equals("--data")) {
              arguments.add(name);
              arguments.addAll(Arrays.asList(value.split("\n")));
            } else {
              arguments.add(name + "=" + value);
            }
          }
        });
    Set<String> different = new TreeSet<>();
    for (OptionSpec option : spec.options()) {
      boolean given = spec.commandLine().getParseResult().hasMatchedOption(option);
      if (OF_THIS_RUN.contains(option.longestName())) {
        if (given && option.arity().max() > 0) {
          arguments.add(option.longestName() + "=" + option.getValue());
        }
      } else if (given && !text(option).equals(settings.get(OPTION + option.longestName()))) {
        different.add(option.longestName());
      }
    }
    if (!different.isEmpty()) {
      throw new IllegalArgumentException(
          String.join(", ", different)
              + ": differs from the training that --resume goes on with; leave it out");
    }
    TrainCommand command = new TrainCommand();
    CommandLine line = new CommandLine(command);
    line.setOut(spec.commandLine().getOut());
    line.setErr(spec.commandLine().getErr());
    try {
      line.parseArgs(arguments.toArray(String[]::new));
    } catch (CommandLine.ParameterException e) {
      throw new FormatException(checkpoint, e.getMessage() + "; it is of another version", e);
    }
    return command;
  }

  /** The settings that a checkpoint keeps. */
  private Map<String, String> settings() {
    Map<String, String> settings = new LinkedHashMap<>();
    for (OptionSpec option : spec.options()) {
      if (!OF_THIS_RUN.contains(option.longestName()) && option.getValue() != null) {
        settings.put(OPTION + option.longestName(), text(option));
      }
    }
    return settings;
  }

  private String text(OptionSpec option) {
    if (option.longestName().equals("--data")) {
      return data.stream()
          .map(path -> path.toAbsolutePath().toString())
          .collect(Collectors.joining("\n"));
    }
    Object value = option.getValue();
    return String.valueOf(value);
  }

  private Integer train(Map<String, String> saved) throws IOException {
    boolean resuming = !saved.isEmpty();
    PrintWriter err = spec.commandLine().getErr();
    if (data.isEmpty()) {
      throw new IllegalArgumentException("--data is missing; name files or folders of text");
    }
    if (!(validation >= 0 && validation < 1)) {
      throw new IllegalArgumentException(
          "--validation " + validation + "; 0 or more and less than 1");
    }
    if (checkpointEvery < 1) {
      throw new IllegalArgumentException("--checkpoint-every " + checkpointEvery + "; 1 or more");
    }
    if (!resuming && Files.exists(out.resolve(CHECKPOINT))) {
      throw new IllegalArgumentException(
          out + ": holds a training already; go on with --resume, or name another folder");
    }
    GptConfig shape = shape();
    keep(shape);
    Files.createDirectories(out);

    String text = TextFiles.read(data);
    int split = splitPoint(text, 1 - validation);
    Tokenizer tokens = resuming ? Tokenizer.load(out) : TokenizerKind.make(tokenizer, text);
    Tokens train = Tokens.of(tokens.encode(text.subSequence(0, split)));
    Tokens valid = Tokens.of(tokens.encode(text.subSequence(split, text.length())));
    checkLengths(train, valid);
    String dataCheck = dataCheck(train, valid);
    if (resuming && !dataCheck.equals(saved.get(DATA_CHECK))) {
      throw new IllegalArgumentException(
          "--data: the text is not the one that the training began with; put it back, or start"
              + " anew");
    }

    GptConfig config = shape.withVocabulary(tokens.size());
    try (Device where = device.open();
        Gpt gpt = Gpt.create(config, tokens, where, dtype.get(), seed)) {
      Trainer trainer =
          gpt.trainer()
              .data(train, batch)
              .context(context)
              .accumulate(accumulate)
              .steps(steps)
              .seed(seed)
              .optimizer(
                  new AdamW(
                      Schedule.cosine(learningRate, minLearningRate).warmup(warmup),
                      beta1,
                      beta2,
                      1e-8,
                      weightDecay,
                      gradClip));
      Map<String, String> settings = settings();
      settings.put(DATA_CHECK, dataCheck);
      if (resuming) {
        trainer.resumeAt(Checkpoint.load(gpt.model(), out.resolve(CHECKPOINT)));
        err.printf(Locale.ROOT, "resuming at step %d of %d%n", trainer.done(), steps);
      } else {
        ModelFiles.writeConfig(config, tokens.endOfText(), out);
        tokens.save(out);
        err.printf(
            Locale.ROOT,
            "%,d parameters, %,d tokens to train on, %,d to validate, vocabulary %,d, %s with %d"
                + " threads%n",
            config.parameters(),
            train.length(),
            valid.length(),
            tokens.size(),
            where.isa(),
            where.threads());
      }
      return run(gpt, trainer, valid, settings, err);
    }
  }

  /** The model without its vocabulary, which the text decides. */
  private GptConfig shape() {
    if (preset != null) {
      if (family != null || layers != null || heads != null || width != null) {
        throw new IllegalArgumentException(
            "--preset names family, layers, heads and width; leave those out");
      }
      GptConfig named = GptConfig.preset(preset);
      GptConfig sized = context == null ? named : named.withContext(context);
      return banded(sized, sized.family(), sized.window()).withDropout(dropout);
    }
    int positions = otherwise(context, 64);
    GptConfig sized =
        GptConfig.of(
            1, positions, otherwise(width, 128), otherwise(layers, 4), otherwise(heads, 4));
    GptConfig.Family kind = family == null ? GptConfig.Family.GPT2 : family;
    return banded(sized, kind, Math.max(1, positions / 4)).withDropout(dropout);
  }

  /** A checkpoint keeps what the defaults were, so that it can be compared with what is asked. */
  private void keep(GptConfig shape) {
    context = shape.context();
    if (preset == null) {
      family = shape.family();
      layers = shape.layers();
      heads = shape.heads();
      width = shape.width();
    }
    if (shape.family() == GptConfig.Family.GPT3) {
      window = shape.window();
    }
  }

  private GptConfig banded(GptConfig sized, GptConfig.Family kind, int usual) {
    if (kind == GptConfig.Family.GPT3) {
      return sized.withFamily(kind, otherwise(window, usual));
    }
    if (window != null) {
      throw new IllegalArgumentException("--window " + window + "; only gpt3 has banded layers");
    }
    return sized.withFamily(kind, 0);
  }

  private static int otherwise(Integer given, int value) {
    return given == null ? value : given;
  }

  private int run(
      Gpt gpt, Trainer trainer, Tokens valid, Map<String, String> settings, PrintWriter err)
      throws IOException {
    Path checkpoint = out.resolve(CHECKPOINT);
    CountDownLatch saved = new CountDownLatch(1);
    // Ctrl-C runs the hook, which waits until this thread has taken its step and saved.
    boolean[] interrupted = {false};
    Thread hook =
        new Thread(
            () -> {
              interrupted[0] = true;
              trainer.stop();
              try {
                saved.await();
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            });
    Runtime.getRuntime().addShutdownHook(hook);
    try (TrainingLog log = new TrainingLog(err, gpt.model(), out, trainer.done(), steps)) {
      if (valid.length() > 1) {
        long windows = evalBatches * batch;
        trainer.validation(valid, evalEvery, windows).onEvaluation(log::evaluation);
      }
      trainer.onStep(
          step -> {
            log.step(step);
            saveEvery(step, gpt, settings, checkpoint);
          });
      long done = trainer.run();
      log.endProgress();
      save(gpt, done, settings, checkpoint);
      if (done < steps) {
        err.printf(
            Locale.ROOT,
            "stopped after step %d of %d; saved. Go on with: ./sinter train --out %s --resume%n",
            done,
            steps,
            out);
        return 130;
      }
      log.drawCurves(out.getFileName() + ": " + config(gpt));
      err.println("model: " + out);
      return 0;
    } catch (UncheckedIOException e) {
      throw e.getCause();
    } finally {
      saved.countDown();
      if (!interrupted[0]) {
        try {
          Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
          // The JVM began to end just now; the hook finds everything saved.
          interrupted[0] = true;
        }
      }
    }
  }

  private void saveEvery(Step step, Gpt gpt, Map<String, String> settings, Path checkpoint) {
    if (step.number() % checkpointEvery != 0 || step.number() == steps) {
      return;
    }
    try {
      save(gpt, step.number(), settings, checkpoint);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void save(Gpt gpt, long step, Map<String, String> settings, Path checkpoint)
      throws IOException {
    Checkpoint.save(gpt.model(), step, settings, checkpoint);
    ModelFiles.writeWeights(gpt.model(), out);
  }

  private static String config(Gpt gpt) {
    GptConfig c = gpt.model().config();
    return String.format(
        Locale.ROOT, "%d layers, width %d, %,d parameters", c.layers(), c.width(), c.parameters());
  }

  /** Where the validation text begins: never inside a surrogate pair. */
  private static int splitPoint(String text, double share) {
    int at = (int) (text.length() * share);
    return at > 0 && at < text.length() && Character.isLowSurrogate(text.charAt(at)) ? at + 1 : at;
  }

  private void checkLengths(Tokens train, Tokens valid) {
    if (train.length() < context + 1L) {
      throw new IllegalArgumentException(
          "--context "
              + context
              + ": the training text has "
              + train.length()
              + " tokens, and a context needs one more than it is long; take more text or a shorter"
              + " context");
    }
    if (validation > 0 && valid.length() < 2) {
      throw new IllegalArgumentException(
          "--validation "
              + validation
              + " of this text is "
              + valid.length()
              + " tokens; take more text, or --validation 0");
    }
  }

  private static String dataCheck(Tokens train, Tokens valid) {
    CRC32C crc = new CRC32C();
    byte[] four = new byte[4];
    for (Tokens tokens : List.of(train, valid)) {
      for (long i = 0; i < tokens.length(); i++) {
        int id = tokens.get(i);
        four[0] = (byte) id;
        four[1] = (byte) (id >>> 8);
        four[2] = (byte) (id >>> 16);
        four[3] = (byte) (id >>> 24);
        crc.update(four);
      }
    }
    return train.length() + "+" + valid.length() + ":" + Long.toHexString(crc.getValue());
  }
}
