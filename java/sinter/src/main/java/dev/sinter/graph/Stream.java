package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_stream;
import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicBoolean;
import org.bytedeco.javacpp.Pointer;

/** An ordered queue of operations on a device. To be used by one thread at a time. */
final class Stream implements AutoCloseable {
  private final sn_stream stream = new sn_stream();
  private final Cleaner.Cleanable cleanable;
  private final AtomicBoolean closed = new AtomicBoolean();

  Stream(Device device) {
    Device.Handle handle = device.handle();
    Natives.check(sinter.sn_stream_create(handle.device, stream));
    handle.retain();
    sn_stream kept = stream;
    cleanable =
        Device.CLEANER.register(
            this,
            () -> {
              sinter.sn_stream_destroy(kept);
              handle.release();
            });
  }

  sn_stream handle() {
    if (closed.get()) {
      throw new IllegalStateException("stream is closed");
    }
    return stream;
  }

  void write(Pointer destination, HostBuffer host, long bytes) {
    Natives.check(sinter.sn_write(handle(), destination, host.address(), bytes));
  }

  void read(Pointer source, HostBuffer host, long bytes) {
    Natives.check(sinter.sn_read(handle(), source, host.address(), bytes));
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      cleanable.clean();
    }
  }
}
