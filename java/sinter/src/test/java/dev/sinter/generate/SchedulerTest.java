package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.model.LoadedAdapter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which rows a step has, step by step. */
class SchedulerTest {
  private static final int CONTEXT = 64;

  /** An engine without its thread. */
  private static final class Bench implements Scheduler.Results {
    private final EngineSettings settings;
    private final FakeSteps steps;
    private final FakeSteps draft;
    private final Scheduler scheduler;
    private final List<Job> waiting = new ArrayList<>();
    private final Map<Job, Completion> completions = new HashMap<>();
    private final Map<Job, Throwable> failures = new HashMap<>();
    private final List<Job> order = new ArrayList<>();
    private final Map<String, EngineAdapter> adapters = new HashMap<>();

    Bench(EngineSettings settings) {
      this.settings = settings;
      steps = FakeSteps.of(CONTEXT, settings);
      FakeSteps draft =
          settings.speculation().drafts() ? FakeSteps.draftOf(CONTEXT, settings) : null;
      this.draft = draft;
      scheduler = new Scheduler(steps, draft, settings.chunk(), this::nanos, this);
    }

    private long nanos() {
      return steps.nanos + (draft == null ? 0 : draft.nanos);
    }

    @Override
    public void completed(Job job, Completion completion) {
      completions.put(job, completion);
      order.add(job);
    }

    @Override
    public void failed(Job job, Throwable failure) {
      failures.put(job, failure);
    }

    Job add(Request request) {
      Job job = new Job(request, request.ids(), CONTEXT, settings.speculation(), null, null);
      request.adapter().ifPresent(name -> job.setAdapter(adapter(name)));
      waiting.add(job);
      return job;
    }

    private EngineAdapter adapter(String name) {
      return adapters.computeIfAbsent(
          name, absent -> scheduler.load(new LoadedAdapter(absent, List.of())));
    }

    void step() {
      waiting.removeIf(scheduler::cancelledWhileWaiting);
      while (!waiting.isEmpty() && scheduler.admits(waiting.get(0))) {
        scheduler.start(waiting.remove(0));
      }
      scheduler.step();
      scheduler.flush();
      EngineStats stats = scheduler.stats();
      assertEquals(
          steps.pages(), stats.usedPages() + stats.cachedPages() + stats.freePages(), "a leak");
    }

    void run() {
      while (scheduler.busy() || !waiting.isEmpty()) {
        step();
      }
      assertEquals(0, scheduler.stats().usedPages());
    }
  }

  private static final EngineSettings SETTINGS =
      EngineSettings.defaults().withSlots(4).withPageSize(4).withChunk(8);

  private static int[] prompt(int length, int seed) {
    return new Random(seed).ints(length, 0, FakeSteps.VOCABULARY - 1).toArray();
  }

  private static Sampling sampling(int seed, int tokens) {
    return Sampling.defaults().withSeed(seed).withMaxNewTokens(tokens);
  }

  static List<Integer> ids(Completion completion) {
    return completion.tokens().stream().map(Token::id).toList();
  }

  private static void assertAsAlone(Bench bench, Map<Job, Request> requests) {
    requests.forEach(
        (job, request) -> {
          Completion alone =
              FakeSteps.alone(request, CONTEXT, request.slides() ? request.kept() : -1);
          Completion one = bench.completions.get(job);
          assertEquals(ids(alone), ids(one));
          assertEquals(alone.finishReason(), one.finishReason());
          assertEquals(alone.promptTokens(), one.promptTokens());
          assertEquals(alone.score(), one.score(), 1e-4);
        });
  }

  private static Map<Job, Request> addAll(Bench bench, List<Request> requests) {
    Map<Job, Request> all = new HashMap<>();
    requests.forEach(request -> all.put(bench.add(request), request));
    return all;
  }

