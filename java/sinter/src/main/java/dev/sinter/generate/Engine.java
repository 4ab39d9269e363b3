package dev.sinter.generate;

import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LoadedAdapter;
import dev.sinter.text.Tokenizer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Completes many requests at once over one model. Requests join and leave at every step: each that
 * decodes gets a token a step, prompts are computed in chunks beside that, and prompts that begin
 * alike are computed once. A request's tokens depend on its prompt and settings alone: they are the
 * same in any company, whatever the cache holds, with and without speculation.
 *
 * <p>Requests start in the order in which they came. Where the cache has no page left, the youngest
 * gives its own back and is computed again later. All methods are safe from any thread, virtual
 * ones too. What hangs on a future, and subscribers, run on threads of their own, and may block or
 * throw without harm to others. A {@link Processor} of a request though runs within the step: one
 * that is slow slows all, one that throws a {@code RuntimeException} fails its request alone.
 */
public final class Engine implements AutoCloseable {
  private final Steps steps;
  private final Steps draft;
  private final Tokenizer tokenizer;
  private final EngineSettings settings;
  private final Scheduler scheduler;
  private final Thread thread = new Thread(this::serve, "sinter-engine");
  private final Executor callbacks = threads();
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition work = lock.newCondition(); // or the end
  private final Condition room = lock.newCondition(); // in the queue, or the end
  private final Deque<Job> waiting = new ArrayDeque<>();
  private final Deque<FutureTask<Void>> errands = new ArrayDeque<>(); // between steps
  private final Map<String, EngineAdapter> adapters = new TreeMap<>();
  private final List<EngineAdapter> leaving = new ArrayList<>(); // as soon as no job has them
  private boolean closed;
  private long refused;
  private EngineStats stats;

  /**
   * @param steps of the model; it becomes the engine's
   * @param draft likewise; null: none
   * @param tokenizer null: requests are tokens
   */
  Engine(Steps steps, Steps draft, Tokenizer tokenizer, EngineSettings settings) {
    this.steps = steps;
    this.draft = draft;
    this.tokenizer = tokenizer;
    this.settings = settings;
    scheduler = new Scheduler(steps, draft, settings.chunk(), System::nanoTime, new Deliveries());
    stats = scheduler.stats();
    thread.setDaemon(true);
    thread.start();
  }

  /**
   * Starts an engine.
   *
   * @param model whose weights; it stays the caller's, and open as long as the engine
   * @param tokenizer of the model; null: requests are tokens, and so are completions
   * @param settings how large it is; pages are at most as long as the context
   * @return the engine; the caller closes it
   * @throws IllegalArgumentException where tokenizer or draft model do not go with the model
   * @throws dev.sinter.graph.DeviceMemoryException where the pages do not fit
   */
  public static Engine of(FrozenModel model, Tokenizer tokenizer, EngineSettings settings) {
    GptConfig config = model.config();
    check(
        tokenizer == null || tokenizer.size() <= config.vocabulary(),
        "the tokenizer has more tokens than the model's vocabulary of "
            + config.vocabulary()
            + "; they are of different models");
    FrozenModel small = settings.speculation().model();
    if (small != null) {
      GptConfig other = small.config();
      check(
          other.vocabulary() == config.vocabulary() && other.context() >= config.context(),
          String.format(
              "the draft model has a vocabulary of %d and a context of %d, the model %d and %d; the"
                  + " one must be the same, the other at least as long",
              other.vocabulary(), other.context(), config.vocabulary(), config.context()));
    }
    EngineSettings fitting = settings.withPageSize(Math.min(settings.pageSize(), config.context()));
    fitting = fitting.withPages(fitting.pagesFor(config.context()));
    Steps steps = new PagedSteps(model, fitting);
    try {
      Steps draft = small == null ? null : new PagedSteps(small, fitting);
      return new Engine(steps, draft, tokenizer, fitting);
    } catch (RuntimeException e) {
      steps.close();
      throw e;
    }
  }

  /** As many threads as callbacks that run, none for long without. */
  private static Executor threads() {
    return new ThreadPoolExecutor(
        0,
        Integer.MAX_VALUE,
        1,
        TimeUnit.SECONDS,
        new SynchronousQueue<>(),
        task -> {
          Thread thread = new Thread(task, "sinter-engine-callback");
          thread.setDaemon(true);
          return thread;
        });
  }

  /**
   * Asks for a completion.
   *
   * @param request what to complete, and how
   * @return the completion; cancelling it cancels the request. It fails with an {@link
   *     ArithmeticException} where the model's logits are not finite, and with whatever a processor
   *     throws
   * @throws IllegalArgumentException for a prompt that is empty, has tokens that the model does not
   *     know, or does not fit the context or all pages together, and for an adapter that the engine
   *     does not have
   * @throws QueueFullException where as many requests wait as may; nothing of this one remains
   * @throws IllegalStateException where the engine is closed
   */
  public CompletableFuture<Completion> submit(Request request) {
    Job job = job(request, null);
    enqueue(job);
    return job.future();
  }

