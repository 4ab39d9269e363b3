package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.model.LoadedAdapter;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Requests with adapters of their own, and adapters that come and go. */
@Timeout(60)
class EngineAdaptersTest {
  private static final int CONTEXT = 64;
  private static final EngineSettings SETTINGS =
      EngineSettings.defaults().withSlots(3).withPageSize(4).withChunk(8).withQueue(64);

  private static LoadedAdapter adapter(String name) {
    return new LoadedAdapter(name, List.of());
  }

  private static Engine engine(FakeSteps steps, EngineSettings settings, String... adapters) {
    Engine engine = new Engine(steps, null, null, settings);
    for (String name : adapters) {
      engine.loadAdapter(adapter(name));
    }
    return engine;
  }

  private static Engine engine(String... adapters) {
    return engine(FakeSteps.of(CONTEXT, SETTINGS), SETTINGS, adapters);
  }

  private static Request request(int... prompt) {
    return Request.of(prompt, Sampling.defaults().withSeed(1).withMaxNewTokens(10));
  }

  private static List<Integer> ids(Completion completion) {
    return completion.tokens().stream().map(Token::id).toList();
  }

  private static List<Integer> alone(Request request) {
    return ids(FakeSteps.alone(request, CONTEXT, -1));
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    while (!condition.getAsBoolean()) {
      Thread.sleep(1);
    }
  }

  private static void assertRefused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void eachRequestGetsWhatItsAdapterWritesAlone() {
    int[] prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    try (Engine engine = engine("a", "b", "c")) {
      List<Request> requests = new ArrayList<>();
      for (int i = 0; i < 30; i++) {
        Request request = request(i % 2 == 0 ? prompt : new int[] {1, 2, 3, 4, i});
        requests.add(i % 4 == 3 ? request : request.withAdapter("abc".substring(i % 4, i % 4 + 1)));
      }
      List<Completion> all = engine.complete(requests);
      for (int i = 0; i < all.size(); i++) {
        assertEquals(alone(requests.get(i)), ids(all.get(i)), "request " + i);
      }
      assertNotEquals(ids(all.get(0)), ids(all.get(2)));
      assertEquals(List.of("a", "b", "c"), engine.adapters());
    }
  }

  @Test
  void promptsAreSharedUnderOneAdapterAlone() {
    int[] prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    try (Engine engine = engine("a", "b")) {
      for (String name : List.of("a", "b")) {
        Request request = request(prompt).withAdapter(name);
        Completion first = engine.submit(request).join();
        assertEquals(0, first.cachedTokens(), name);
        assertEquals(alone(request), ids(first));
        Completion second = engine.submit(request).join();
        assertEquals(8, second.cachedTokens(), name);
        assertEquals(alone(request), ids(second));
      }
      assertEquals(0, engine.submit(request(prompt)).join().cachedTokens());
    }
  }

  @Test
  void preemptedRequestsKeepTheirAdapters() {
    EngineSettings few = SETTINGS.withPages(7);
    try (Engine engine = engine(FakeSteps.of(CONTEXT, few), few, "a", "b")) {
      List<Request> requests = new ArrayList<>();
      for (int i = 0; i < 20; i++) {
        requests.add(request(1, 2, 3, 4, 5, 6, 7, i % 3).withAdapter(i % 2 == 0 ? "a" : "b"));
      }
      List<Completion> all = engine.complete(requests);
      for (int i = 0; i < all.size(); i++) {
        assertEquals(alone(requests.get(i)), ids(all.get(i)), "request " + i);
      }
      assertTrue(engine.stats().preempted() > 0, engine.stats().toString());
    }
  }

  @Test
  void unknownNamesAreRefusedAtOnce() {
    try (Engine engine = engine()) {
      assertRefused(
          "adapter x is not loaded; none is", () -> engine.submit(request(1).withAdapter("x")));
      engine.loadAdapter(adapter("b"));
      engine.loadAdapter(adapter("a"));
      String message = "adapter x is not loaded; there are a, b";
      assertRefused(message, () -> engine.submit(request(1).withAdapter("x")));
      assertRefused(message, () -> engine.stream(request(1).withAdapter("x")));
      assertRefused(message, () -> engine.unloadAdapter("x"));
      assertRefused(
          "adapter a is loaded already; unload it first", () -> engine.loadAdapter(adapter("a")));
      assertRefused(
          "adapter foreign is another model's", () -> engine.loadAdapter(adapter("foreign")));
      assertEquals(List.of("a", "b"), engine.adapters());
      assertEquals(10, engine.submit(request(1).withAdapter("a")).join().tokens().size());
    }
  }

