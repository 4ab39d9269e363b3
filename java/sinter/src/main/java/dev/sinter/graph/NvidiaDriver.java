package dev.sinter.graph;

import com.sun.jna.Function;
import com.sun.jna.NativeLibrary;
import com.sun.jna.ptr.IntByReference;

/** Asks for NVIDIA's driver through its own library, which only the driver brings. */
final class NvidiaDriver {
  private static final String LIBRARY = "libcuda.so.1";
  private static final int SUCCESS = 0;
  private static final int NO_DEVICE = 100;

  private NvidiaDriver() {}

  /**
   * Checks that there is a driver with a GPU.
   *
   * @throws SinterException where there is none, with the reason
   */
  static void require() {
    NativeLibrary driver;
    try {
      driver = NativeLibrary.getInstance(LIBRARY);
    } catch (UnsatisfiedLinkError e) {
      throw new SinterException(
          "no CUDA device: "
              + LIBRARY
              + " not found on the system's library path; use --device cpu, or install an NVIDIA"
              + " driver",
          e);
    }
    int status = call(driver, "cuInit", 0);
    if (status == NO_DEVICE) {
      throw new SinterException("no CUDA device: the NVIDIA driver sees no GPU");
    }
    if (status != SUCCESS) {
      throw new SinterException(
          "no CUDA device: the NVIDIA driver does not start, error " + status);
    }
    IntByReference count = new IntByReference();
    status = call(driver, "cuDeviceGetCount", count);
    if (status != SUCCESS || count.getValue() == 0) {
      throw new SinterException("no CUDA device: the NVIDIA driver sees no GPU");
    }
  }

  private static int call(NativeLibrary driver, String name, Object argument) {
    Function function = driver.getFunction(name);
    return function.invokeInt(new Object[] {argument});
  }
}