  static List<Request> mixed(int count, int seed) {
    Random random = new Random(seed);
    List<Request> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int[] prompt = prompt(1 + random.nextInt(40), random.nextInt(5));
      Sampling sampling =
          sampling(i, 1 + random.nextInt(23))
              .withTemperature(i % 4 == 0 ? 0 : 0.8)
              .withTopK(i % 3 * 5)
              .withTopP(i % 5 == 0 ? 0.9 : 1)
              .withRepetitionPenalty(i % 6 == 0 ? 1.3 : 1)
              .withEndTokens(Set.of(3));
      Request request =
          Request.of(prompt, i % 7 == 0 ? sampling.with(Processors.noRepeatNgram(3)) : sampling);
      all.add(i % 8 == 5 ? request.sliding(i % 3) : request);
    }
    return all;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 4, 7})
  void eachGetsInCompanyWhatItGetsAlone(int pageSize) {
    Bench bench = new Bench(SETTINGS.withPageSize(pageSize));
    Map<Job, Request> requests = addAll(bench, mixed(60, 1));
    bench.run();
    assertAsAlone(bench, requests);
    assertTrue(bench.steps.mostRows > 4);
    assertEquals(60, bench.scheduler.stats().completed());
  }

  @Test
  void whoDecodesGetsATokenInEveryStepWhateverPromptsCome() {
    Bench bench = new Bench(SETTINGS);
    Job decoding = bench.add(Request.of(prompt(3, 1), sampling(1, 40)));
    bench.step();
    for (int i = 0; i < 3; i++) {
      bench.add(Request.of(prompt(50, 10 + i), sampling(2, 2)));
    }
    for (int token = 1; token < 19; token++) {
      assertEquals(token, decoding.step());
      bench.step();
    }
    assertTrue(bench.steps.mostRows <= 4 + 8);
    assertTrue(bench.steps.mostRows >= 8);
  }

  @Test
  void promptsAreComputedInTheOrderInWhichTheyCame() {
    Bench bench = new Bench(SETTINGS.withSlots(2));
    List<Job> jobs =
        IntStream.range(0, 6)
            .mapToObj(i -> bench.add(Request.of(prompt(30 - 4 * i, 20 + i), sampling(i, 1))))
            .toList();
    bench.run();
    assertEquals(jobs, bench.order);
  }

  @Test
  void aPromptThatTwoHaveIsComputedOnceEvenInOneStep() {
    Bench bench = new Bench(SETTINGS.withChunk(64));
    int[] prompt = prompt(30, 3);
    Job first = bench.add(Request.of(prompt, sampling(1, 1)));
    Job second = bench.add(Request.of(prompt, sampling(2, 1)));
    bench.step();
    assertEquals(30 + 2, bench.steps.computed); // seven pages of four, and two tokens each
    assertEquals(0, bench.completions.get(first).cachedTokens());
    assertEquals(28, bench.completions.get(second).cachedTokens());

    Job later = bench.add(Request.of(prompt(29, 3), sampling(3, 1)));
    bench.run();
    assertEquals(28, bench.completions.get(later).cachedTokens());
    assertEquals(30 + 2 + 1, bench.steps.computed);
    assertEquals(56, bench.scheduler.stats().cachedTokens());
  }

  @Test
  void whatWasGeneratedIsThereForThePromptThatRepeatsIt() {
    Bench bench = new Bench(SETTINGS);
    Job first = bench.add(Request.of(prompt(6, 4), sampling(1, 15)));
    bench.run();
    int[] both = first.sequence().ids();
    assertEquals(21, both.length);
    Job second = bench.add(Request.of(both, sampling(2, 2)));
    bench.run();
    assertEquals(20, bench.completions.get(second).cachedTokens());
  }

  @Test
  void theYoungestGivesItsPagesAndEndsWithTheSameTokens() {
    Bench bench = new Bench(SETTINGS.withPages(12));
    List<Request> requests =
        IntStream.range(0, 4)
            .mapToObj(i -> Request.of(prompt(5 + i, 30 + i), sampling(i, 30)))
            .toList();
    Map<Job, Request> jobs = addAll(bench, requests);
    bench.run();
    assertAsAlone(bench, jobs);
    assertTrue(bench.scheduler.stats().preempted() > 0);
    assertEquals(bench.order.get(0).seed(), 0);
    // A prompt counts once, and what preemption finds again is not a prompt's share of the cache.
    assertEquals(5 + 6 + 7 + 8, bench.scheduler.stats().promptTokens());
    assertEquals(0, bench.scheduler.stats().cachedTokens());
  }

  @Test
  void mixedRequestsSurviveFewPages() {
    Bench bench = new Bench(SETTINGS.withPages(17).withSlots(7));
    Map<Job, Request> requests = addAll(bench, mixed(80, 6));
    bench.run();
    assertAsAlone(bench, requests);
    assertTrue(bench.scheduler.stats().preempted() > 0);
  }

  @Test
  void cancellingFreesThePagesInTheNextStep() {
    Bench bench = new Bench(SETTINGS);
    Job job = bench.add(Request.of(prompt(20, 5), sampling(1, 30)));
    Job other = bench.add(Request.of(prompt(1, 6), sampling(1, 30)));
    bench.step();
    bench.step();
    bench.step();
    bench.step();
    assertEquals(6, job.pages.size());
    job.future().cancel(false);
    bench.step();
    assertEquals(other.pages.size(), bench.scheduler.stats().usedPages());
    assertEquals(1, bench.scheduler.stats().cancelled());
    assertEquals(FinishReason.CANCELLED, bench.completions.get(job).finishReason());

    Job waits = bench.add(Request.of(prompt(20, 5), sampling(1, 30)));
    waits.future().cancel(false);
    bench.run();
    assertEquals(2, bench.scheduler.stats().cancelled());
    assertEquals(0, bench.completions.get(waits).tokens().size());
    assertEquals(30, bench.completions.get(other).tokens().size());
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 5, 63})
  void slidingKeepsTheFirstTokensAndTheLastHalf(int kept) {
    for (int length : new int[] {1, 60, 64, 65, 150}) {
      Bench bench = new Bench(SETTINGS);
      Request request = Request.of(prompt(length, 7), sampling(3, 100)).sliding(kept);
      Map<Job, Request> jobs = addAll(bench, List.of(request));
      bench.run();
      assertAsAlone(bench, jobs);
      Completion one = bench.completions.values().iterator().next();
      assertEquals(100, one.tokens().size());
      assertEquals(FinishReason.LENGTH, one.finishReason());
    }
  }

  @Test
  void whereTheContextEndsSoDoesWhatDoesNotSlide() {
    Bench bench = new Bench(SETTINGS);
    Job job = bench.add(Request.of(prompt(50, 7), sampling(3, 100)));
    bench.run();
    assertEquals(FinishReason.CONTEXT, bench.completions.get(job).finishReason());
    assertEquals(14, bench.completions.get(job).tokens().size());
  }

  @Test
  void withoutFiniteLogitsARequestFailsAlone() {
    Bench bench = new Bench(SETTINGS);
    Job bad = bench.add(Request.of(new int[] {FakeSteps.POISON, 1, 2, 3, 4}, sampling(1, 5)));
    Job good = bench.add(Request.of(prompt(9, 8), sampling(1, 5)));
    bench.run();
    assertTrue(bench.failures.get(bad) instanceof ArithmeticException);
    assertEquals(5, bench.completions.get(good).tokens().size());
    assertEquals(1, bench.scheduler.stats().failed());
  }

  @Test
  void aProcessorThatThrowsFailsItsRequestAlone() {
    Bench bench = new Bench(SETTINGS);
    RuntimeException thrown = new IllegalStateException("mine");
    Processor throwing =
        (scores, sequence) -> {
          if (sequence.length() == 12) {
            throw thrown;
          }
        };
    Job bad = bench.add(Request.of(prompt(9, 8), sampling(1, 9).with(throwing)));
    Job good = bench.add(Request.of(prompt(9, 8), sampling(1, 9)));
    bench.run();
    assertSame(thrown, bench.failures.get(bad));
    assertNull(bench.completions.get(bad));
    assertEquals(9, bench.completions.get(good).tokens().size());
  }

  @Test
  void aStepThatFailsTakesNothingIntoTheCache() {
    Bench bench = new Bench(SETTINGS);
    int[] prompt = prompt(20, 9);
    Job job = bench.add(Request.of(prompt, sampling(1, 5)));
    bench.steps.failure = new IllegalArgumentException("device");
    bench.step();
    assertEquals("device", bench.failures.get(job).getMessage());
    assertEquals(bench.steps.pages(), bench.scheduler.stats().freePages());
    Request again = Request.of(prompt, sampling(1, 5));
    Map<Job, Request> jobs = addAll(bench, List.of(again));
    bench.run();
    assertAsAlone(bench, jobs);
    assertEquals(0, bench.scheduler.stats().cachedTokens());
  }

  private static List<Request> cold(int count) {
    return IntStream.range(0, count)
        .mapToObj(i -> Request.of(prompt(12, i), sampling(i, 50).withTemperature(i % 2 * 0.1)))
        .toList();
  }

  /** Requests whose completions are mostly what was there twelve tokens before. */
  private static List<Request> copies(int count) {
    Processor copying =
        (scores, sequence) ->
            scores[sequence.id(sequence.length() - 12)] += sequence.length() % 19 == 0 ? 0 : 50;
    return cold(count).stream()
        .map(request -> Request.of(request.ids(), request.sampling().with(copying)))
        .toList();
  }

  @Test
  void lookingUpChangesNoTokenAndSavesSteps() {
    for (Speculation way : List.of(Speculation.none(), Speculation.promptLookup(3, 6))) {
      Bench bench = new Bench(SETTINGS.withSpeculation(way));
      Map<Job, Request> jobs = addAll(bench, mixed(60, 11));
      bench.run();
      assertAsAlone(bench, jobs);
    }
    Bench without = oneByOne(Speculation.none(), 20, copies(20));
    Bench with = oneByOne(Speculation.promptLookup(3, 6), 20, copies(20));
    EngineStats stats = with.scheduler.stats();
    assertTrue(with.steps.steps < 0.5 * without.steps.steps, stats.toString());
    assertEquals(without.steps.steps - with.steps.steps, stats.acceptedTokens());
    int proposed = with.completions.values().stream().mapToInt(Completion::proposed).sum();
    int accepted = with.completions.values().stream().mapToInt(Completion::accepted).sum();
    assertEquals(stats.proposedTokens(), proposed);
    assertEquals(stats.acceptedTokens(), accepted);
  }

  private static Bench oneByOne(Speculation way, int nanosPerRow, List<Request> requests) {
    Bench bench = new Bench(SETTINGS.withSlots(1).withSpeculation(way));
    bench.steps.nanosPerRow = nanosPerRow;
    if (bench.draft != null) {
      bench.draft.nanosPerRow = nanosPerRow / 10;
      bench.draft.nanosPerStep = 100;
    }
    Map<Job, Request> jobs = addAll(bench, requests);
    bench.run();
    assertAsAlone(bench, jobs);
    return bench;
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 20, 200, 500, 1000})
  void whateverARowCostsSpeculationCostsLittle(int nanosPerRow) {
    long without = oneByOne(Speculation.none(), nanosPerRow, cold(20)).nanos();
    for (Speculation way : List.of(Speculation.promptLookup(2, 8), Speculation.draft(4))) {
      long with = oneByOne(way, nanosPerRow, cold(20)).nanos();
      assertTrue(with < 1.05 * without, with + " " + without);
    }
  }

  @Test
  void aDraftThatSeesPromptsSlowlyIsLeftAloneWhenItIsWrong() {
    long without = oneByOne(Speculation.none(), 20, cold(20)).nanos();
    Bench bench = new Bench(SETTINGS.withSlots(1).withSpeculation(Speculation.draft(4)));
    bench.draft.nanosPerRow = 1000;
    Map<Job, Request> jobs = addAll(bench, cold(20));
    bench.run();
    assertAsAlone(bench, jobs);
    assertTrue(bench.scheduler.stats().proposedTokens() > 0);
    assertTrue(bench.nanos() < 1.05 * without, bench.nanos() + " " + without);
  }

  @Test
  void sizesOfStepsThatCostTooMuchAreAvoided() {
    Bench bench = new Bench(SETTINGS.withSlots(1).withSpeculation(Speculation.promptLookup(3, 8)));
    bench.steps.nanosPerRow = 0;
    bench.steps.nanosOfLarge = 20_000; // from nine rows on
    Map<Job, Request> jobs = addAll(bench, copies(20));
    bench.run();
    assertAsAlone(bench, jobs);
    EngineStats stats = bench.scheduler.stats();
    assertTrue(stats.acceptedTokens() > stats.generatedTokens() / 2, stats.toString());
    long without = oneByOne(Speculation.none(), 0, copies(20)).nanos();
    assertTrue(bench.nanos() < 0.8 * without, bench.nanos() + " " + without);
  }

  @ParameterizedTest
  @ValueSource(ints = {11, 12, 13})
  void aDraftChangesNoToken(int seed) {
    Bench bench = new Bench(SETTINGS.withSpeculation(Speculation.draft(4)));
    Map<Job, Request> jobs = addAll(bench, mixed(60, seed));
    bench.run();
    assertAsAlone(bench, jobs);
    EngineStats stats = bench.scheduler.stats();
    assertTrue(stats.acceptedTokens() > 0, stats.toString());
    assertTrue(stats.acceptedTokens() < stats.proposedTokens(), stats.toString());
  }

  private static List<Request> withAdapters(List<Request> requests) {
    List<Request> all = new ArrayList<>();
    for (Request request : requests) {
      int which = all.size() % 3;
      all.add(which == 2 ? request : request.withAdapter(which == 0 ? "a" : "b"));
    }
    return all;
  }

  @Test
  void aDraftWithoutAdaptersChangesNoTokenOfThoseThatHaveOne() {
    Bench bench =
        new Bench(SETTINGS.withPages(20).withSlots(7).withSpeculation(Speculation.draft(4)));
    Map<Job, Request> jobs = addAll(bench, withAdapters(mixed(60, 11)));
    bench.run();
    assertAsAlone(bench, jobs);
    EngineStats stats = bench.scheduler.stats();
    assertTrue(stats.proposedTokens() > 0, stats.toString());
    assertTrue(stats.preempted() > 0, stats.toString());
  }

  @Test
  void lookingUpChangesNoTokenOfThoseThatHaveAdapters() {
    Bench bench = new Bench(SETTINGS.withSpeculation(Speculation.promptLookup(3, 7)));
    Map<Job, Request> jobs = addAll(bench, withAdapters(copies(20)));
    bench.run();
    assertAsAlone(bench, jobs);
    EngineStats stats = bench.scheduler.stats();
    assertTrue(stats.acceptedTokens() > 0, stats.toString());
  }

  @Test
  void aDraftSurvivesFewPages() {
    Bench bench =
        new Bench(SETTINGS.withPages(17).withSlots(7).withSpeculation(Speculation.draft(5)));
    Map<Job, Request> jobs = addAll(bench, mixed(80, 16));
    bench.run();
    assertAsAlone(bench, jobs);
    assertTrue(bench.scheduler.stats().preempted() > 0);
    assertTrue(bench.scheduler.stats().proposedTokens() > 0);
  }

  @Test
  void aRequestMayLeaveSpeculationOut() {
    Bench bench = new Bench(SETTINGS.withSpeculation(Speculation.draft(4)));
    Job job =
        bench.add(Request.of(prompt(5, 1), sampling(1, 30)).withSpeculation(Speculation.none()));
    bench.run();
    assertFalse(bench.completions.get(job).tokens().isEmpty());
    assertEquals(0, bench.scheduler.stats().proposedTokens());
  }
}
