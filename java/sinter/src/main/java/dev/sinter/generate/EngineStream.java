package dev.sinter.generate;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A completion of an {@link Engine} as it comes, token by token. The engine never waits for who
 * reads it: what is not read yet is kept. Read it from one thread at a time, or subscribe to it;
 * each token is given once. Closing it before the end cancels the request, and the cache is free
 * again with the engine's next step.
 */
public final class EngineStream implements Iterable<Token>, Flow.Publisher<Token>, AutoCloseable {
  private final Executor callbacks;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final List<Token> tokens = new ArrayList<>();
  private CompletableFuture<Completion> future;
  private int given;
  private boolean ended;
  private Throwable failure;
  private volatile boolean closed;
  private Subscription subscription;

  EngineStream(Executor callbacks) {
    this.callbacks = callbacks;
  }

  void setFuture(CompletableFuture<Completion> completion) {
    future = completion;
  }

  /** Takes the next token from the engine. */
  void push(Token token) {
    update(() -> tokens.add(token));
  }

  /**
   * Takes the end of the tokens.
   *
   * @param cause of a failure; null: none
   */
  void end(Throwable cause) {
    update(
        () -> {
          ended = true;
          failure = cause;
        });
  }

  private void update(Runnable change) {
    Subscription told;
    lock.lock();
    try {
      change.run();
      changed.signalAll();
      told = subscription;
    } finally {
      lock.unlock();
    }
    if (told != null) {
      told.proceed();
    }
  }

  boolean closed() {
    return closed;
  }

  /** What is left of the completion: every iterator goes on where the stream stands. */
  @Override
  public Iterator<Token> iterator() {
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return EngineStream.this.hasNext();
      }

      @Override
      public Token next() {
        return EngineStream.this.next();
      }
    };
  }

  /**
   * Waits until there is a token, or none to come.
   *
   * @return false at the end of the completion and after {@link #close}
   * @throws ArithmeticException where the model's logits are not finite
   * @throws CancellationException where the thread is interrupted meanwhile: the stream is then
   *     closed, and the thread still interrupted
   * @throws RuntimeException of a processor, or of the device
   */
  public boolean hasNext() {
    lock.lock();
    try {
      while (given == tokens.size() && !ended && !closed) {
        changed.await();
      }
      if (closed) {
        return false;
      }
      if (given == tokens.size() && failure != null) {
        throw failure instanceof RuntimeException unchecked
            ? unchecked
            : new IllegalStateException(failure);
      }
      return given < tokens.size();
    } catch (InterruptedException e) {
      close();
      Thread.currentThread().interrupt();
      throw new CancellationException("interrupted while waiting for a token");
    } finally {
      lock.unlock();
    }
  }

  /**
   * Waits for the next token.
   *
   * @return the token
   * @throws NoSuchElementException after the last one
   */
  public Token next() {
    lock.lock();
    try {
      if (!hasNext()) {
        throw new NoSuchElementException("the completion has ended");
      }
      return tokens.get(given++);
    } finally {
      lock.unlock();
    }
  }

  /**
   * The completion when it has ended: with {@link FinishReason#CANCELLED} where the stream was
   * closed before.
   *
   * @return the future; to cancel it is to close the stream
   */
  public CompletableFuture<Completion> completion() {
    return future;
  }

  /**
   * Hands what is left of the completion to a subscriber, as far as it asks for it, on the engine's
   * threads for callbacks. There can be one; to cancel its subscription is to close the stream.
   */
  @Override
  public void subscribe(Flow.Subscriber<? super Token> subscriber) {
    Objects.requireNonNull(subscriber, "subscriber");
    Subscription own = new Subscription(subscriber);
    boolean only;
    lock.lock();
    try {
      only = subscription == null;
      subscription = only ? own : subscription;
    } finally {
      lock.unlock();
    }
    if (only) {
      own.begin();
    } else {
      own.refuse();
    }
  }

  /** Cancels what has not ended. Closing twice is harmless. */
  @Override
  public void close() {
    closed = true;
    update(() -> {});
  }

  /** Signals come one after the other: of several tasks only the one that found it idle works. */
  private final class Subscription implements Flow.Subscription {
    private final Flow.Subscriber<? super Token> subscriber;
    private long demand;
    private boolean busy = true;
    private boolean done;
    private Throwable misuse;

    Subscription(Flow.Subscriber<? super Token> subscriber) {
      this.subscriber = subscriber;
    }

    void begin() {
      callbacks.execute(
          () -> {
            subscriber.onSubscribe(this);
            signal();
          });
    }

    void refuse() {
      done = true;
      callbacks.execute(
          () -> {
            subscriber.onSubscribe(this);
            subscriber.onError(new IllegalStateException("the stream has a subscriber already"));
          });
    }

    @Override
    public void request(long count) {
      lock.lock();
      try {
        if (count <= 0) {
          misuse = new IllegalArgumentException(count + " tokens requested; 1 or more");
        }
        demand = demand + count < 0 ? Long.MAX_VALUE : demand + count;
      } finally {
        lock.unlock();
      }
      proceed();
    }

    @Override
    public void cancel() {
      lock.lock();
      try {
        done = true;
      } finally {
        lock.unlock();
      }
      close();
    }

    void proceed() {
      lock.lock();
      try {
        if (busy || done) {
          return;
        }
        busy = true;
      } finally {
        lock.unlock();
      }
      callbacks.execute(this::signal);
    }

    private void signal() {
      for (Runnable next = next(); next != null; next = next()) {
        try {
          next.run();
        } catch (RuntimeException e) { // a subscriber that throws has cancelled (rule 2.13)
          cancel();
          throw e;
        }
      }
    }

    /** The next signal; null: none now. */
    private Runnable next() {
      lock.lock();
      try {
        if (done) {
          return null;
        }
        if (misuse != null) {
          return last(() -> subscriber.onError(misuse));
        }
        if (given < tokens.size() && !closed) {
          if (demand > 0) {
            demand--;
            Token token = tokens.get(given++);
            return () -> subscriber.onNext(token);
          }
        } else if (closed || ended) {
          return last(failure == null ? subscriber::onComplete : () -> subscriber.onError(failure));
        }
        busy = false;
        return null;
      } finally {
        lock.unlock();
      }
    }

    private Runnable last(Runnable signal) {
      done = true;
      return signal;
    }
  }
}
