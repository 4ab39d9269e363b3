package dev.sinter.benchmark;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Sampler.Settings;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.PagedDecoder;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * A step in which each of some sequences gets its next token. With the tiny model the kernels have
 * next to nothing to do: what is left is the cost of a step. {@code -prof gc} shows what it
 * allocates: nothing.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
public class DecodingBenchmark {
  private static final int CONTEXT = 128;
  private static final int PAGE = 16;
  private static final int PAGES_OF_SLOT = CONTEXT / PAGE;
  private static final Settings SETTINGS = new Settings(1, 0.8f, 40, 0.95f, 0);

  /** {@code tiny}, or the name of a GPT. */
  @Param({"tiny"})
  private String model;

  @Param({"fp32", "q8"})
  private String format;

  @Param({"1", "8", "32"})
  private int sequences;

  private Device device;
  private FrozenModel weights;
  private PagedDecoder decoder;
  private int[] tokens;
  private int position;

  /** Fills a model with random weights and packs it. */
  @Setup(Level.Trial)
  public void open() {
    GptConfig config =
        model.equals("tiny")
            ? GptConfig.of(64, CONTEXT, 64, 2, 2)
            : GptConfig.preset(model).withContext(CONTEXT);
    device = Device.auto();
    try (LanguageModel plain = LanguageModel.create(config, device, DType.F32, 1)) {
      weights = FrozenModel.of(plain, WeightFormat.of(format));
    }
    int pages = sequences * PAGES_OF_SLOT;
    decoder = new PagedDecoder(weights, pages, PAGE, sequences, sequences);
    for (int page = 0; page < pages; page++) {
      decoder.setPage(page / PAGES_OF_SLOT, page % PAGES_OF_SLOT, page);
    }
    tokens = new int[sequences];
  }

  /** Gives all back. */
  @TearDown(Level.Trial)
  public void close() {
    decoder.close();
    weights.close();
    device.close();
  }

  /**
   * The next token of each sequence; after the last position they begin anew.
   *
   * @return one of them
   */
  @Benchmark
  public int step() {
    int at = position;
    position = (at + 1) % CONTEXT;
    decoder.begin();
    for (int slot = 0; slot < sequences; slot++) {
      decoder.choose(decoder.add(slot, at, tokens[slot]), SETTINGS, slot, at, 0);
    }
    decoder.run();
    for (int slot = 0; slot < sequences; slot++) {
      tokens[slot] = decoder.token(slot);
    }
    return tokens[0];
  }
}
