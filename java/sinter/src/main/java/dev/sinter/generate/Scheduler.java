package dev.sinter.generate;

import dev.sinter.generate.PagePool.Page;
import dev.sinter.model.LoadedAdapter;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.stream.Stream;

/**
 * Which rows a step has, and what becomes of them. Each sequence that decodes has its row in every
 * step; prompts get what a step has left for them, the oldest first; proposals get the rest. Where
 * pages run out the youngest gives its own back and is computed anew later (Kwon et al. 2023,
 * section 4.5). For one thread.
 */
final class Scheduler {
  private final Steps steps;
  private final Steps draftSteps; // null: no draft model
  private final Drafts drafts;
  private final int chunk;
  private final LongSupplier clock;
  private final PagePool pool;
  private final StepCosts costs = new StepCosts();
  private final Deque<Integer> slots = new ArrayDeque<>();
  private final List<Job> running = new ArrayList<>(); // the oldest first
  private final Deque<Job> preempted =
      new ArrayDeque<>(); // likewise; all older than any that waits
  private final List<Runnable> outbox = new ArrayList<>();
  private final Results results;
  private final float[] logits;
  private Gauge lastDraft; // of the sequence that the draft model proposed for last; null: none
  // Of the step that is being computed.
  private int decoding; // sequences that choose a token
  private boolean prefilling; // whether a prompt has rows
  private int guesses; // tokens proposed
  private long drafting; // nanoseconds that the draft model took

  private long stepCount;
  private long promptTokens;
  private long cachedTokens;
  private long generatedTokens;
  private long proposedTokens;
  private long acceptedTokens;
  private long completed;
  private long cancelled;
  private long failed;
  private long preemptions;

  /** Tells a request's owner how it ended; not called before the stats say so. */
  interface Results {
    void completed(Job job, Completion completion);

    void failed(Job job, Throwable failure);
  }

  /**
   * @param draft of pages and slots like those of the model; null: none
   * @param chunk the most tokens of prompts a step
   * @param clock in nanoseconds: what a step costs decides what is proposed
   */
  Scheduler(Steps steps, Steps draft, int chunk, LongSupplier clock, Results results) {
    this.steps = steps;
    this.draftSteps = draft;
    this.drafts = draft == null ? null : new Drafts(draft);
    this.chunk = chunk;
    this.clock = clock;
    this.results = results;
    pool = new PagePool(steps.pages(), steps.pageSize());
    logits = new float[steps.vocabulary()];
    for (int slot = 0; slot < steps.slots(); slot++) {
      slots.add(slot);
    }
  }

  boolean busy() {
    return !running.isEmpty() || !preempted.isEmpty();
  }

  /** Whether a job that waits may start: none that is older waits, and there is room for it. */
  boolean admits(Job job) {
    return preempted.isEmpty() && fits(job);
  }

  /**
   * Whether a slot is free, and pages for what is known of it and a token more of each sequence.
   */
  private boolean fits(Job job) {
    int promised = running.size();
    for (Job other : running) {
      promised += Math.max(0, pool.pagesFor(other.length()) - other.pages.size());
    }
    int needed = pool.pagesFor(job.length()) - held(job);
    return !slots.isEmpty() && needed + promised <= pool.available();
  }

  /** The pages of a job's beginning that others hold. */
  private int held(Job job) {
    int held = 0;
    Page page = root(job);
    for (int at = 0; at + steps.pageSize() < job.length(); at += steps.pageSize()) {
      page = pool.find(page, job.ids(), at);
      if (page == null || !PagePool.held(page)) {
        break;
      }
      held++;
    }
    return held;
  }

  /** Gives a job a slot; it has its first rows in the next step. */
  void start(Job job) {
    if (!job.begun()) {
      promptTokens += job.sequence().promptLength();
      if (job.speculation().drafts() && lastDraft != null) {
        job.gauge = lastDraft.copy();
      }
    }
    job.start(slots.pop());
    steps.setAdapter(job.slot, adapter(job));
    for (int at = 0; at < job.length(); at++) {
      remember(job, at, job.ids()[at]);
    }
    running.add(job);
  }

  private static int adapter(Job job) {
    return job.adapter() == null ? EngineAdapter.NONE : job.adapter().index();
  }

  private void remember(Job job, int position, int token) {
    if (job.remembered()) {
      steps.setToken(job.slot, position, token);
      if (draftSteps != null) {
        draftSteps.setToken(job.slot, position, token);
      }
    }
  }

