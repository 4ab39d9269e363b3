package dev.sinter.generate;

import dev.sinter.graph.Sampler;
import dev.sinter.model.LoadedAdapter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Semaphore;

/**
 * A model in a few lines, whose logits depend on all tokens up to a row, as they are found by way
 * of the pages: a page that is given away too soon, or shared wrongly, changes what comes out. Most
 * of a logit comes from the last token alone, so that texts repeat themselves and a draft with
 * another salt is often right. An adapter is a salt more, in what pages hold as well.
 */
class FakeSteps implements Steps {
  static final int VOCABULARY = 32;

  /** A prompt that begins so has no finite logits. */
  static final int POISON = 31;

  private static final int UNSET = -1;

  private final int context;
  private final int pageSize;
  private final int maxRows;
  private final int salt;
  private final int[][] tables;
  private final int[][] history;
  private final int[][] cache;
  private final int[][] writers; // the adapter's salt of what is in the cache
  private final int[] adapters; // of each slot; -1: none
  final List<Integer> salts = new ArrayList<>(); // of adapters; null: the index is free
  private final List<int[]> rows = new ArrayList<>(); // slot, position, token
  private final List<Choice> choices = new ArrayList<>();
  private final List<float[]> logits = new ArrayList<>();
  private final int[] tokens;
  private final float[] logprobs;
  int steps;
  int computed;
  int mostRows;
  long nanos; // what its steps would have taken
  int nanosPerRow = 20;
  int nanosPerStep = 1000;
  int nanosOfLarge; // beside these, of a step of nine rows and more
  volatile boolean closed;
  RuntimeException failure;
  Semaphore gate; // each step takes a permit; null: none

  private record Choice(int row, Sampler.Settings how, long seed, long step, int historyLength) {}

  FakeSteps(int context, int slots, int pages, int pageSize, int maxRows, int salt) {
    this.context = context;
    this.pageSize = pageSize;
    this.maxRows = maxRows;
    this.salt = salt;
    tables = new int[slots][(context + pageSize - 1) / pageSize];
    history = new int[slots][context];
    cache = new int[pages][pageSize];
    writers = new int[pages][pageSize];
    adapters = new int[slots];
    Arrays.fill(adapters, EngineAdapter.NONE);
    tokens = new int[maxRows];
    logprobs = new float[maxRows];
    for (int[][] all : List.of(tables, history, cache)) {
      Arrays.stream(all).forEach(one -> Arrays.fill(one, UNSET));
    }
  }

  static FakeSteps of(int context, EngineSettings settings) {
    return new FakeSteps(
        context,
        settings.slots(),
        settings.pagesFor(context),
        settings.pageSize(),
        settings.rows(),
        1);
  }

  static FakeSteps draftOf(int context, EngineSettings settings) {
    return new FakeSteps(
        context,
        settings.slots(),
        settings.pagesFor(context),
        settings.pageSize(),
        settings.rows(),
        2);
  }

  /** The logits behind some tokens. */
  static float[] logits(int[] ids, int length, int salt) {
    float[] all = new float[VOCABULARY];
    if (ids[0] == POISON) {
      Arrays.fill(all, Float.NaN);
      return all;
    }
    long past = salt;
    for (int i = 0; i < length; i++) {
      past = mix(past + ids[i]);
    }
    for (int id = 0; id < VOCABULARY; id++) {
      all[id] = 2 * value(ids[length - 1] * 77L + id) + value(past + id) / 3;
    }
    return all;
  }

  private static long mix(long x) {
    x = (x ^ x >>> 31) * 0x7FB5D329728EA185L;
    x = (x ^ x >>> 27) * 0x81DADEF4BC2DD44DL;
    return x ^ x >>> 33;
  }

  private static float value(long x) {
    return (mix(mix(x) + 99) >>> 40) * 0x1p-22f - 2;
  }

  /** What a request gets by rights: no pages, no batch, no speculation. */
  static Completion alone(int[] prompt, Sampling sampling, int context, int kept) {
    return alone(Request.of(prompt, sampling), context, kept);
  }

  /** The same, with the request's adapter. */
  static Completion alone(Request request, int context, int kept) {
    int[] prompt = request.ids();
    Sampling sampling = request.sampling();
    int salt = 1 + request.adapter().map(FakeSteps::saltOf).orElse(0);
    boolean slides = kept >= 0;
    int room = slides ? Integer.MAX_VALUE : context;
    Sequence sequence = Progress.sequence(0, prompt, room, sampling.ending(), null);
    Progress progress = new Progress(sequence, room, sampling.ending(), null);
    HostSampler sampler = new HostSampler(sampling);
    int[] seen = prompt;
    while (!progress.ended()) {
      if (seen.length > context) {
        int half = (context - kept + 1) / 2;
        int[] left = Arrays.copyOf(seen, kept + half);
        System.arraycopy(seen, seen.length - half, left, kept, half);
        seen = left;
      }
      float[] raw = logits(seen, seen.length, salt);
      int id = sampler.choose(raw, sequence, sampling.seed(), progress.tokens());
      sequence.add(id);
      progress.add(Distribution.logprob(raw, id));
      seen = Arrays.copyOf(seen, seen.length + 1);
      seen[seen.length - 1] = id;
    }
    return progress.completion(Duration.ZERO, Duration.ZERO);
  }

