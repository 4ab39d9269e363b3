package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.text.CharTokenizer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Many callers and one engine, over a model in a few lines. */
@Timeout(60)
class EngineTest {
  private static final int CONTEXT = 64;
  private static final EngineSettings SETTINGS =
      EngineSettings.defaults().withSlots(3).withPageSize(4).withChunk(8).withQueue(4);

  private static Sampling sampling(int seed, int tokens) {
    return Sampling.defaults().withSeed(seed).withMaxNewTokens(tokens);
  }

  private static Request request(int... prompt) {
    return Request.of(prompt, sampling(1, 10));
  }

  private static Engine engine(FakeSteps steps) {
    return new Engine(steps, null, null, SETTINGS);
  }

  private static List<Integer> ids(Completion completion) {
    return completion.tokens().stream().map(Token::id).toList();
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    while (!condition.getAsBoolean()) {
      Thread.sleep(1);
    }
  }

  @Test
  void textsGoInAndComeOut() {
    CharTokenizer tokenizer = CharTokenizer.train("abcdefghijklmnopqrstuvwxyz .,!?\n");
    assertEquals(FakeSteps.VOCABULARY, tokenizer.size());
    try (Engine engine = new Engine(FakeSteps.of(CONTEXT, SETTINGS), null, tokenizer, SETTINGS)) {
      Completion completion = engine.submit(Request.of("to be", sampling(1, 10))).join();
      int[] prompt = tokenizer.encode("to be");
      Completion alone = FakeSteps.alone(prompt, sampling(1, 10), CONTEXT);
      assertEquals(ids(alone), ids(completion));
      assertEquals(
          tokenizer.decode(ids(alone).stream().mapToInt(Integer::intValue).toArray()),
          completion.text());
      String stop = completion.text().substring(2, 4);
      Completion stopped =
          engine.submit(Request.of("to be", sampling(1, 10).withStop(stop))).join();
      assertEquals(FinishReason.STOP, stopped.finishReason());
      assertTrue(completion.text().startsWith(stopped.text()));
      assertFalse(stopped.text().contains(stop));
    }
  }