  /**
   * Takes an adapter in, between steps.
   *
   * @throws IllegalArgumentException where it is another model's
   */
  EngineAdapter load(LoadedAdapter adapter) {
    return new EngineAdapter(steps.loadAdapter(adapter));
  }

  /** Lets an adapter go that nothing {@link #uses}, with what the cache knows of it. */
  void unload(EngineAdapter adapter) {
    pool.forgetBelow(adapter.root());
    steps.unloadAdapter(adapter.index());
  }

  /** Whether a job that is begun has this adapter. */
  boolean uses(EngineAdapter adapter) {
    return Stream.concat(running.stream(), preempted.stream())
        .anyMatch(job -> job.adapter() == adapter);
  }

  /** Ends what nobody wants, computes a step, and takes what came of it. */
  void step() {
    List.copyOf(running).stream().filter(Job::abandoned).forEach(this::cancel);
    preempted.removeIf(this::cancelledWhileWaiting);
    while (!preempted.isEmpty() && fits(preempted.peek())) {
      start(preempted.poll());
    }
    if (running.isEmpty()) {
      return;
    }
    try {
      compute();
    } catch (RuntimeException e) {
      abort(e);
      return;
    }
    List.copyOf(running).forEach(this::take);
  }

  /** Counts a job that ended as nobody wanted it before it had a slot. */
  boolean cancelledWhileWaiting(Job job) {
    if (job.abandoned()) {
      cancelled++;
      complete(job);
      return true;
    }
    return false;
  }

  private void compute() {
    long started = clock.getAsLong();
    planKnown();
    propose();
    steps.begin();
    // Neighbours with one adapter are multiplied by it together.
    running.stream().sorted(Comparator.comparingInt(Scheduler::adapter)).forEach(this::addRows);
    steps.run();
    stepCount++;
    if (!prefilling) {
      costs.step(decoding + guesses, clock.getAsLong() - started - drafting);
    }
  }

  /** Plans the rows of tokens that are known, the oldest sequence first. */
  private void planKnown() {
    int left = chunk;
    decoding = 0;
    prefilling = false;
    for (int i = 0; i < running.size(); i++) { // the last ones may be preempted meanwhile
      Job job = running.get(i);
      job.rows = 0;
      job.guesses = 0;
      job.glance = -1;
      adopt(job);
      int rows = job.left() == 1 ? 1 : Math.min(left, job.left());
      if (rows > 0 && reserve(job, job.computed + rows)) {
        if (job.left() == 1) {
          decoding++;
        } else {
          left -= rows;
          prefilling = true;
        }
        job.rows = rows;
        share(job, job.computed + rows);
      }
    }
  }

  /** Takes the pages that the cache has for what comes next; the last token needs its row. */
  private void adopt(Job job) {
    int size = steps.pageSize();
    while (job.computed % size == 0 && job.computed + size < job.length()) {
      int index = job.computed / size;
      if (index < job.pages.size()) {
        return; // a page of its own is there already
      }
      Page page = pool.find(last(job), job.ids(), job.computed);
      if (page == null) {
        return;
      }
      pool.retain(page);
      hold(job, page);
      job.computed += size;
      job.shared++;
      if (job.firstTime()) {
        job.countCached(size);
        cachedTokens += size;
      }
    }
  }

  private static Page last(Job job) {
    return before(job, job.pages.size());
  }

  private static Page before(Job job, int index) {
    return index == 0 ? root(job) : job.pages.get(index - 1);
  }

  private static Page root(Job job) {
    return job.adapter() == null ? null : job.adapter().root();
  }

  private void hold(Job job, Page page) {
    job.pages.add(page);
    setPage(job, job.pages.size() - 1);
  }

  private void setPage(Job job, int index) {
    int page = job.pages.get(index).number();
    steps.setPage(job.slot, index, page);
    if (draftSteps != null) {
      draftSteps.setPage(job.slot, index, page);
    }
  }

  /**
   * Gets pages for so many positions, from the youngest sequences if there are no others.
   *
   * @return false where the job itself was the youngest: it has then none any more
   */
  private boolean reserve(Job job, int positions) {
    while (!reserveFree(job, positions)) {
      Job youngest = running.get(running.size() - 1);
      preempt(youngest);
      if (youngest == job) {
        return false;
      }
    }
    return true;
  }

