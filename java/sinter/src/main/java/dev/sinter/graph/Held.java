package dev.sinter.graph;

import org.bytedeco.javacpp.FloatPointer;

/** An fp32 tensor that stays on the device after a run, until the host wants a row of it. */
final class Held {
  private final Tensor tensor;

  /** A CPU's memory is the host's; null on a GPU. */
  private final FloatPointer direct;

  private final HostBuffer staging;

  Held(Device device, Tensor tensor) {
    this.tensor = tensor;
    direct = device.isCuda() ? null : new FloatPointer(tensor.address());
    staging = device.isCuda() ? new HostBuffer(device, 4 * tensor.columns()) : null;
  }

  /** Copies a row, after the run has been waited for. */
  void read(Stream stream, int row, float[] into) {
    if (row < 0 || row >= tensor.rows() || into.length != tensor.columns()) {
      throw new IllegalArgumentException(
          "row " + row + " into " + into.length + " numbers of " + tensor);
    }
    long first = row * tensor.columns();
    if (direct != null) {
      direct.position(first).get(into);
    } else {
      stream.read(tensor.address(first), staging, staging.size());
      staging.floats().get(into);
    }
  }
}
