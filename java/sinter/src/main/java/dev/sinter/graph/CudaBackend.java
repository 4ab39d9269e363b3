package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.io.File;
import java.io.IOException;
import java.net.URL;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Loads the CUDA backend, a library of its own: only where a driver is there, so that nothing of
 * CUDA is touched on a machine without a GPU.
 */
final class CudaBackend {
  /**
   * Names the file of the backend instead of the one in the jar; no driver is asked for then: its
   * own calls say what is missing.
   */
  static final String LIBRARY = "dev.sinter.cuda.library";

  /** Names a folder with cuBLASLt, which then comes before all others. */
  static final String CUBLASLT = "dev.sinter.cublaslt";

  private static final Logger LOG = LoggerFactory.getLogger(CudaBackend.class);
  private static final String RESOURCE =
      "/dev/sinter/natives/" + Loader.getPlatform() + "/libsinter_cuda.so";

  private CudaBackend() {}

  /**
   * Makes sure that the backend is loaded.
   *
   * @throws SinterException where it cannot be
   */
  static void load() {
    String library = System.getProperty(LIBRARY);
    if (library == null) {
      NvidiaDriver.require();
      library = fromJar();
    }
    try (BytePointer path = new BytePointer(library)) {
      Natives.check(sinter.sn_load_cuda(path));
    }
  }

  /**
   * Lets a GPU have cuBLASLt, where it is: in the folder that {@link #CUBLASLT} names, in a jar of
   * org.bytedeco:cuda on the class path, or on the system.
   *
   * @return its version; 0 where there is none
   */
  static int cublasLt(Device device) {
    String named = System.getProperty(CUBLASLT);
    String folder = named == null ? cublasLtFromJar() : named;
    long[] version = new long[1];
    try (BytePointer path = folder == null ? null : new BytePointer(folder)) {
      Natives.check(sinter.sn_gemm_library(device.handle().device, path, version));
    }
    return Math.toIntExact(version[0]);
  }

  /** The folder that it was unpacked to; null where no jar has it. */
  private static String cublasLtFromJar() {
    for (String file : new String[] {"libcublasLt.so.13", "libcublasLt.so.12"}) {
      URL resource =
          CudaBackend.class
              .getClassLoader()
              .getResource("org/bytedeco/cuda/" + Loader.getPlatform() + "/" + file);
      if (resource != null) {
        try {
          return Loader.cacheResource(resource).getParent();
        } catch (IOException e) {
          LOG.warn("cuBLASLt is not used: cannot unpack {}: {}", resource, e.getMessage());
        }
      }
    }
    return null;
  }

  private static String fromJar() {
    URL resource = CudaBackend.class.getResource(RESOURCE);
    if (resource == null) {
      throw new SinterException(
          "no CUDA backend: the jar of sinter-native for "
              + Loader.getPlatform()
              + " was built without one; use the CPU, or build where nvcc is");
    }
    try {
      File file = Loader.cacheResource(resource);
      return file.getPath();
    } catch (IOException e) {
      throw new SinterException("no CUDA backend: cannot unpack " + RESOURCE, e);
    }
  }
}