  @Test
  void adaptersComeAndGoWhileRequestsRun() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(2);
    try (Engine engine = engine(steps, SETTINGS, "a")) {
      Request request = request(1, 2, 3).withAdapter("a");
      CompletableFuture<Completion> running = engine.submit(request);
      await(() -> steps.gate.hasQueuedThreads());
      CompletableFuture<Completion> waiting = engine.submit(request);
      engine.unloadAdapter("a");
      assertRefused("adapter a is not loaded; none is", () -> engine.submit(request));

      Thread loading = new Thread(() -> engine.loadAdapter(adapter("b")));
      loading.start();
      await(() -> loading.getState() == Thread.State.WAITING); // for the step
      steps.gate.release(2);
      loading.join();
      assertEquals(2, steps.salts.size(), "the first one's place was not free");
      steps.gate.release(1000);
      assertEquals(alone(request), ids(running.join()));
      assertEquals(alone(request), ids(waiting.join()));

      engine.loadAdapter(adapter("c"));
      assertEquals(2, steps.salts.size(), "the first one's place was free");
      Request next = request(1, 2, 3).withAdapter("c");
      Completion completion = engine.submit(next).join();
      assertEquals(alone(next), ids(completion));
      assertEquals(List.of("b", "c"), engine.adapters());
    }
  }

  @Test
  void anAdapterOfTheSameNameFindsNothingOfTheOneBefore() {
    int[] prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    try (Engine engine = engine("a")) {
      engine.submit(request(prompt).withAdapter("a")).join();
      engine.unloadAdapter("a");
      engine.loadAdapter(adapter("a"));
      assertEquals(0, engine.submit(request(prompt).withAdapter("a")).join().cachedTokens());
      EngineStats stats = engine.stats();
      assertEquals(0, stats.usedPages());
    }
  }

  @Test
  void aProcessorCannotLoadAdapters() {
    try (Engine engine = engine()) {
      Processor loading = (scores, sequence) -> engine.loadAdapter(adapter("a"));
      Request request = Request.of(new int[] {1}, Sampling.defaults().with(loading));
      CompletionException thrown =
          assertThrows(CompletionException.class, engine.submit(request)::join);
      assertTrue(thrown.getCause() instanceof IllegalStateException, thrown.toString());
      assertEquals(List.of(), engine.adapters());
    }
  }

  @Test
  void aClosedEngineTakesNone() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(0);
    Engine engine = engine(steps, SETTINGS);
    CompletableFuture<Completion> running = engine.submit(request(1));
    await(() -> steps.gate.hasQueuedThreads());
    AtomicBoolean heard = new AtomicBoolean();
    Thread caller =
        new Thread(
            () -> {
              assertThrows(IllegalStateException.class, () -> engine.loadAdapter(adapter("late")));
              heard.set(true);
            });
    caller.start();
    await(() -> caller.getState() == Thread.State.WAITING);
    Thread closing = new Thread(engine::close);
    closing.start();
    await(() -> closing.getState() == Thread.State.WAITING);
    steps.gate.release();
    closing.join();
    caller.join();
    assertTrue(heard.get());
    assertEquals(FinishReason.CANCELLED, running.join().finishReason());
    assertThrows(IllegalStateException.class, () -> engine.loadAdapter(adapter("later")));
  }

  @Test
  void aThousandRequestsFromManyThreads() throws InterruptedException {
    EngineSettings settings =
        EngineSettings.defaults()
            .withSlots(8)
            .withPages(50)
            .withPageSize(4)
            .withChunk(16)
            .withQueue(16);
    FakeSteps steps = FakeSteps.of(CONTEXT, settings);
    Engine engine = engine(steps, settings, "a", "b", "c");
    AtomicInteger changes = new AtomicInteger();
    Thread changing = new Thread(() -> changeUntilClosed(engine, changes)); // others come and go
    changing.start();
    Stress.run(
        engine,
        FakeSteps.VOCABULARY - 1,
        45,
        List.of("a", "b", "c"),
        request -> FakeSteps.alone(request, CONTEXT, request.slides() ? 2 : -1));
    changing.join();
    assertTrue(changes.get() > 1, changes.toString());
  }

  private static void changeUntilClosed(Engine engine, AtomicInteger changes) {
    try {
      while (true) {
        engine.loadAdapter(adapter("d"));
        engine.unloadAdapter("d");
        changes.incrementAndGet();
      }
    } catch (IllegalStateException e) {
      assertEquals("the engine is closed", e.getMessage());
    }
  }
}
