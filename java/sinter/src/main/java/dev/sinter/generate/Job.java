package dev.sinter.generate;

import dev.sinter.generate.PagePool.Page;
import dev.sinter.graph.Sampler;
import dev.sinter.text.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** A request on its way through the engine. But for the future it is the scheduler's alone. */
final class Job {
  private final Request request;
  private final Sequence sequence;
  private final Progress progress;
  private final HostSampler onHost;
  private final Sampler.Settings how;
  private final CompletableFuture<Completion> future = new CompletableFuture<>();
  private final EngineStream stream;
  private final Speculation speculation;
  private final int context;
  private EngineAdapter adapter;
  private final long submitted = System.nanoTime();
  private long started;
  private long first;
  private long last;
  private int cached;
  private int proposed;
  private int accepted;
  private boolean preempted;

  // What the model sees: all tokens, or those that sliding left.
  private int[] ids;
  private int length;

  // What the scheduler does with it.
  final List<Page> pages = new ArrayList<>();
  Gauge gauge;
  final int[] proposal;
  int slot;
  int shared; // pages of those that are in the pool's tree
  int computed; // tokens that are in the cache
  int drafted; // tokens that are in the draft model's cache
  int rows; // known tokens in the step
  int row; // the first of these
  int guesses; // proposed tokens in the step, behind the known ones
  int glance; // what would have been proposed, unverified; -1: nothing

  /**
   * @param engine the speculation of requests that name none
   * @param tokenizer null: no text
   * @param stream where tokens go as they come; null: nowhere
   * @throws IllegalArgumentException for a prompt that is empty or does not fit
   */
  Job(
      Request request,
      int[] prompt,
      int context,
      Speculation engine,
      Tokenizer tokenizer,
      EngineStream stream) {
    this.request = request;
    this.context = context;
    this.stream = stream;
    Sampling sampling = request.sampling();
    int room = request.slides() ? Integer.MAX_VALUE : context;
    sequence = Progress.sequence(0, prompt, room, sampling.ending(), tokenizer);
    progress = new Progress(sequence, room, sampling.ending(), tokenizer);
    // What the device remembers of a sequence slides with the context; a penalty counts it all.
    boolean onDevice =
        sampling.processors().isEmpty() && (sampling.repetitionPenalty() == 1 || !request.slides());
    onHost = onDevice ? null : new HostSampler(sampling);
    how =
        new Sampler.Settings(
            onDevice ? sampling.repetitionPenalty() : 1, // else no device knows the history
            sampling.temperature(),
            sampling.topK(),
            sampling.topP(),
            sampling.minP());
    speculation = request.speculation().orElse(engine);
    gauge =
        speculation.drafts()
            ? Gauge.trusting(speculation.tokens())
            : Gauge.glancing(speculation.tokens());
    proposal = new int[speculation.tokens()];
    ids = Arrays.copyOf(prompt, Math.max(16, prompt.length));
    length = prompt.length;
    if (length > context) {
      slide();
    }
  }

  long seed() {
    return request.sampling().seed();
  }

  Sequence sequence() {
    return sequence;
  }

  /** The adapter of a request's name, from before it waits. */
  void setAdapter(EngineAdapter value) {
    adapter = value;
  }

  /** Null: the model itself. */
  EngineAdapter adapter() {
    return adapter;
  }

  Request request() {
    return request;
  }

  Speculation speculation() {
    return speculation;
  }

  CompletableFuture<Completion> future() {
    return future;
  }

  /** Whether nobody wants it any more. */
  boolean abandoned() {
    return future.isDone() || stream != null && stream.closed();
  }

  /** How the device chooses for it. */
  Sampler.Settings how() {
    return how;
  }

  /** Null where the device chooses. */
  HostSampler onHost() {
    return onHost;
  }

  /** Whether the device is to know the tokens. */
  boolean remembered() {
    return how.repetitionPenalty() != 1;
  }

  /** The tokens that the model sees; the first {@link #length} count. */
  int[] ids() {
    return ids;
  }

  int length() {
    return length;
  }

  /** The number of the next draw. */
  int step() {
    return progress.tokens();
  }

  /** Tokens that are known and not computed. */
  int left() {
    return length - computed;
  }

  /** The most tokens that it may still propose, so that no row is past the end or the context. */
  int room() {
    return Math.min(sequence.maxLength() - sequence.length() - 1, context - length);
  }

  /** The most positions that are ever in the cache: the last token never is. */
  int positions() {
    return Math.min(context, sequence.maxLength() - 1);
  }

  boolean ended() {
    return progress.ended();
  }

  /** Appends a token that was chosen. */
  void add(int id, float logprob) {
    last = System.nanoTime();
    first = first == 0 ? last : first;
    sequence.add(id);
    if (length == ids.length) {
      ids = Arrays.copyOf(ids, 2 * length);
    }
    ids[length++] = id;
    Token token = progress.add(logprob);
    if (stream != null) {
      stream.push(token);
    }
  }

  /** Whether the model can see no further token. */
  boolean overflows() {
    return length > context;
  }

  /** Leaves of what the model sees the first tokens and the last half of the others. */
  void slide() {
    int stay = request.kept();
    int half = (context - stay + 1) / 2;
    System.arraycopy(ids, length - half, ids, stay, half);
    length = stay + half;
  }

  /** Notes that it got a slot. */
  void start(int where) {
    slot = where;
    started = started == 0 ? System.nanoTime() : started;
  }

  /** Notes that it gave its slot back. */
  void preempted() {
    preempted = true;
  }

  /** Whether its prompt is computed for the first time. */
  boolean firstTime() {
    return !preempted && progress.tokens() == 0;
  }

  /** Whether it had a slot before. */
  boolean begun() {
    return started != 0;
  }

  void countCached(int tokens) {
    cached += tokens;
  }

  void countProposed(int tokens, int right) {
    proposed += tokens;
    accepted += right;
  }

  Completion completion() {
    long begun = started == 0 ? System.nanoTime() : started;
    return progress.completion(
        Duration.ofNanos(first == 0 ? 0 : first - begun),
        Duration.ofNanos(last - first),
        Duration.ofNanos(begun - submitted),
        cached,
        proposed,
        accepted);
  }

  /** Tells the stream that no token comes any more. */
  void endStream(Throwable failure) {
    if (stream != null) {
      stream.end(failure);
    }
  }
}
