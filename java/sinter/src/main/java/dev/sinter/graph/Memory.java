package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicBoolean;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;

/** A block of zeroed device memory. */
final class Memory implements AutoCloseable {
  private final long address;
  private final Pointer start;
  private final long bytes;
  private final Cleaner.Cleanable cleanable;
  private final AtomicBoolean closed = new AtomicBoolean();

  Memory(Device device, long bytes) {
    Device.Handle handle = device.handle();
    try (PointerPointer<Pointer> out = new PointerPointer<>(1)) {
      Natives.check(sinter.sn_allocate(handle.device, Math.max(bytes, 1), out));
      this.address = out.get(0).address();
    }
    this.start = new Natives.Address(address);
    this.bytes = bytes;
    handle.retain();
    Pointer kept = start;
    cleanable =
        Device.CLEANER.register(
            this,
            () -> {
              sinter.sn_free(handle.device, kept);
              handle.release();
            });
  }

  long bytes() {
    return bytes;
  }

  /** The address of a place in the block; that of its start is made once. */
  Pointer at(long offset) {
    if (closed.get()) {
      throw new IllegalStateException("memory is closed");
    }
    if (offset < 0 || offset > bytes) {
      throw new IndexOutOfBoundsException("offset " + offset + " of " + bytes + " bytes");
    }
    return offset == 0 ? start : new Natives.Address(address + offset);
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      cleanable.clean();
    }
  }
}
