package dev.sinter.graph;

/** The device has no memory left for what was asked. The device stays usable. */
public final class DeviceMemoryException extends SinterException {
  private static final long serialVersionUID = 1L;

  DeviceMemoryException(String message) {
    super(message);
  }
}