  private boolean reserveFree(Job job, int positions) {
    while (job.pages.size() < pool.pagesFor(positions)) {
      Page page = pool.allocate();
      if (page == null) {
        return false;
      }
      hold(job, page);
    }
    return true;
  }

  private void preempt(Job job) {
    preemptions++;
    job.preempted();
    leave(job);
    preempted.push(job);
  }

  /** Shares the pages that are full with so many tokens; those of this step are in time. */
  private void share(Job job, int tokens) {
    int size = steps.pageSize();
    while ((job.shared + 1) * size <= tokens) {
      int at = job.shared;
      Page own = job.pages.get(at);
      Page page = pool.share(before(job, at), own, job.ids(), at * size);
      if (page != own) {
        job.pages.set(at, page);
        setPage(job, at);
        if (!page.drafted()) {
          job.drafted = Math.min(job.drafted, at * size);
        }
      }
      job.shared++;
    }
  }

  /** Plans rows of proposed tokens, where what a step costs without any is known. */
  private void propose() {
    guesses = 0;
    drafting = 0;
    if (prefilling || !costs.knows(decoding)) {
      return;
    }
    List<Job> drafted = new ArrayList<>();
    for (Job job : running) {
      propose(job, steps.maxRows() - decoding - guesses);
      guesses += job.guesses;
      if (job.guesses > 0 && job.speculation().drafts()) {
        drafted.add(job);
      }
    }
    if (!drafted.isEmpty()) {
      int missed = drafted.stream().mapToInt(job -> job.length() - job.drafted).sum();
      long started = clock.getAsLong();
      drafts.propose(drafted);
      drafting = clock.getAsLong() - started;
      guesses = running.stream().mapToInt(job -> job.guesses).sum();
      int drawn = drafted.stream().mapToInt(job -> job.guesses).sum();
      if (missed > 4 * drawn) {
        costs.catchUp(missed, drafting);
      } else if (drawn > 0) {
        costs.draft(drawn, drafting);
      }
    }
    for (Job job : running) {
      for (int i = 0; i < job.guesses; i++) {
        remember(job, job.length() + i, job.proposal[i]);
      }
    }
  }

  private void propose(Job job, int rows) {
    boolean byDraft = job.speculation().drafts();
    int most = Math.min(job.proposal.length, job.room());
    if (most <= 0) {
      return;
    }
    int wanted = Math.min(most, job.gauge.next());
    if (byDraft && wanted > 0 && !pays(job, wanted) && !costs.allowsTry(decoding)) {
      return;
    }
    if (wanted == 0) {
      if (!byDraft && lookUp(job, 1) > 0) {
        job.glance = job.proposal[0];
      }
      return;
    }
    wanted = affordable(job, Math.min(wanted, rows));
    job.guesses = byDraft ? wanted : lookUp(job, wanted);
    while (job.guesses > 0 && !reserveFree(job, job.length() + job.guesses)) {
      job.guesses--;
    }
  }

  /** Fewer tokens, where so many cost more than what lately was accepted. */
  private int affordable(Job job, int wanted) {
    int tokens = wanted;
    while (tokens > 1
        && !job.gauge.pays(costs.each(decoding, guesses + tokens, job.speculation().drafts()))) {
      costs.avoid(decoding + guesses + tokens);
      tokens = Integer.highestOneBit(tokens) - 1; // rows stay powers of two
    }
    return tokens;
  }

  private boolean pays(Job job, int tokens) {
    return job.gauge.pays(costs.each(decoding, guesses + tokens, job.speculation().drafts()));
  }

  private static int lookUp(Job job, int most) {
    return job.speculation().lookUp(job.ids(), job.length(), most, job.proposal);
  }

  private void addRows(Job job) {
    int row = -1;
    for (int at = job.computed; at < job.computed + job.rows; at++) {
      row = steps.add(job.slot, at, job.ids()[at]);
    }
    if (job.rows < job.left()) {
      return; // more of the prompt is to come
    }
    job.row = row;
    ask(job, 0);
    for (int i = 0; i < job.guesses; i++) {
      steps.add(job.slot, job.length() + i, job.proposal[i]);
      ask(job, i + 1);
    }
  }

  private void ask(Job job, int guess) {
    if (job.onHost() == null) {
      steps.choose(
          job.row + guess, job.how(), job.seed(), job.step() + guess, job.length() + guess);
    } else {
      steps.wantLogits(job.row + guess);
    }
  }

