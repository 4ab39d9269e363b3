package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;

/** A thousand requests of mixed length from 64 threads, some cancelled. */
final class Stress {
  private static final int REQUESTS = 1000;
  private static final int THREADS = 64;

  private Stress() {}

  /**
   * @param longest tokens of a prompt
   * @param adapters that the engine has: two of three requests have one of them, if there are any
   * @param alone what a request gets by rights
   */
  static void run(
      Engine engine,
      int vocabulary,
      int longest,
      List<String> adapters,
      Function<Request, Completion> alone) {
    AtomicLong refused = new AtomicLong();
    AtomicLong cancelled = new AtomicLong();
    ExecutorService callers = Executors.newFixedThreadPool(THREADS);
    try (engine) {
      List<Future<?>> all = new ArrayList<>();
      for (int i = 0; i < REQUESTS; i++) {
        int number = i;
        Request request = request(i, vocabulary, longest, adapters);
        all.add(
            callers.submit(
                () -> {
                  if (number % 10 == 9) {
                    cancel(engine, request, number, refused);
                    cancelled.incrementAndGet();
                  } else {
                    assertSame(alone.apply(request), complete(engine, request, number, refused));
                  }
                }));
      }
      for (Future<?> one : all) {
        one.get();
      }
      Request last = request(0, vocabulary, longest, adapters);
      complete(engine, last, 0, refused); // a step later than all that was cancelled
      EngineStats stats = engine.stats();
      assertEquals(0, stats.usedPages());
      assertEquals(0, stats.running() + stats.waiting());
      assertEquals(REQUESTS + 1, stats.completed() + stats.cancelled());
      assertTrue(stats.cancelled() <= cancelled.get());
      assertEquals(refused.get(), stats.refused());
      assertTrue(refused.get() > 0, "the queue was never full");
      assertTrue(stats.cachedTokens() > 0, "no prompt was shared");
    } catch (InterruptedException | ExecutionException e) {
      throw new AssertionError(e);
    } finally {
      callers.shutdownNow();
    }
  }

  /** One in three prompts begins as others do. */
  private static Request request(int number, int vocabulary, int longest, List<String> adapters) {
    Random random = new Random(number);
    int[] prompt = random.ints(1 + random.nextInt(longest), 0, vocabulary).toArray();
    if (number % 3 == 0) {
      Arrays.setAll(prompt, at -> at < longest / 2 ? at * 7 % vocabulary : prompt[at]);
    }
    Sampling sampling =
        Sampling.defaults()
            .withSeed(number)
            .withTemperature(number % 2 * 0.9)
            .withRepetitionPenalty(number % 5 == 0 ? 1.2 : 1)
            .withMaxNewTokens(1 + random.nextInt(16));
    Request request =
        Request.of(
            prompt, number % 16 == 1 ? sampling.with(Processors.noRepeatNgram(2)) : sampling);
    if (!adapters.isEmpty() && number % 3 != 2) {
      request = request.withAdapter(adapters.get(number / 3 % adapters.size()));
    }
    return number % 8 == 4
        ? request.withSpeculation(Speculation.promptLookup(2, 4))
        : number % 8 == 3 ? request.sliding(2) : request;
  }

  private static Completion complete(
      Engine engine, Request request, int number, AtomicLong refused) {
    if (number % 2 == 0) {
      return retried(() -> engine.submit(request), refused).join();
    }
    try (EngineStream stream = retried(() -> engine.stream(request), refused)) {
      List<Token> tokens = new ArrayList<>();
      stream.forEach(tokens::add);
      Completion completion = stream.completion().join();
      assertEquals(completion.tokens(), tokens);
      return completion;
    }
  }

  private static void cancel(Engine engine, Request request, int number, AtomicLong refused) {
    if (number % 20 == 9) {
      CompletableFuture<Completion> future = retried(() -> engine.submit(request), refused);
      LockSupport.parkNanos(1000L * number);
      future.cancel(false);
    } else {
      try (EngineStream stream = retried(() -> engine.stream(request), refused)) {
        stream.next();
      }
    }
  }

  private interface Call<T> {
    T call();
  }

  private static <T> T retried(Call<T> call, AtomicLong refused) {
    while (true) {
      try {
        return call.call();
      } catch (QueueFullException e) {
        refused.incrementAndGet();
        LockSupport.parkNanos(100_000);
      }
    }
  }

  private static void assertSame(Completion alone, Completion one) {
    assertEquals(
        alone.tokens().stream().map(Token::id).toList(),
        one.tokens().stream().map(Token::id).toList());
    assertEquals(alone.finishReason(), one.finishReason());
    assertEquals(alone.score(), one.score(), 1e-3);
  }
}
