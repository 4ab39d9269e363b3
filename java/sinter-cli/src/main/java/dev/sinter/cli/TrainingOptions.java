package dev.sinter.cli;

import dev.sinter.model.ModelFiles;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What pretrain and train-pairs share: data, sizes, optimizer and device. */
final class TrainingOptions {
  @Option(
      names = "--data",
      paramLabel = "PATH",
      arity = "1..*",
      required = true,
      description = "Files or folders, read as UTF-8 text.")
  List<Path> data = new ArrayList<>();

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Where the model goes.")
  Path out;

  @Option(
      names = "--layers",
      defaultValue = "4",
      description = "Blocks (default: ${DEFAULT-VALUE}).")
  int layers;

  @Option(
      names = "--heads",
      defaultValue = "4",
      description = "Attention heads (default: ${DEFAULT-VALUE}).")
  int heads;

  @Option(
      names = "--width",
      defaultValue = "128",
      description = "Hidden width (default: ${DEFAULT-VALUE}).")
  int width;

  @Option(
      names = "--preset",
      paramLabel = "NAME",
      description = "Layers, heads and width of a published model instead.")
  String preset;

  @Option(
      names = "--dropout",
      defaultValue = "0.1",
      description = "Probability (default: ${DEFAULT-VALUE}).")
  float dropout;

  @Option(
      names = "--batch",
      defaultValue = "16",
      description = "Examples of a step (default: ${DEFAULT-VALUE}).")
  int batch;

  @Option(
      names = "--steps",
      defaultValue = "2000",
      description = "Steps (default: ${DEFAULT-VALUE}).")
  long steps;

  @Option(
      names = "--lr",
      defaultValue = "1e-3",
      description = "Peak learning rate; it falls to a tenth (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Option(
      names = "--warmup",
      defaultValue = "100",
      description = "Steps of warm-up (default: ${DEFAULT-VALUE}).")
  private long warmup;

  @Option(
      names = "--validation",
      defaultValue = "0.1",
      description = "Share of the data, at its end (default: ${DEFAULT-VALUE}).")
  private double validation;

  @Option(
      names = "--eval-every",
      defaultValue = "250",
      description = "Steps between evaluations, each of which saves (default: ${DEFAULT-VALUE}).")
  private long evalEvery;

  @Option(
      names = "--seed",
      defaultValue = "1337",
      description = "Of weights, order and dropout (default: ${DEFAULT-VALUE}).")
  long seed;

  @Mixin DeviceOptions.DtypeOption dtype;

  @Mixin DeviceOptions device;

  /** Checks the ranges, and makes a folder that holds no model yet. */
  void prepare() throws IOException {
    if (batch < 1 || steps < 1 || evalEvery < 1) {
      throw new IllegalArgumentException("--batch, --steps, --eval-every: 1 or more");
    }
    if (!(validation >= 0 && validation < 1)) {
      throw new IllegalArgumentException(
          "--validation " + validation + "; 0 or more and less than 1");
    }
    if (Files.exists(out.resolve(ModelFiles.WEIGHTS))) {
      throw new IllegalArgumentException(
          out + ": holds a model already; name another folder, or remove it");
    }
    Files.createDirectories(out);
  }

  AdamW adamW(double beta2) {
    Schedule schedule = Schedule.cosine(learningRate, learningRate / 10).warmup(warmup);
    return AdamW.of(schedule).withBetas(0.9, beta2);
  }

  /** How many of so many are held out: at least this many, or none. */
  int held(int all, int least) {
    return validation == 0 ? 0 : Math.max(least, (int) Math.round(all * validation));
  }

  boolean evaluatesAt(long step) {
    return step % evalEvery == 0 || step == steps;
  }
}