  /** Takes what a step computed of a job. */
  private void take(Job job) {
    job.computed += job.rows;
    if (job.left() > 0) {
      return;
    }
    try {
      takeTokens(job);
    } catch (RuntimeException e) { // of a processor, or the model's logits are not finite
      failed++;
      leave(job);
      fail(job, e);
      return;
    }
    if (job.ended()) {
      completed++;
      leave(job);
      complete(job);
    } else if (job.overflows()) {
      vacate(job);
      job.slide();
    }
  }

  /** Appends the tokens that the model chose: one, and one for each that was proposed rightly. */
  private void takeTokens(Job job) {
    int before = job.length();
    int right = 0;
    for (boolean goesOn = true; goesOn; ) {
      int at = job.length() - before;
      int id = choice(job, job.row + at);
      float logprob =
          job.onHost() == null ? steps.logprob(job.row + at) : Distribution.logprob(logits, id);
      job.add(id, logprob);
      remember(job, before + at, id);
      generatedTokens++;
      if (at == 0 && job.glance >= 0) {
        judge(job, 1, id == job.glance ? 1 : 0, false);
      }
      boolean guessed = at < job.guesses && id == job.proposal[at];
      right += guessed ? 1 : 0;
      goesOn = guessed && !job.ended();
    }
    job.computed += right;
    if (job.guesses > 0) {
      proposedTokens += job.guesses;
      acceptedTokens += right;
      job.countProposed(job.guesses, right);
      judge(job, job.guesses, right, true);
      if (job.speculation().drafts()) {
        drafts.accepted(job, before, right);
        lastDraft = job.gauge;
      }
    }
  }

  private int choice(Job job, int row) {
    int id;
    if (job.onHost() == null) {
      id = steps.token(row);
    } else {
      steps.logits(row, logits);
      id = job.onHost().choose(logits, job.sequence(), job.seed(), job.step());
    }
    if (id < 0) {
      throw Distribution.notFinite(job.sequence().length());
    }
    return id;
  }

  private void judge(Job job, int tokens, int right, boolean verified) {
    double cost = costs.each(decoding, Math.max(guesses, tokens), job.speculation().drafts());
    job.gauge.record(tokens, right, cost, verified);
  }

  private void cancel(Job job) {
    cancelled++;
    leave(job);
    complete(job);
  }

  /**
   * Takes the slot and the pages of a job; what is computed of it stays in the cache for a while.
   */
  private void leave(Job job) {
    share(job, job.computed);
    vacate(job);
    slots.push(job.slot);
    running.remove(job);
  }

  private void vacate(Job job) {
    for (int i = job.pages.size() - 1; i >= 0; i--) {
      pool.release(job.pages.get(i));
    }
    job.pages.clear();
    job.computed = 0;
    job.shared = 0;
    job.drafted = 0;
  }

  private void complete(Job job) {
    Completion completion = job.completion();
    outbox.add(() -> results.completed(job, completion));
  }

  private void fail(Job job, Throwable failure) {
    outbox.add(() -> results.failed(job, failure));
  }

  /** Fails all that runs: of what the pages hold nothing is sure any more. */
  void abort(RuntimeException failure) {
    for (Job job : List.copyOf(running)) {
      failed++;
      vacate(job);
      slots.push(job.slot);
      fail(job, failure);
    }
    running.clear();
    pool.clear();
  }

  /** Cancels all that runs or waits. */
  void cancelAll(List<Job> waiting) {
    List.copyOf(running).forEach(this::cancel);
    for (Job job : withPreempted(waiting)) {
      cancelled++;
      complete(job);
    }
  }

  /** Fails all that runs or waits. */
  void failAll(List<Job> waiting, RuntimeException failure) {
    abort(failure);
    for (Job job : withPreempted(waiting)) {
      failed++;
      fail(job, failure);
    }
  }

  private List<Job> withPreempted(List<Job> waiting) {
    List<Job> all = new ArrayList<>(preempted);
    all.addAll(waiting);
    preempted.clear();
    return all;
  }

  /** Without what the engine's queue knows. */
  EngineStats stats() {
    return new EngineStats(
        running.size(),
        preempted.size(),
        pool.used(),
        pool.cached(),
        pool.free(),
        stepCount,
        promptTokens,
        cachedTokens,
        generatedTokens,
        proposedTokens,
        acceptedTokens,
        completed,
        cancelled,
        failed,
        0,
        preemptions);
  }

  /** Tells the results since the last time. */
  void flush() {
    outbox.forEach(Runnable::run);
    outbox.clear();
  }
}
