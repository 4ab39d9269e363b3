package dev.sinter.cli;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.AdaLoraConfig;
import dev.sinter.model.AdapterConfig;
import dev.sinter.model.BottleneckConfig;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.Targets;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Option;

/** Which adapter is trained instead of the model. */
final class AdaptingOptions {
  private static final int SIZE = 64;

  /** A training's length where it makes no difference: AdaLoRA's schedule alone depends on it. */
  private static final long ANY_STEPS = 1000;

  @Option(
      names = "--adapter",
      paramLabel = "KIND",
      description =
          "lora, adalora or bottleneck: train few parameters beside the model, and write those.")
  private String kind;

  @Option(
      names = "--rank",
      paramLabel = "N",
      description = "Of lora (default: 8); of adalora the one that is left (default: 8).")
  private Integer rank;

  @Option(
      names = "--first-rank",
      paramLabel = "N",
      description = "Of adalora at its start (default: one and a half times --rank).")
  private Integer firstRank;

  @Option(names = "--size", paramLabel = "N", description = "Of bottlenecks (default: 64).")
  private Integer size;

  @Option(
      names = "--alpha",
      paramLabel = "A",
      description = "An update is multiplied by alpha / rank (default: PEFT's 8).")
  private Double alpha;

  @Option(names = "--rslora", description = "Of lora: by alpha over the root of the rank.")
  private boolean rankStabilized;

  @Option(
      names = "--adapter-dropout",
      paramLabel = "P",
      defaultValue = "0",
      description = "Of what an update reads (default: ${DEFAULT-VALUE}).")
  private double dropout;

  @Option(
      names = "--targets",
      paramLabel = "M,M…",
      split = ",",
      description =
          "Ends of the updated modules' names (default: as PEFT has it: c_attn of GPT-2,"
              + " query and value of BERT).")
  private List<String> targets = new ArrayList<>();

  @Option(
      names = "--weights",
      paramLabel = "F",
      description = "How weights under an adapter are held: f32, bf16, q8 or q4, packed.")
  private String weights;

  @Option(names = "--merge", description = "Write the model with its adapter in it, whole.")
  private boolean merge;

  /** Whether one was asked for. */
  boolean given() {
    return kind != null;
  }

  /** Refuses what does not go together, before anything is read. */
  void check() {
    if (given()) {
      check(!merge || weights == null, "only an adapter over plain weights merges");
      config(ANY_STEPS);
      packed();
    } else {
      check(
          rank == null
              && firstRank == null
              && size == null
              && alpha == null
              && !rankStabilized
              && dropout == 0
              && targets.isEmpty()
              && weights == null
              && !merge,
          "--rank, --first-rank, --size, --alpha, --rslora, --adapter-dropout, --targets,"
              + " --weights, --merge: with --adapter");
    }
  }

  /** The same where the adapter is made before the training's length is known. */
  void checkWithoutSteps() {
    check();
    check(!"adalora".equals(kind), "--adapter adalora is of finetune; here lora or bottleneck");
  }

  /** The adapter for a training of so many steps. */
  AdapterConfig config(long steps) {
    int least = rank == null ? 8 : rank;
    boolean isLora = kind.equals("lora");
    boolean isAdaLora = kind.equals("adalora");
    check(
        isLora || isAdaLora || kind.equals("bottleneck"),
        "--adapter " + kind + "; lora, adalora or bottleneck");
    check(isAdaLora || firstRank == null, "--first-rank is of adalora");
    check(isLora || !rankStabilized, "--rslora is of lora");
    if (!isLora && !isAdaLora) {
      check(
          rank == null && alpha == null && dropout == 0 && targets.isEmpty(),
          "--rank, --alpha, --adapter-dropout, --targets are of lora and adalora");
      return BottleneckConfig.of(size == null ? SIZE : size);
    }
    check(size == null, "--size is of bottlenecks");
    Targets at = targets.isEmpty() ? Targets.USUAL : Targets.of(targets.toArray(String[]::new));
    if (isAdaLora) {
      int first = firstRank == null ? (3 * least + 1) / 2 : firstRank;
      AdaLoraConfig config =
          AdaLoraConfig.of(first, least, steps)
              .withSchedule(steps / 10, steps / 3, Math.max(1, steps / 100))
              .withTargets(at)
              .withDropout(dropout);
      return alpha == null ? config : config.withAlpha(alpha);
    }
    LoraConfig config = LoraConfig.of(least).withTargets(at).withDropout(dropout);
    config = alpha == null ? config : config.withAlpha(alpha);
    return rankStabilized ? config.withRankStabilized() : config;
  }

  /** The language model of a folder, under a new adapter where one was asked for. */
  StartingModel begin(Path folder, long seed, Device device, DType dtype) throws IOException {
    return given()
        ? StartingModel.adapted(folder, config(ANY_STEPS), seed, packed(), device, dtype)
        : StartingModel.whole(folder, device, dtype);
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /** How the weights under it are held; null: plain. */
  WeightFormat packed() {
    return weights == null ? null : WeightFormat.of(weights);
  }

  boolean merges() {
    return merge;
  }
}