  @Test
  void timesAndCountsComeWithTheCompletion() {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS))) {
      Completion completion = engine.submit(request(1, 2, 3)).join();
      assertTrue(completion.prefill().toNanos() > 0);
      assertTrue(completion.decode().toNanos() > 0);
      assertFalse(completion.queue().isNegative());
      assertEquals(completion.queue().plus(completion.prefill()), completion.timeToFirstToken());
      EngineStats stats = engine.stats();
      assertEquals(1, stats.completed());
      assertEquals(10, stats.generatedTokens());
      assertEquals(3, stats.promptTokens());
      assertEquals(0, stats.usedPages());
    }
  }

  @Test
  void whatCannotBeIsRefusedAtOnce() {
    EngineSettings few = SETTINGS.withPages(4);
    try (Engine engine = new Engine(FakeSteps.of(CONTEXT, few), null, null, few)) {
      for (Request wrong :
          List.of(
              request(),
              request(1, 32),
              request(1, -1),
              request(new int[CONTEXT]),
              request(new int[8]), // 17 positions, of which the pages have 16
              request(1).sliding(0).sliding(CONTEXT),
              Request.of("text", sampling(1, 2)),
              Request.of(new int[] {1}, sampling(1, 2).withStop("x")),
              request(1).withSpeculation(Speculation.draft(2)))) {
        assertThrows(IllegalArgumentException.class, () -> engine.submit(wrong));
      }
      Completion whole = engine.submit(request(new int[7])).join();
      assertEquals(10, whole.tokens().size());
      assertEquals(0, engine.stats().failed());
    }
  }

  @Test
  void aFullQueueRefusesAndLosesNothing() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(0);
    try (Engine engine = engine(steps)) {
      List<CompletableFuture<Completion>> taken = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        taken.add(engine.submit(request(1, i)));
        int running = i + 1;
        await(
            () -> {
              if (engine.stats().running() < running && steps.gate.hasQueuedThreads()) {
                steps.gate.release();
              }
              return engine.stats().running() == running;
            });
      }
      await(() -> steps.gate.hasQueuedThreads());
      for (int i = 0; i < 4; i++) {
        taken.add(engine.submit(request(2, i)));
      }
      QueueFullException full =
          assertThrows(QueueFullException.class, () -> engine.submit(request(3)));
      assertTrue(full.getMessage().contains("4 requests wait"), full.getMessage());
      assertThrows(QueueFullException.class, () -> engine.stream(request(3)));
      assertEquals(4, engine.stats().waiting());
      assertEquals(2, engine.stats().refused());
      steps.gate.release(1000);
      taken.forEach(one -> assertEquals(10, one.join().tokens().size()));
      assertEquals(7, engine.stats().completed());
      assertEquals(10, engine.submit(request(3)).join().tokens().size());
    }
  }

  @Test
  void cancellingAFutureFreesItsPages() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(3);
    try (Engine engine = engine(steps)) {
      CompletableFuture<Completion> future = engine.submit(request(1, 2, 3, 4, 5));
      await(() -> steps.gate.hasQueuedThreads());
      assertTrue(engine.stats().usedPages() > 0);
      assertTrue(future.cancel(false));
      assertThrows(CancellationException.class, future::join);
      steps.gate.release(1);
      await(() -> engine.stats().cancelled() == 1);
      assertEquals(0, engine.stats().usedPages());
      assertEquals(4, engine.stats().steps());
    }
  }

  @Test
  void manyWaitForRoomInTheQueueAndKeepTheirOrder() {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS))) {
      List<Request> requests = new ArrayList<>();
      for (int i = 0; i < 30; i++) {
        requests.add(request(7, i));
      }
      List<Completion> all = engine.complete(requests);
      for (int i = 0; i < 30; i++) {
        Completion alone = FakeSteps.alone(new int[] {7, i}, sampling(1, 10), CONTEXT);
        assertEquals(ids(alone), ids(all.get(i)));
      }
      assertEquals(0, engine.stats().refused());
      requests.set(13, request(FakeSteps.POISON));
      assertThrows(ArithmeticException.class, () -> engine.complete(requests));
      requests.set(13, request());
      assertThrows(IllegalArgumentException.class, () -> engine.complete(requests));
      assertEquals(List.of(), engine.complete(List.of()));
    }
  }

  @Test
  void whoWaitsForRoomHearsOfTheEnd() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(0);
    Engine engine = engine(steps);
    List<Throwable> thrown = new CopyOnWriteArrayList<>();
    Thread caller = new Thread(() -> engine.complete(Collections.nCopies(20, request(1))));
    caller.setUncaughtExceptionHandler((thread, e) -> thrown.add(e));
    caller.start();
    await(() -> engine.stats().waiting() == 4 && caller.getState() == Thread.State.WAITING);
    Thread closing = new Thread(engine::close);
    closing.start();
    await(() -> closing.getState() == Thread.State.WAITING);
    steps.gate.release();
    closing.join();
    caller.join();
    assertTrue(thrown.get(0) instanceof IllegalStateException, thrown.toString());
  }

  @Test
  void aStreamGivesEachTokenAndTheCompletion() {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS));
        EngineStream stream = engine.stream(request(4, 5))) {
      List<Integer> seen = new ArrayList<>();
      seen.add(stream.next().id());
      for (Token token : stream) {
        seen.add(token.id());
      }
      assertFalse(stream.hasNext());
      assertThrows(NoSuchElementException.class, stream::next);
      Completion completion = stream.completion().join();
      assertEquals(seen, ids(completion));
      assertEquals(FinishReason.LENGTH, completion.finishReason());
    }
  }

  @Test
  void closingAStreamEndsItWithWhatThereIs() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(3);
    try (Engine engine = engine(steps)) {
      EngineStream stream = engine.stream(request(4, 5));
      stream.next();
      await(() -> steps.gate.hasQueuedThreads());
      stream.close();
      stream.close();
      assertFalse(stream.hasNext());
      steps.gate.release(1);
      Completion completion = stream.completion().join();
      assertEquals(FinishReason.CANCELLED, completion.finishReason());
      assertEquals(4, completion.tokens().size());
      assertEquals(0, engine.stats().usedPages());
      assertEquals(1, engine.stats().cancelled());
    }
  }

  @Test
  void whoReadsNothingHoldsNobodyUp() {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS))) {
      try (EngineStream unread = engine.stream(request(1, 2))) {
        for (int i = 0; i < 20; i++) {
          assertEquals(10, engine.submit(request(3, i)).join().tokens().size());
        }
        assertEquals(10, unread.completion().join().tokens().size());
        int left = 0;
        for (Token token : unread) {
          assertTrue(token.id() >= 0);
          left++;
        }
        assertEquals(10, left);
      }
    }
  }

  @Test
  void anInterruptedReaderLeaves() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(0);
    try (Engine engine = engine(steps)) {
      EngineStream stream = engine.stream(request(1));
      Thread.currentThread().interrupt();
      assertThrows(CancellationException.class, stream::next);
      assertTrue(Thread.interrupted());
      steps.gate.release(5);
      await(() -> engine.stats().cancelled() == 1);
    }
  }

  @Test
  void callbacksThatBlockOrThrowHarmNobody() throws InterruptedException {
    CountDownLatch never = new CountDownLatch(1);
    AtomicInteger called = new AtomicInteger();
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS))) {
      List<CompletableFuture<Void>> callbacks = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        int each = i;
        callbacks.add(
            engine
                .submit(request(1, i))
                .thenAccept(
                    completion -> {
                      called.incrementAndGet();
                      if (each % 2 == 0) {
                        throw new IllegalStateException("mine");
                      }
                      awaitQuietly(never);
                    }));
      }
      await(() -> called.get() == 4);
      for (int i = 0; i < 20; i++) {
        assertEquals(10, engine.submit(request(3, i)).join().tokens().size());
      }
      assertThrows(CompletionException.class, callbacks.get(0)::join);
      assertFalse(callbacks.get(1).isDone());
    } finally {
      never.countDown();
    }
  }

  private static void awaitQuietly(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  void aCallbackMayUseTheEngine() {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS))) {
      Completion second =
          engine
              .submit(request(1))
              .thenCompose(first -> engine.submit(request(1, first.tokens().get(9).id())))
              .join();
      assertEquals(2, second.promptTokens());
    }
  }

  @Test
  void aFailureComesToItsOwnerAlone() {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS));
        EngineStream good = engine.stream(request(1));
        EngineStream bad = engine.stream(request(FakeSteps.POISON))) {
      assertThrows(ArithmeticException.class, bad::next);
      assertTrue(
          assertThrows(CompletionException.class, bad.completion()::join).getCause()
              instanceof ArithmeticException);
      assertEquals(10, good.completion().join().tokens().size());
      assertEquals(1, engine.stats().failed());
    }
  }

  @Test
  void anErrorEndsTheEngineAndEveryRequestKnows() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    Engine engine = engine(steps);
    AssertionError error = new AssertionError("in a processor");
    Sampling throwing =
        sampling(1, 9)
            .with(
                (scores, sequence) -> {
                  if (sequence.length() == 4) {
                    Thread.currentThread().setUncaughtExceptionHandler((thread, e) -> {});
                    throw error;
                  }
                });
    CompletableFuture<Completion> future = engine.submit(Request.of(new int[] {1, 2}, throwing));
    CompletionException thrown = assertThrows(CompletionException.class, future::join);
    assertTrue(thrown.getCause() instanceof IllegalStateException);
    await(() -> steps.closed);
    assertThrows(IllegalStateException.class, () -> engine.submit(request(1)));
    engine.close();
  }

  @Test
  void closingEndsWhatRunsAndWhatWaits() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(0);
    Engine engine = engine(steps);
    List<CompletableFuture<Completion>> all = new ArrayList<>();
    all.add(engine.submit(request(1)));
    await(() -> steps.gate.hasQueuedThreads());
    for (int i = 0; i < 3; i++) {
      all.add(engine.submit(request(1, i)));
    }
    EngineStream stream = engine.stream(request(5));
    Thread closing = new Thread(engine::close);
    closing.start();
    await(() -> closing.getState() == Thread.State.WAITING);
    steps.gate.release();
    closing.join();
    assertTrue(steps.closed);
    for (int i = 0; i < 4; i++) {
      assertEquals(FinishReason.CANCELLED, all.get(i).join().finishReason());
      assertEquals(i == 0 ? 1 : 0, all.get(i).join().tokens().size());
    }
    assertFalse(stream.hasNext());
    assertEquals(FinishReason.CANCELLED, stream.completion().join().finishReason());
    assertEquals(5, engine.stats().cancelled());
    assertEquals(0, engine.stats().usedPages());
    engine.close();
    assertThrows(IllegalStateException.class, () -> engine.submit(request(1)));
    assertThrows(IllegalStateException.class, () -> engine.stream(request(1)));
  }

  @Test
  void aProcessorMayCloseTheEngineThatCallsIt() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    Engine engine = engine(steps);
    Processor closing =
        (scores, sequence) -> {
          if (sequence.length() == 4) {
            engine.close();
          }
        };
    Completion completion =
        engine.submit(Request.of(new int[] {1, 2}, sampling(1, 9).with(closing))).join();
    assertEquals(FinishReason.CANCELLED, completion.finishReason());
    assertEquals(3, completion.tokens().size());
    await(() -> steps.closed);
  }

  /** Takes what it asked for, a few at a time. */
  private static final class Reader implements Flow.Subscriber<Token> {
    private final List<Integer> seen = new ArrayList<>();
    private final CountDownLatch done = new CountDownLatch(1);
    private final int portion;
    private Flow.Subscription subscription;
    private Throwable failure;

    Reader(int portion) {
      this.portion = portion;
    }

    @Override
    public void onSubscribe(Flow.Subscription given) {
      subscription = given;
      given.request(portion);
    }

    @Override
    public void onNext(Token token) {
      seen.add(token.id());
      if (seen.size() == 50) {
        throw new IllegalStateException("enough");
      }
      if (seen.size() % portion == 0) {
        subscription.request(portion);
      }
    }

    @Override
    public void onError(Throwable e) {
      failure = e;
      done.countDown();
    }

    @Override
    public void onComplete() {
      done.countDown();
    }
  }

  @Test
  void subscribersGetTokensAsTheyAskForThem() throws InterruptedException {
    try (Engine engine = engine(FakeSteps.of(CONTEXT, SETTINGS))) {
      for (int portion : new int[] {1, 3, 100}) {
        EngineStream stream = engine.stream(request(6, 7));
        Reader reader = new Reader(portion);
        Reader second = new Reader(1);
        stream.subscribe(reader);
        stream.subscribe(second);
        assertTrue(reader.done.await(30, TimeUnit.SECONDS));
        assertTrue(second.done.await(30, TimeUnit.SECONDS));
        assertEquals(ids(stream.completion().join()), reader.seen);
        assertTrue(second.failure instanceof IllegalStateException);
      }
      EngineStream failing = engine.stream(request(FakeSteps.POISON));
      Reader reader = new Reader(2);
      failing.subscribe(reader);
      assertTrue(reader.done.await(30, TimeUnit.SECONDS));
      assertTrue(reader.failure instanceof ArithmeticException);

      Reader wrong = new Reader(0);
      engine.stream(request(6, 7)).subscribe(wrong);
      assertTrue(wrong.done.await(30, TimeUnit.SECONDS));
      assertTrue(wrong.failure instanceof IllegalArgumentException);
    }
  }

  @Test
  void cancellingASubscriptionCancelsTheRequest() throws InterruptedException {
    FakeSteps steps = FakeSteps.of(CONTEXT, SETTINGS);
    steps.gate = new Semaphore(2);
    try (Engine engine = engine(steps)) {
      EngineStream stream = engine.stream(request(6, 7));
      Reader reader = new Reader(1);
      stream.subscribe(reader);
      await(() -> steps.gate.hasQueuedThreads());
      await(() -> reader.subscription != null);
      reader.subscription.cancel();
      steps.gate.release();
      assertEquals(FinishReason.CANCELLED, stream.completion().join().finishReason());
      assertEquals(0, engine.stats().usedPages());
    }
  }

  @Test
  void aThousandRequestsFromManyThreads() {
    EngineSettings settings =
        EngineSettings.defaults()
            .withSlots(8)
            .withPages(50)
            .withPageSize(4)
            .withChunk(16)
            .withQueue(16)
            .withSpeculation(Speculation.draft(3));
    Stress.run(
        new Engine(
            FakeSteps.of(CONTEXT, settings), FakeSteps.draftOf(CONTEXT, settings), null, settings),
        FakeSteps.VOCABULARY - 1,
        45,
        List.of(),
        request ->
            FakeSteps.alone(request.ids(), request.sampling(), CONTEXT, request.slides() ? 2 : -1));
  }
}