  /**
   * Asks for a completion, token by token.
   *
   * @param request what to complete, and how
   * @return its tokens as they come; the caller closes it, at any time
   * @throws IllegalArgumentException as {@link #submit}
   * @throws QueueFullException as {@link #submit}
   * @throws IllegalStateException where the engine is closed
   */
  public EngineStream stream(Request request) {
    EngineStream stream = new EngineStream(callbacks);
    Job job = job(request, stream);
    stream.setFuture(job.future());
    enqueue(job);
    return stream;
  }

  /**
   * Completes many requests, and waits for all: where the queue is full, until it has room.
   *
   * @param requests what to complete
   * @return a completion of each, in their order
   * @throws IllegalArgumentException as {@link #submit}; this and whatever else a request fails
   *     with cancels the others
   * @throws CancellationException where the thread is interrupted meanwhile; it still is then
   * @throws IllegalStateException where the engine is closed
   */
  public List<Completion> complete(List<Request> requests) {
    List<CompletableFuture<Completion>> futures = new ArrayList<>();
    try {
      for (Request request : requests) {
        Job job = job(request, null);
        enqueueWithRoom(job);
        futures.add(job.future());
      }
      List<Completion> completions = new ArrayList<>();
      for (CompletableFuture<Completion> future : futures) {
        completions.add(future.get());
      }
      return completions;
    } catch (ExecutionException e) {
      throw e.getCause() instanceof RuntimeException unchecked
          ? unchecked
          : new IllegalStateException(e.getCause());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CancellationException("interrupted while waiting for completions");
    } finally {
      futures.forEach(future -> future.cancel(false)); // those that have ended take no notice
    }
  }

  private void enqueue(Job job) {
    lock.lock();
    try {
      add(job);
    } finally {
      lock.unlock();
    }
  }

  private void enqueueWithRoom(Job job) throws InterruptedException {
    lock.lockInterruptibly();
    try {
      while (!closed && full()) {
        room.await();
      }
      add(job);
    } finally {
      lock.unlock();
    }
  }

  private boolean full() {
    return waiting.size() >= settings.queue();
  }

