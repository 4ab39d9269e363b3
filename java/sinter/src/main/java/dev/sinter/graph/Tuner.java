package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;
import dev.sinter.natives.sn_random_key;
import java.io.IOException;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import org.bytedeco.javacpp.Pointer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Measures every plan of matrix products on a GPU and keeps the fastest in the device's {@link
 * Tuning}. It runs only when it is asked to, so that results change only then: devices that are
 * opened afterwards use what it found.
 */
public final class Tuner {
  private static final Logger LOG = LoggerFactory.getLogger(Tuner.class);

  /** Runs of which the median counts, each of so many calls that it takes about a millisecond. */
  private static final int RUNS = 7;

  private static final double RUN_SECONDS = 1e-3;
  private static final int MOST_CALLS = 50;

  /** What a plan must gain over the device's own choice: less is noise. */
  private static final double GAIN = 1.02;

  private final Device device;
  private final Set<Gemm> products = new LinkedHashSet<>();

  /**
   * Begins a tuning.
   *
   * @param device a GPU; it stays the caller's
   * @throws IllegalArgumentException for a CPU, which has one plan for each product
   */
  public Tuner(Device device) {
    if (!device.isCuda()) {
      throw new IllegalArgumentException(
          device.kind() + " has one plan for each matrix product: nothing to tune; use a GPU");
    }
    this.device = device;
  }

  /**
   * What was found out about one product.
   *
   * @param product its sizes, types and epilogue, in words
   * @param plans how many were measured
   * @param seconds of the device's own choice
   * @param fastest seconds of the plan that was kept
   */
  public record Measured(String product, int plans, double seconds, double fastest) {}

  /**
   * Adds the products of a graph.
   *
   * @param graph of this device
   */
  public void add(Graph graph) {
    products.addAll(graph.products());
  }

  /**
   * Counts the products.
   *
   * @return how many different ones were added
   */
  public int size() {
    return products.size();
  }

  /**
   * Measures all products and writes the tuning, beside those that the file has already.
   *
   * @param onProduct told of each one
   * @return the tuning as it is in the file now
   * @throws IOException where the file cannot be written
   */
  public Tuning run(Consumer<Measured> onProduct) throws IOException {
    CudaBackend.cublasLt(device);
    Map<Gemm, Long> fastest = new LinkedHashMap<>();
    try (Stream stream = new Stream(device)) {
      for (Gemm product : products) {
        try (Bench bench = new Bench(stream, product)) {
          fastest.put(product, bench.fastest(onProduct));
        }
      }
    }
    Tuning tuning = Tuning.read(device).with(fastest);
    tuning.write(device);
    return tuning;
  }

  /** One product with memory to run it on. */
  private final class Bench implements AutoCloseable {
    private final Stream stream;
    private final Gemm product;
    private final long[] plans;
    private final Set<Memory> memory = new LinkedHashSet<>();
    private final Pointer a;
    private final Pointer b;
    private final Pointer c;
    private final Pointer bias;
    private final Pointer aux;
    private final Pointer workspace;

    Bench(Stream stream, Gemm product) {
      this.stream = stream;
      this.product = product;
      plans = product.plans(device);
      long most = 0;
      for (long plan : plans) {
        most = Math.max(most, product.workspace(device, plan));
      }
      try {
        a = random(product.aElements(), product.dtype());
        b = random(product.k() * product.n(), product.dtype());
        c = random(product.cElements(), product.out());
        bias = product.bias() ? random(product.n(), product.dtype()) : null;
        aux = product.aux() ? random(product.cElements(), product.dtype()) : null;
        workspace = allocate(most);
      } catch (RuntimeException e) {
        close();
        throw e;
      }
    }

    private Pointer allocate(long bytes) {
      Memory block = new Memory(device, bytes);
      memory.add(block);
      return block.at(0);
    }

    /** Normal numbers, as weights and activations are: a GPU is faster on zeros. */
    private Pointer random(long count, DType dtype) {
      final long stretch = Math.min(count, 1 << 20);
      Memory target = new Memory(device, count * dtype.bytes());
      memory.add(target);
      try (Memory numbers = new Memory(device, stretch * Float.BYTES);
          sn_random_key key = new sn_random_key().seed(1).step(0).tensor(memory.size())) {
        Natives.check(sinter.sn_random_normal(stream.handle(), stretch, 0, 1, key, numbers.at(0)));
        for (long done = 0; done < count; done += stretch) {
          long now = Math.min(stretch, count - done);
          Natives.check(
              sinter.sn_cast(
                  stream.handle(),
                  now,
                  DType.F32.code(),
                  numbers.at(0),
                  dtype.code(),
                  target.at(done * dtype.bytes())));
        }
        Natives.check(sinter.sn_synchronize(stream.handle()));
      }
      return target.at(0);
    }

    /** The plan to keep; 0 where none is faster than the device's own choice. */
    long fastest(Consumer<Measured> onProduct) {
      double own = seconds(0);
      double least = own / GAIN;
      long best = 0;
      for (long plan : plans) {
        double now = plan == 0 ? own : secondsOrNever(plan);
        if (now < least) {
          least = now;
          best = plan;
        }
      }
      onProduct.accept(
          new Measured(product.toString(), plans.length, own, best == 0 ? own : least));
      return best;
    }

    private double secondsOrNever(long plan) {
      try {
        return seconds(plan);
      } catch (SinterException e) {
        LOG.warn("plan {} of {} is left out: {}", plan, product, e.getMessage());
        return Double.POSITIVE_INFINITY;
      }
    }

    /** The median time of a call within a recording, as graphs run it. */
    private double seconds(long plan) {
      try (sn_gemm_shape shape = product.shape(plan)) {
        Runnable call =
            () ->
                Natives.check(
                    sinter.sn_gemm(stream.handle(), shape, null, a, b, c, bias, aux, workspace));
        time(call); // the first loads the kernel
        int calls = (int) Math.max(1, Math.min(MOST_CALLS, RUN_SECONDS / time(call)));
        Runnable all =
            () -> {
              for (int i = 0; i < calls; i++) {
                call.run();
              }
            };
        try (Recording recording = Recording.of(stream, all)) {
          time(recording::replay);
          double[] runs = new double[RUNS];
          Arrays.setAll(runs, i -> time(recording::replay));
          Arrays.sort(runs);
          return runs[RUNS / 2] / calls;
        }
      }
    }

    private double time(Runnable run) {
      long start = System.nanoTime();
      run.run();
      Natives.check(sinter.sn_synchronize(stream.handle()));
      return Math.max(System.nanoTime() - start, 1) * 1e-9;
    }

    @Override
    public void close() {
      memory.forEach(Memory::close);
    }
  }
}
