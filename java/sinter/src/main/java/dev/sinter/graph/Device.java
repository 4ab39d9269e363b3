package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_device;
import java.lang.ref.Cleaner;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.bytedeco.javacpp.BytePointer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Where tensors live and operations run: the CPU, with a thread pool of its own, or an NVIDIA GPU.
 *
 * <p>An explicit choice never falls back to another device; {@link #auto()} says once, in the log,
 * what it took and why not the other. Safe to use from many threads.
 */
public final class Device implements AutoCloseable {
  static final Cleaner CLEANER = Cleaner.create();
  private static final Logger LOG = LoggerFactory.getLogger(Device.class);
  private static final AtomicBoolean SAID = new AtomicBoolean();

  private final Handle handle;
  private final Cleaner.Cleanable cleanable;
  private final AtomicBoolean closed = new AtomicBoolean();
  private final boolean cuda;
  private final int ordinal;
  private final String name;
  private final String isa;
  private final int threads;
  private final Tuning tuning;

  /**
   * The native device. It is destroyed when the device and all memory on it have been given back.
   */
  static final class Handle {
    final sn_device device = new sn_device();
    private final AtomicInteger users = new AtomicInteger(1);

    void retain() {
      users.incrementAndGet();
    }

    void release() {
      if (users.decrementAndGet() == 0) {
        sinter.sn_device_destroy(device);
      }
    }
  }

  private Device(int kind, int ordinal, int threads, String isa) {
    Natives.load();
    this.cuda = kind == sinter.SN_CUDA;
    this.ordinal = ordinal;
    handle = new Handle();
    try (BytePointer wanted = isa == null ? null : new BytePointer(isa)) {
      Natives.check(sinter.sn_device_create(kind, ordinal, threads, wanted, handle.device));
    }
    this.name = sinter.sn_device_name(handle.device).getString();
    this.isa = sinter.sn_device_isa(handle.device).getString();
    this.threads = sinter.sn_device_threads(handle.device);
    Handle kept = handle;
    cleanable = CLEANER.register(this, kept::release);
    tuning = cuda ? Tuning.read(this) : Tuning.NONE;
  }

  /**
   * Takes the best device that is there, or the one that the environment variable {@code
   * SINTER_DEVICE} names.
   *
   * @return the device; the caller closes it
   */
  public static Device auto() {
    String wanted = System.getenv("SINTER_DEVICE");
    if (wanted != null && !wanted.isBlank() && !wanted.equals("auto")) {
      return of(wanted, 0);
    }
    Device device;
    String why;
    try {
      device = cuda(0);
      why = "a GPU is there";
    } catch (SinterException e) {
      device = cpu();
      why = e.getMessage();
    }
    if (SAID.compareAndSet(false, true)) {
      LOG.info("device auto: {} ({}, {}): {}", device.kind(), device.name(), device.isa(), why);
    }
    return device;
  }

  /**
   * Says why {@link #auto()} takes the device that it takes.
   *
   * @return one line
   */
  public static String whyAuto() {
    String wanted = System.getenv("SINTER_DEVICE");
    if (wanted != null && !wanted.isBlank() && !wanted.equals("auto")) {
      return "SINTER_DEVICE";
    }
    try {
      cuda(0).close();
      return "auto: a GPU is there";
    } catch (SinterException e) {
      return "auto: " + e.getMessage();
    }
  }

  /**
   * Opens an NVIDIA GPU.
   *
   * @param ordinal from 0
   * @return the device; the caller closes it
   * @throws SinterException where there is no such GPU, no driver, no CUDA backend in this build,
   *     or one of them does not fit
   */
  public static Device cuda(int ordinal) {
    return cuda(ordinal, null);
  }

  /**
   * Opens an NVIDIA GPU with the kernels that every GPU has, not with its own: for comparisons.
   *
   * @param ordinal from 0
   * @param isa {@code sm_80}, or the GPU's own, as {@link #isa()} has it; null: its own
   * @return the device; the caller closes it
   * @throws SinterException as {@link #cuda(int)}
   * @throws IllegalArgumentException for an instruction set that the GPU does not have
   */
  public static Device cuda(int ordinal, String isa) {
    Natives.load();
    CudaBackend.load();
    return new Device(sinter.SN_CUDA, ordinal, 0, isa);
  }

  /**
   * Opens the CPU with a thread for each core that the process may use.
   *
   * @return the device; the caller closes it
   */
  public static Device cpu() {
    return new Device(sinter.SN_CPU, 0, 0, null);
  }

  /**
   * Opens the CPU.
   *
   * @param threads worker threads; 0: one a core
   * @return the device; the caller closes it
   * @throws IllegalArgumentException for a negative number or more than 1024
   */
  public static Device cpu(int threads) {
    return new Device(sinter.SN_CPU, 0, threads, null);
  }

  /**
   * Opens the CPU with a lesser instruction set than it has: for comparisons.
   *
   * @param threads worker threads; 0: one a core
   * @param isa {@code baseline}, {@code avx2}, {@code avx512}, {@code avx512bf16} or {@code amx}
   * @return the device; the caller closes it
   */
  public static Device cpu(int threads, String isa) {
    return new Device(sinter.SN_CPU, 0, threads, isa);
  }

  /**
   * Opens a device by its name.
   *
   * @param name {@code auto}, {@code cpu}, {@code cuda} or {@code cuda:N}
   * @param threads worker threads of a CPU; 0: one a core
   * @return the device; the caller closes it
   * @throws IllegalArgumentException for a name that is none of these
   * @throws SinterException where the device is not there
   */
  public static Device of(String name, int threads) {
    if (name.equals("auto")) {
      return threads == 0 ? auto() : cpu(threads);
    }
    if (name.equals("cpu")) {
      return cpu(threads);
    }
    return cuda(ordinal(name));
  }

  /**
   * Opens a device by its name, with a lesser instruction set than it has.
   *
   * @param name {@code auto}, {@code cpu}, {@code cuda} or {@code cuda:N}; {@code auto} is the
   *     device that the instruction set belongs to
   * @param threads worker threads of a CPU; 0: one a core
   * @param isa as {@link #cpu(int, String)} and {@link #cuda(int, String)} take it; null: the best
   * @return the device; the caller closes it
   * @throws IllegalArgumentException for a name that is none of these, and for an instruction set
   *     that the device does not have
   * @throws SinterException where the device is not there
   */
  public static Device of(String name, int threads, String isa) {
    if (isa == null) {
      return of(name, threads);
    }
    boolean ofGpu = isa.startsWith("sm_");
    if (name.equals("cpu") || name.equals("auto") && !ofGpu) {
      return cpu(threads, isa);
    }
    return cuda(name.equals("auto") ? 0 : ordinal(name), isa);
  }

  private static int ordinal(String name) {
    if (!name.matches("cuda(:\\d{1,4})?")) {
      throw new IllegalArgumentException("device " + name + ": auto, cpu, cuda or cuda:N");
    }
    return name.equals("cuda") ? 0 : Integer.parseInt(name.substring("cuda:".length()));
  }

  /**
   * Says which kind of device this is.
   *
   * @return {@code cpu}, or {@code cuda:} with its number
   */
  public String kind() {
    return cuda ? "cuda:" + ordinal : "cpu";
  }

  boolean isCuda() {
    return cuda;
  }

  /**
   * Returns the name that the device's maker gave it.
   *
   * @return the name
   */
  public String name() {
    return name;
  }

  /**
   * Returns the instruction set in use.
   *
   * @return for example {@code avx512bf16} or {@code sm_90}
   */
  public String isa() {
    return isa;
  }

  /**
   * Returns the number of worker threads, or of a GPU's multiprocessors.
   *
   * @return at least 1
   */
  public int threads() {
    return threads;
  }

  /**
   * Returns the plans that were measured for this device before it was opened.
   *
   * @return empty for a CPU, and where no {@link Tuner} has run
   */
  public Tuning tuning() {
    return tuning;
  }

  /**
   * Returns the most that the device can multiply. Where no data sheet is known, the first call for
   * a type measures it, in about a second.
   *
   * @param dtype of the matrices
   * @return the rate, and where it comes from
   */
  public PeakRate peak(DType dtype) {
    return PeakRate.of(this, dtype);
  }

  /**
   * Asks for the device's memory.
   *
   * @return total and available bytes
   */
  public MemoryInfo memory() {
    long[] total = new long[1];
    long[] available = new long[1];
    Natives.check(sinter.sn_device_memory(handle().device, total, available));
    return new MemoryInfo(total[0], available[0]);
  }

  /**
   * Reads a GPU's clocks, power and the like.
   *
   * @return empty for a CPU, and where NVIDIA's management library is not there
   */
  public Optional<Telemetry> telemetry() {
    return cuda ? NvidiaDriver.telemetry(ordinal) : Optional.empty();
  }

  /**
   * Memory of a device in bytes.
   *
   * @param total all of it
   * @param available what is free now
   */
  public record MemoryInfo(long total, long available) {}

  Handle handle() {
    if (closed.get()) {
      throw new IllegalStateException("device is closed");
    }
    return handle;
  }

  /** Closes the device once the memory on it has been given back. Closing twice is harmless. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      cleanable.clean();
    }
  }
}
