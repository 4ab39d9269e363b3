package dev.sinter.graph;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import org.bytedeco.javacpp.Pointer;

/**
 * Host memory that native code reads and writes, with the views that Java uses: made once, so that
 * a step makes none.
 */
final class HostBuffer {
  private final ByteBuffer bytes;
  private final IntBuffer ints;
  private final FloatBuffer floats;
  private final Pointer address;

  HostBuffer(long size) {
    bytes = ByteBuffer.allocateDirect(Math.toIntExact(size)).order(ByteOrder.nativeOrder());
    ints = bytes.asIntBuffer();
    floats = bytes.asFloatBuffer();
    address = new Pointer(bytes);
  }

  long size() {
    return bytes.capacity();
  }

  ByteBuffer bytes() {
    return bytes;
  }

  /** All elements; position and limit are reset. */
  IntBuffer ints() {
    return ints.clear();
  }

  /** All elements; position and limit are reset. */
  FloatBuffer floats() {
    return floats.clear();
  }

  Pointer address() {
    return address;
  }
}
