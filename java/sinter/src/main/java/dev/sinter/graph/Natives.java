package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;

/** Loads the native library once and turns its statuses into exceptions. */
final class Natives {
  private Natives() {}

  private static final class Library {
    static final SinterException FAILURE = load();

    private static SinterException load() {
      String platform = Loader.getPlatform();
      try {
        Loader.load(sinter.class);
        int version = sinter.sn_version();
        return version == sinter.SN_VERSION
            ? null
            : new SinterException(
                "native library has version "
                    + version
                    + ", this jar needs "
                    + sinter.SN_VERSION
                    + "; use sinter and sinter-native of one release");
      } catch (UnsatisfiedLinkError | NoClassDefFoundError e) {
        return new SinterException(
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
    if (Library.FAILURE != null) {
      throw new SinterException(Library.FAILURE.getMessage(), Library.FAILURE);
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