  private void add(Job job) {
    checkOpen();
    job.setAdapter(job.request().adapter().map(this::adapter).orElse(null));
    if (full()) {
      refused++;
      throw new QueueFullException(settings.queue());
    }
    waiting.add(job);
    work.signal();
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the engine is closed");
    }
  }

  private EngineAdapter adapter(String name) {
    EngineAdapter adapter = adapters.get(name);
    check(adapter != null, "adapter " + name + " is not loaded; " + names());
    return adapter;
  }

  private String names() {
    return adapters.isEmpty() ? "none is" : "there are " + String.join(", ", adapters.keySet());
  }

  /**
   * Takes a low-rank adapter in, while requests run: between two steps, which it waits for. From
   * then on requests may name it.
   *
   * @param adapter for the engine's model
   * @throws IllegalArgumentException where the engine has one of this name, or the adapter is for
   *     another model
   * @throws dev.sinter.graph.DeviceMemoryException where it does not fit; the engine goes on
   *     without it
   * @throws CancellationException where the thread is interrupted meanwhile; it still is then
   * @throws IllegalStateException where the engine is closed, and from within a {@link Processor}
   */
  public void loadAdapter(LoadedAdapter adapter) {
    if (Thread.currentThread() == thread) {
      throw new IllegalStateException("a step is being computed; load adapters elsewhere");
    }
    FutureTask<Void> errand = new FutureTask<>(() -> take(adapter), null);
    lock.lock();
    try {
      checkOpen();
      errands.add(errand);
      work.signal();
    } finally {
      lock.unlock();
    }
    try {
      errand.get();
    } catch (ExecutionException e) {
      throw e.getCause() instanceof RuntimeException unchecked
          ? unchecked
          : new IllegalStateException(e.getCause());
    } catch (InterruptedException e) {
      errand.cancel(false);
      Thread.currentThread().interrupt();
      throw new CancellationException("interrupted while an adapter was loaded");
    } catch (CancellationException e) {
      throw new IllegalStateException("the engine is closed", e);
    }
  }

  /** For the engine's thread, which alone adds adapters. */
  private void take(LoadedAdapter adapter) {
    lock.lock();
    try {
      check(
          !adapters.containsKey(adapter.name()),
          "adapter " + adapter.name() + " is loaded already; unload it first");
    } finally {
      lock.unlock();
    }
    EngineAdapter taken = scheduler.load(adapter);
    lock.lock();
    try {
      adapters.put(adapter.name(), taken);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Takes an adapter out: from now on requests that name it are refused. Those that wait or run
   * keep it until they end; then its memory is free for another.
   *
   * @param name of the adapter
   * @throws IllegalArgumentException where the engine has none of this name
   */
  public void unloadAdapter(String name) {
    lock.lock();
    try {
      leaving.add(adapter(name));
      adapters.remove(name);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Names the adapters that requests may have.
   *
   * @return names, sorted
   */
  public List<String> adapters() {
    lock.lock();
    try {
      return List.copyOf(adapters.keySet());
    } finally {
      lock.unlock();
    }
  }

  private Job job(Request request, EngineStream stream) {
    int context = steps.context();
    int[] prompt = request.text().map(this::encode).orElseGet(request::ids);
    for (int id : prompt) {
      check(
          id >= 0 && id < steps.vocabulary(),
          "token " + id + " in the prompt; the model's vocabulary has " + steps.vocabulary());
    }
    check(
        request.kept() < context,
        "sliding keeps " + request.kept() + " tokens; the model's context has " + context);
    request
        .speculation()
        .ifPresent(
            one ->
                check(
                    !one.drafts() || one.equals(settings.speculation()),
                    "a request's draft model is not the engine's; give it to EngineSettings"));
    Job job = new Job(request, prompt, context, settings.speculation(), tokenizer, stream);
    long room = (long) steps.pages() * steps.pageSize();
    check(
        job.positions() <= room,
        "the request may need "
            + job.positions()
            + " positions; all "
            + steps.pages()
            + " pages have "
            + room
            + "; let it end sooner, or give the engine more pages");
    return job;
  }

  private int[] encode(String text) {
    check(tokenizer != null, "a text needs a tokenizer, and the engine has none");
    return tokenizer.encode(text);
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /**
   * Says what the engine does.
   *
   * @return as it was after the last step; the queue as it is now
   */
  public EngineStats stats() {
    lock.lock();
    try {
      return stats.queued(waiting.size(), refused);
    } finally {
      lock.unlock();
    }
  }

  private void serve() {
    boolean orderly = false;
    try {
      while (prepare()) {
        runErrands();
        scheduler.step();
        publish();
        scheduler.flush();
      }
      orderly = true;
    } finally {
      end(orderly);
    }
  }

  /** Waits until there is work, and starts what has room; false where the engine is closed. */
  private boolean prepare() {
    lock.lock();
    try {
      while (!closed && waiting.isEmpty() && errands.isEmpty() && !scheduler.busy()) {
        work.awaitUninterruptibly();
      }
      waiting.removeIf(scheduler::cancelledWhileWaiting);
      leaving.removeIf(this::unloaded);
      while (!waiting.isEmpty() && scheduler.admits(waiting.peek())) {
        scheduler.start(waiting.poll());
      }
      if (!full()) {
        room.signalAll();
      }
      return !closed;
    } finally {
      lock.unlock();
    }
  }

  /** Lets an adapter go if no request has it any more. */
  private boolean unloaded(EngineAdapter adapter) {
    if (scheduler.uses(adapter) || waiting.stream().anyMatch(job -> job.adapter() == adapter)) {
      return false;
    }
    scheduler.unload(adapter);
    return true;
  }

  private void runErrands() {
    for (FutureTask<Void> errand = nextErrand(); errand != null; errand = nextErrand()) {
      errand.run();
    }
  }

  private FutureTask<Void> nextErrand() {
    lock.lock();
    try {
      return errands.poll();
    } finally {
      lock.unlock();
    }
  }

  private void publish() {
    lock.lock();
    try {
      stats = scheduler.stats();
    } finally {
      lock.unlock();
    }
  }

  /**
   * @param orderly false: this thread dies of what a processor or the device threw
   */
  private void end(boolean orderly) {
    List<Job> left;
    lock.lock();
    try {
      closed = true;
      left = List.copyOf(waiting);
      waiting.clear();
      errands.forEach(errand -> errand.cancel(false));
      room.signalAll();
    } finally {
      lock.unlock();
    }
    if (orderly) {
      scheduler.cancelAll(left);
    } else {
      scheduler.failAll(left, new IllegalStateException("the engine has died of an error"));
    }
    publish();
    scheduler.flush();
    steps.close();
    if (draft != null) {
      draft.close();
    }
  }

  /** Hands results over, each on a thread that may block. */
  private final class Deliveries implements Scheduler.Results {
    @Override
    public void completed(Job job, Completion completion) {
      job.endStream(null);
      job.future().completeAsync(() -> completion, callbacks);
    }

    @Override
    public void failed(Job job, Throwable failure) {
      job.endStream(failure);
      callbacks.execute(() -> job.future().completeExceptionally(failure));
    }
  }

  /**
   * Closes the engine: what runs or waits ends as {@link FinishReason#CANCELLED}, with the tokens
   * that it has. Waits for the step that is being computed. The model stays its owner's. Closing
   * twice is harmless.
   */
  @Override
  public void close() {
    lock.lock();
    try {
      closed = true;
      work.signal();
      room.signalAll();
    } finally {
      lock.unlock();
    }
    if (Thread.currentThread() != thread) {
      awaitEnd();
    }
  }

  private void awaitEnd() {
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
