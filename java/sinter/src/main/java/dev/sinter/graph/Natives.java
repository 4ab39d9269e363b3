package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;

/** Loads the native library once and turns its statuses into exceptions. */
final class Natives {
  private Natives() {}

  private record Problem(String message, Throwable cause) {}

  private static final class Library {
    /** What is wrong, null where all is well; kept, as the loader's own error comes only once. */
    static final Problem PROBLEM = load();

    private static Problem load() {
      String platform = Loader.getPlatform();
      try {
        Loader.load(sinter.class);
        int version = sinter.sn_version();
        return version == sinter.SN_VERSION
            ? null
            : new Problem(
                "native library has version "
                    + version
                    + ", this jar needs "
                    + sinter.SN_VERSION
                    + "; use sinter and sinter-native of one release",
                null);
      } catch (UnsatisfiedLinkError | NoClassDefFoundError e) {
        return new Problem(
            "native library for "
                + platform
                + " not on the class path; add dev.sinter:sinter-native with the classifier "
                + platform
                + " (and org.bytedeco:javacpp likewise)",
            e);
      }
    }
  }

  /** Makes sure that the library is there and of this version. */
  static void load() {
    if (Library.PROBLEM != null) {
      throw new SinterException(Library.PROBLEM.message(), Library.PROBLEM.cause());
    }
  }

  /** Throws what a native status means. */
  static void check(int status) {
    if (status != sinter.SN_OK) {
      throw failure(status, null);
    }
  }

  /** The exception for a status other than {@code SN_OK}, with the calling thread's message. */
  static RuntimeException failure(int status, String operation) {
    String message = sinter.sn_last_error().getString();
    if (operation != null && !message.startsWith(operation)) {
      message = operation + ": " + message;
    }
    if (status == sinter.SN_OUT_OF_MEMORY) {
      return new DeviceMemoryException(message);
    }
    if (status == sinter.SN_BAD_ARGUMENT || status == sinter.SN_BAD_SHAPE) {
      return new IllegalArgumentException(message);
    }
    return new SinterException(message);
  }

  /** A place in device memory: an address without a length, for native calls only. */
  static final class Address extends Pointer {
    Address(long address) {
      this.address = address;
    }
  }
}
