package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_recording;
import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicBoolean;

/** Operations of a stream that were recorded, to be run again as one. */
final class Recording implements AutoCloseable {
  private final Stream stream;
  private final sn_recording recording;
  private final Cleaner.Cleanable cleanable;
  private final AtomicBoolean closed = new AtomicBoolean();

  private Recording(Stream stream, sn_recording recording) {
    this.stream = stream;
    this.recording = recording;
    cleanable = Device.CLEANER.register(this, () -> sinter.sn_recording_destroy(recording));
  }

  /** Records what {@code queue} queues on the stream, which the calling thread has locked. */
  static Recording of(Stream stream, Runnable queue) {
    sn_recording recording = new sn_recording();
    Natives.check(sinter.sn_capture_begin(stream.handle()));
    boolean queued = false;
    try {
      queue.run();
      queued = true;
    } finally {
      int status = sinter.sn_capture_end(stream.handle(), recording);
      if (queued) {
        Natives.check(status);
      } else if (status == sinter.SN_OK) {
        sinter.sn_recording_destroy(recording);
      }
    }
    return new Recording(stream, recording);
  }

  /** How many kernels a replay launches. */
  long kernels() {
    long[] count = new long[1];
    Natives.check(sinter.sn_recording_kernels(recording, count));
    return count[0];
  }

  void replay() {
    Natives.check(sinter.sn_replay(stream.handle(), recording));
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      stream.settle();
      cleanable.clean();
    }
  }
}
