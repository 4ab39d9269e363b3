package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_stream;
import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import org.bytedeco.javacpp.Pointer;

/**
 * An ordered queue of operations on a device. All that works on one model's weights shares one:
 * what one part has written the next then finds. Threads take turns by {@link #lock}.
 */
final class Stream implements AutoCloseable {
  private final sn_stream stream = new sn_stream();
  private final ReentrantLock turn = new ReentrantLock();
  private final Cleaner.Cleanable cleanable;
  private final AtomicBoolean closed = new AtomicBoolean();
  private boolean busy;

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

  /** Waits until no other thread has the stream. Each lock needs its {@link #unlock}. */
  void lock() {
    turn.lock();
  }

  void unlock() {
    turn.unlock();
  }

  /** Notes that work was queued which {@link #settle} is to wait for. */
  void queued() {
    busy = true;
  }

  /**
   * Waits for all that was queued: then host memory that it reads or writes is the host's again.
   */
  void settle() {
    lock();
    try {
      if (busy && !closed.get()) {
        busy = false;
        Natives.check(sinter.sn_synchronize(stream));
      }
    } finally {
      unlock();
    }
  }

  /** Copies to the device; the host's memory is the host's again on return. */
  void write(Pointer destination, HostBuffer host, long bytes) {
    lock();
    try {
      Natives.check(sinter.sn_write(handle(), destination, host.address(), bytes));
      busy = true;
      settle();
    } finally {
      unlock();
    }
  }

  /** Copies to the host and waits for it. */
  void read(Pointer source, HostBuffer host, long bytes) {
    lock();
    try {
      Natives.check(sinter.sn_read(handle(), source, host.address(), bytes));
      busy = false;
    } finally {
      unlock();
    }
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      cleanable.clean();
    }
  }
}
