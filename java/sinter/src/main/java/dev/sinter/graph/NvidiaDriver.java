package dev.sinter.graph;

import com.sun.jna.Memory;
import com.sun.jna.NativeLibrary;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.PointerByReference;
import java.util.Optional;

/**
 * Asks NVIDIA's driver and its management library (NVML), which come with the driver alone, through
 * their C functions.
 */
final class NvidiaDriver {
  private static final String DRIVER = "libcuda.so.1";
  private static final String MANAGEMENT = "libnvidia-ml.so.1";
  private static final int SUCCESS = 0;
  private static final int NO_DEVICE = 100;
  private static final int TEXT = 96;
  private static final int CLOCK_SM = 1;
  private static final int CLOCK_MEMORY = 2;
  private static final int TEMPERATURE_GPU = 0;

  private NvidiaDriver() {}

  /**
   * Checks that there is a driver with a GPU.
   *
   * @throws SinterException where there is none, with the reason
   */
  static void require() {
    NativeLibrary driver;
    try {
      driver = NativeLibrary.getInstance(DRIVER);
    } catch (UnsatisfiedLinkError e) {
      throw new SinterException(
          "no CUDA device: "
              + DRIVER
              + " not found (tried the system's library path); use --device cpu, or install an"
              + " NVIDIA driver",
          e);
    }
    int status = call(driver, "cuInit", 0);
    IntByReference count = new IntByReference();
    if (status == SUCCESS) {
      status = call(driver, "cuDeviceGetCount", count);
    }
    if (status == NO_DEVICE || (status == SUCCESS && count.getValue() == 0)) {
      throw new SinterException("no CUDA device: the NVIDIA driver sees no GPU; use --device cpu");
    }
    if (status != SUCCESS) {
      throw new SinterException(
          "no CUDA device: the NVIDIA driver fails to start with error "
              + status
              + "; use --device cpu, or see what nvidia-smi says");
    }
  }

  /**
   * Reads a GPU's state.
   *
   * @param ordinal CUDA's number of the GPU
   * @return empty where the management library is not there or does not know the GPU
   */
  static Optional<Telemetry> telemetry(int ordinal) {
    NativeLibrary driver;
    NativeLibrary management;
    try {
      driver = NativeLibrary.getInstance(DRIVER);
      management = NativeLibrary.getInstance(MANAGEMENT);
    } catch (UnsatisfiedLinkError e) {
      return Optional.empty();
    }
    if (call(management, "nvmlInit_v2") != SUCCESS) {
      return Optional.empty();
    }
    try (Memory bus = new Memory(TEXT)) {
      // The two libraries number GPUs differently; both know the place on the bus.
      PointerByReference gpu = new PointerByReference();
      if (call(driver, "cuInit", 0) != SUCCESS
          || call(driver, "cuDeviceGetPCIBusId", bus, TEXT, ordinal) != SUCCESS
          || call(management, "nvmlDeviceGetHandleByPciBusId_v2", bus, gpu) != SUCCESS) {
        return Optional.empty();
      }
      return Optional.of(read(management, gpu.getValue()));
    } finally {
      call(management, "nvmlShutdown");
    }
  }

  private static Telemetry read(NativeLibrary management, com.sun.jna.Pointer gpu) {
    try (Memory text = new Memory(TEXT);
        Memory memory = new Memory(3L * Long.BYTES); // total, free, used
        Memory rates = new Memory(2L * Integer.BYTES)) { // of the GPU, of its memory
      boolean hasDriver = call(management, "nvmlSystemGetDriverVersion", text, TEXT) == SUCCESS;
      boolean hasMemory = call(management, "nvmlDeviceGetMemoryInfo", gpu, memory) == SUCCESS;
      boolean hasRates = call(management, "nvmlDeviceGetUtilizationRates", gpu, rates) == SUCCESS;
      int milliwatts = number(management, "nvmlDeviceGetPowerUsage", gpu);
      return new Telemetry(
          hasDriver ? text.getString(0) : "",
          hasRates ? rates.getInt(0) : -1,
          hasMemory ? memory.getLong(2L * Long.BYTES) : -1,
          milliwatts < 0 ? -1 : milliwatts / 1000.0,
          number(management, "nvmlDeviceGetTemperature", gpu, TEMPERATURE_GPU),
          number(management, "nvmlDeviceGetClockInfo", gpu, CLOCK_SM),
          number(management, "nvmlDeviceGetClockInfo", gpu, CLOCK_MEMORY));
    }
  }

  /** A number that the function writes behind its other arguments; -1 where it fails. */
  private static int number(NativeLibrary library, String function, Object... arguments) {
    Object[] all = java.util.Arrays.copyOf(arguments, arguments.length + 1);
    IntByReference number = new IntByReference();
    all[arguments.length] = number;
    return call(library, function, all) == SUCCESS ? number.getValue() : -1;
  }

  private static int call(NativeLibrary library, String function, Object... arguments) {
    return library.getFunction(function).invokeInt(arguments);
  }
}
