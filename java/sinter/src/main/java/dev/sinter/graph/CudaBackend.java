package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.io.File;
import java.io.IOException;
import java.net.URL;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;

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
