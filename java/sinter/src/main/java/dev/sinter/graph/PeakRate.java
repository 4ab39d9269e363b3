package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;
import dev.sinter.natives.sn_random_key;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.javacpp.Pointer;

/**
 * The most that a device can multiply: what the utilisation of a model (MFU) is a share of. For
 * GPUs whose data sheet says so it is the dense rate of the sheet, at its clocks, whatever a limit
 * of power leaves of it; for all others, parts of a GPU (MIG) included, and for CPUs it is the
 * fastest of our own large matrix products, measured once.
 *
 * @param flops floating-point operations a second; NaN where there is no memory to measure it
 * @param source where the figure comes from
 */
public record PeakRate(double flops, String source) {
  /**
   * A row of the table.
   *
   * @param name what the driver calls the GPU, without the maker
   * @param multiprocessors of the whole GPU
   * @param bf16 dense TFLOP/s of tensor cores with fp32 sums
   * @param fp32 TFLOP/s outside of tensor cores: fp32 is not rounded to TF32
   */
  record Known(String name, int multiprocessors, double bf16, double fp32) {}

  /**
   * Of NVIDIA's data sheets, which for tensor cores mostly give twice as much: the rate of matrices
   * that are half zeros. Those of GeForce are in the white papers of GA102 and AD102. All agree
   * with multiprocessors times boost clock times what a multiprocessor does.
   */
  static final List<Known> KNOWN =
      List.of(
          new Known("H200", 132, 989.4, 66.9),
          new Known("H200 NVL", 132, 835.5, 60.3),
          new Known("H100 80GB HBM3", 132, 989.4, 66.9),
          new Known("H100 NVL", 132, 835.5, 60.3),
          new Known("H100 PCIe", 114, 756, 51.2),
          new Known("A100-SXM4-40GB", 108, 312, 19.5),
          new Known("A100-SXM4-80GB", 108, 312, 19.5),
          new Known("A100-PCIE-40GB", 108, 312, 19.5),
          new Known("A100 80GB PCIe", 108, 312, 19.5),
          new Known("A30", 56, 165, 10.3),
          new Known("A10", 72, 125, 31.2),
          new Known("A40", 84, 149.7, 37.4),
          new Known("L4", 58, 121, 30.3),
          new Known("L40S", 142, 362, 91.6),
          new Known("GeForce RTX 4090", 128, 165.2, 82.6),
          new Known("GeForce RTX 3090", 82, 71, 35.6));

  private static final Map<String, PeakRate> MEASURED = new ConcurrentHashMap<>();

  /** Products grow until so much time is spent: those of a GPU to many times their launch. */
  private static final double SECONDS = 0.3;

  private static final int FIRST = 256;
  private static final int LARGEST = 8192;
  private static final int RUNS = 3;

  /** The rate of a device, in products of this type. */
  static PeakRate of(Device device, DType dtype) {
    PeakRate known = device.isCuda() ? lookUp(device.name(), device.threads(), dtype) : null;
    if (known != null) {
      return known;
    }
    String key =
        device.kind() + " " + device.name() + " " + device.isa() + " " + device.threads() + dtype;
    return MEASURED.computeIfAbsent(key, absent -> measure(device, dtype));
  }

  /** Null where the table does not have just this GPU. */
  static PeakRate lookUp(String name, int multiprocessors, DType dtype) {
    String plain = name.startsWith("NVIDIA ") ? name.substring("NVIDIA ".length()) : name;
    for (Known gpu : KNOWN) {
      if (gpu.name.equals(plain) && gpu.multiprocessors == multiprocessors) {
        double tera = dtype == DType.BF16 ? gpu.bf16 : gpu.fp32;
        String kind = dtype == DType.BF16 ? "dense bf16" : "fp32";
        return new PeakRate(tera * 1e12, kind + " in the data sheet of " + name);
      }
    }
    return null;
  }

  private static PeakRate measure(Device device, DType dtype) {
    double most = Double.NaN;
    double spent = 0;
    String source = "no memory to measure it";
    try (Stream stream = new Stream(device)) {
      for (int size = FIRST; size <= LARGEST && spent < SECONDS; size *= 2) {
        try (Square product = new Square(stream, device, size, dtype)) {
          product.seconds(); // the first loads the kernel
          for (int run = 0; run < RUNS && spent < SECONDS; run++) {
            double seconds = product.seconds();
            double rate = 2.0 * size * size * size / seconds;
            spent += seconds;
            if (!(rate <= most)) {
              most = rate;
              source =
                  String.format(
                      Locale.ROOT, "measured: a product of %d x %d, %s", size, size, dtype);
            }
          }
        }
      }
    } catch (DeviceMemoryException e) {
      // The largest that there was memory for counts.
    }
    return new PeakRate(most, source);
  }

  /** A product of square matrices, with its memory. */
  private static final class Square implements AutoCloseable {
    private final Stream stream;
    private final Gemm product;
    private final sn_gemm_shape shape;
    private final Memory memory;
    private final Pointer[] at = new Pointer[4];

    Square(Stream stream, Device device, int size, DType dtype) {
      this.stream = stream;
      product = Gemm.plain(size, size, size, false, true, dtype, dtype);
      shape = product.shape(device);
      long matrix = MemoryPlan.align((long) size * size * dtype.bytes());
      memory = new Memory(device, 3 * matrix + Math.max(1, product.workspace(device)));
      for (int i = 0; i < at.length; i++) {
        at[i] = memory.at(i * matrix);
      }
      try {
        fill(device, dtype, (long) size * size);
      } catch (RuntimeException e) {
        close();
        throw e;
      }
    }

    /** Normal numbers, as weights and activations are: a GPU is faster on zeros. */
    private void fill(Device device, DType dtype, long count) {
      try (Memory numbers = new Memory(device, count * Float.BYTES);
          sn_random_key key = new sn_random_key().seed(1).step(0).tensor(0)) {
        Natives.check(sinter.sn_random_normal(stream.handle(), count, 0, 1, key, numbers.at(0)));
        for (int i = 0; i < 2; i++) {
          Natives.check(
              sinter.sn_cast(
                  stream.handle(), count, DType.F32.code(), numbers.at(0), dtype.code(), at[i]));
        }
        Natives.check(sinter.sn_synchronize(stream.handle()));
      }
    }

    double seconds() {
      long start = System.nanoTime();
      Natives.check(
          sinter.sn_gemm(stream.handle(), shape, null, at[0], at[1], at[2], null, null, at[3]));
      Natives.check(sinter.sn_synchronize(stream.handle()));
      return Math.max(System.nanoTime() - start, 1) * 1e-9;
    }

    @Override
    public void close() {
      memory.close();
      shape.close();
    }
  }

  /**
   * Says how much of the peak a rate is: the utilisation of a model's operations (Chowdhery et al.
   * 2022, appendix B), where what is computed twice to save memory counts once.
   *
   * @param rate floating-point operations a second
   * @return 1 at the peak
   */
  public double share(double rate) {
    return rate / flops;
  }

  /** For example {@code 989.4 TFLOP/s, dense bf16 in the data sheet of NVIDIA H200}. */
  @Override
  public String toString() {
    boolean tera = flops >= 1e12;
    return String.format(
        Locale.ROOT, "%.1f %sFLOP/s, %s", flops / (tera ? 1e12 : 1e9), tera ? "T" : "G", source);
  }
}