  static Completion alone(int[] prompt, Sampling sampling, int context) {
    return alone(prompt, sampling, context, -1);
  }

  private static int saltOf(String adapter) {
    return 100 + Math.floorMod(adapter.hashCode(), 1_000_000);
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalStateException(message);
    }
  }

  @Override
  public int context() {
    return context;
  }

  @Override
  public int vocabulary() {
    return VOCABULARY;
  }

  @Override
  public int pages() {
    return cache.length;
  }

  @Override
  public int pageSize() {
    return pageSize;
  }

  @Override
  public int slots() {
    return tables.length;
  }

  @Override
  public int maxRows() {
    return maxRows;
  }

  @Override
  public void setPage(int slot, int index, int page) {
    check(page >= 0 && page < cache.length, "page " + page);
    tables[slot][index] = page;
  }

  @Override
  public void setToken(int slot, int position, int token) {
    history[slot][position] = token;
  }

  @Override
  public int loadAdapter(LoadedAdapter adapter) {
    if (adapter.name().startsWith("foreign")) {
      throw new IllegalArgumentException("adapter " + adapter.name() + " is another model's");
    }
    int index = salts.indexOf(null);
    if (index < 0) {
      salts.add(null);
      index = salts.size() - 1;
    }
    salts.set(index, saltOf(adapter.name()));
    return index;
  }

  @Override
  public void unloadAdapter(int index) {
    check(salts.get(index) != null, "adapter " + index + " is gone already");
    salts.set(index, null);
  }

  @Override
  public void setAdapter(int slot, int index) {
    adapters[slot] = index;
  }

  private int saltOf(int slot) {
    if (adapters[slot] == EngineAdapter.NONE) {
      return 0;
    }
    check(salts.get(adapters[slot]) != null, "adapter " + adapters[slot] + " is gone");
    return salts.get(adapters[slot]);
  }

  @Override
  public void begin() {
    rows.clear();
    choices.clear();
    logits.clear();
  }

  @Override
  public int add(int slot, int position, int token) {
    check(rows.size() < maxRows, "more than " + maxRows + " rows");
    check(position < context, "position " + position);
    int last = rows.size() - 1;
    for (int i = 0; i <= last; i++) {
      check(i == last || rows.get(i)[0] != slot || rows.get(last)[0] == slot, "slot torn apart");
    }
    check(
        last < 0 || rows.get(last)[0] != slot || rows.get(last)[1] == position - 1,
        "positions of a slot out of order");
    rows.add(new int[] {slot, position, token});
    return rows.size() - 1;
  }

  @Override
  public void choose(int row, Sampler.Settings how, long seed, long step, int historyLength) {
    choices.add(new Choice(row, how, seed, step, historyLength));
  }

  @Override
  public void wantLogits(int row) {
    check(row >= 0 && row < rows.size(), "row " + row);
  }

  @Override
  public void run() {
    if (failure != null) {
      RuntimeException thrown = failure;
      failure = null;
      throw thrown;
    }
    check(!rows.isEmpty(), "a step without rows");
    if (gate != null) {
      gate.acquireUninterruptibly();
    }
    steps++;
    computed += rows.size();
    nanos += nanosPerStep + (long) nanosPerRow * rows.size();
    nanos += rows.size() >= 9 ? nanosOfLarge : 0;
    mostRows = Math.max(mostRows, rows.size());
    for (int[] row : rows) {
      int page = tables[row[0]][row[1] / pageSize];
      cache[page][row[1] % pageSize] = row[2];
      writers[page][row[1] % pageSize] = saltOf(row[0]);
    }
    for (int[] row : rows) {
      int[] seen = new int[row[1] + 1];
      for (int at = 0; at < seen.length; at++) {
        int page = tables[row[0]][at / pageSize];
        seen[at] = cache[page][at % pageSize];
        check(writers[page][at % pageSize] == saltOf(row[0]), "another adapter's keys");
        check(seen[at] != UNSET, "a position that nothing was written to");
      }
      check(seen[row[1]] == row[2], "a page of two minds");
      logits.add(logits(seen, seen.length, salt + saltOf(row[0])));
    }
    choices.forEach(this::choose);
  }

  private void choose(Choice choice) {
    Sampler.Settings how = choice.how;
    int slot = rows.get(choice.row)[0];
    boolean penalized = how.repetitionPenalty() != 1;
    int[] ids = penalized ? Arrays.copyOf(history[slot], choice.historyLength) : new int[1];
    Sampling known =
        Sampling.defaults()
            .withTemperature(how.temperature())
            .withTopK(how.topK())
            .withTopP(how.topP())
            .withMinP(how.minP())
            .withRepetitionPenalty(how.repetitionPenalty());
    float[] raw = logits.get(choice.row);
    Sequence sequence = new Sequence(0, ids, ids.length, Set.of(), ids);
    tokens[choice.row] = new HostSampler(known).choose(raw, sequence, choice.seed, choice.step);
    logprobs[choice.row] =
        tokens[choice.row] < 0 ? Float.NaN : Distribution.logprob(raw, tokens[choice.row]);
  }

  @Override
  public int token(int row) {
    return tokens[row];
  }

  @Override
  public float logprob(int row) {
    return logprobs[row];
  }

  @Override
  public void logits(int row, float[] into) {
    System.arraycopy(logits.get(row), 0, into, 0, VOCABULARY);
  }

  @Override
  public void close() {
    closed = true;
  }
}
