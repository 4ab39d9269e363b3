package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;

/**
 * Host memory that native code reads and writes, with the views that Java uses: made once, so that
 * a step makes none. It lives as long as any of the views.
 */
final class HostBuffer {
  private final ByteBuffer bytes;
  private final IntBuffer ints;
  private final FloatBuffer floats;
  private final Pointer address;

  HostBuffer(Device device, long size) {
    bytes =
        device.isCuda()
            ? pinned(device.handle(), size)
            : ByteBuffer.allocateDirect(Math.toIntExact(size));
    bytes.order(ByteOrder.nativeOrder());
    ints = bytes.asIntBuffer();
    floats = bytes.asFloatBuffer();
    address = new Pointer(bytes);
  }

  /** A part of another, whose memory it keeps. */
  HostBuffer(HostBuffer whole, long offset, long size) {
    bytes = whole.bytes.slice(Math.toIntExact(offset), Math.toIntExact(size));
    bytes.order(ByteOrder.nativeOrder());
    ints = bytes.asIntBuffer();
    floats = bytes.asFloatBuffer();
    address = new Pointer(bytes);
  }

  /** Memory that a GPU copies from and to without a detour. */
  private static ByteBuffer pinned(Device.Handle handle, long size) {
    Pointer memory;
    try (PointerPointer<Pointer> out = new PointerPointer<>(1)) {
      Natives.check(sinter.sn_allocate_host(handle.device, size, out));
      memory = new Natives.Address(out.get(0).address());
    }
    handle.retain();
    ByteBuffer buffer = new BytePointer(memory).capacity(size).asByteBuffer();
    Device.CLEANER.register(
        buffer,
        () -> {
          sinter.sn_free_host(handle.device, memory);
          handle.release();
        });
    return buffer;
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
