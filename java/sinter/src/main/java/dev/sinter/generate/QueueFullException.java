package dev.sinter.generate;

import java.util.concurrent.RejectedExecutionException;

/** An {@link Engine} has as many requests waiting as it may: this one was not taken. */
public final class QueueFullException extends RejectedExecutionException {
  private static final long serialVersionUID = 1;

  QueueFullException(int queue) {
    super(
        "the engine's queue is full: "
            + queue
            + " requests wait; try again later, or allow more by EngineSettings.withQueue");
  }
}
