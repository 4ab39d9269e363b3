package dev.sinter.generate;

import dev.sinter.model.Decoder;
import dev.sinter.model.LanguageModel;
import dev.sinter.text.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.function.Predicate;

/**
 * Beam search with the rules of Hugging Face's {@code generate}: each step takes the best
 * continuations of all beams together; those that end are set aside if they are among the best
 * {@code count}, the others go on. No choice is random.
 *
 * <p>Any model that is a {@link StepFunction} can be searched: {@link #search}.
 */
public final class BeamSearch {
  /** What keeps a beam out of the running without an infinity, which no sum could take back. */
  private static final float OUT = -1e9f;

  private final StepFunction model;
  private final Beams beams;
  private final Processors processors;
  private final Predicate<Sequence> stops;
  private final int candidates;
  private final Sequence start;
  private List<Beam> running = new ArrayList<>();
  private List<Beam> finished = new ArrayList<>();

  /**
   * A sequence with its score.
   *
   * @param parent which of the running beams it goes on from
   * @param done whether it has ended
   */
  private record Beam(Sequence ids, LogProbs logprobs, float score, int parent, boolean done) {
    Beam scored(float other) {
      return new Beam(ids, logprobs, other, parent, done);
    }
  }

  /** The log-probabilities of a beam's tokens: it shares those of its past with other beams. */
  private record LogProbs(LogProbs before, float last) {}

  private BeamSearch(
      StepFunction model,
      Sequence start,
      Processors processors,
      Beams beams,
      Predicate<Sequence> stops) {
    this.model = model;
    this.start = start;
    this.beams = beams;
    this.processors = processors;
    this.stops = stops;
    this.candidates =
        (int)
            Math.min(
                (long) beams.count() * Math.max(2, 1 + start.endTokens().size()),
                (long) beams.count() * model.vocabulary());
  }

  /**
   * Searches with any model.
   *
   * @param model which has its prompt
   * @param prompt tokens that its decoder starts with
   * @param source tokens that its encoder reads; of a decoder alone, those of the prompt
   * @param sampling end tokens, lengths and processors; those of sampling must be off
   * @param beams how
   * @param context the most positions of the decoder
   * @return finished hypotheses, the best first
   * @throws IllegalArgumentException where the settings ask for sampling or stop texts
   * @throws ArithmeticException where the model's logits are not finite
   */
  public static List<Hypothesis> search(
      StepFunction model, int[] prompt, int[] source, Sampling sampling, Beams beams, int context) {
    if (!sampling.ending().stop().isEmpty()) {
      throw new IllegalArgumentException("a search without a tokenizer knows no stop texts");
    }
    Ending ending = sampling.ending();
    int limit = ending.limit(prompt.length, context);
    Sequence start = new Sequence(0, prompt, limit, ending.tokens(), source);
    return new BeamSearch(model, start, checked(sampling), beams, ids -> false).run();
  }

  /**
   * Completes a prompt.
   *
   * @param model whose weights
   * @param tokenizer of the model; null: tokens have ids and no text
   * @param prompt at least one token, less than the model's context
   * @param sampling end tokens, lengths and processors; those of sampling must be off
   * @param beams how
   * @return completions, the best first
   * @throws IllegalArgumentException for a prompt that is empty or does not fit, and where the
   *     settings ask for sampling
   * @throws ArithmeticException where the model's logits are not finite
   */
  public static List<Completion> complete(
      LanguageModel model, Tokenizer tokenizer, int[] prompt, Sampling sampling, Beams beams) {
    int context = model.config().context();
    Ending ending = sampling.ending();
    Processors processors = checked(sampling);
    Sequence start = Progress.sequence(0, prompt, context, ending, tokenizer);
    List<Completion> all = new ArrayList<>();
    try (Decoder decoder = model.decoder(beams.count(), start.maxLength())) {
      DecoderSteps steps = new DecoderSteps(decoder, model.config().vocabulary(), prompt);
      Predicate<Sequence> stops =
          ending.stop().isEmpty() ? ids -> false : ids -> stopped(ids, ending, tokenizer);
      long started = System.nanoTime();
      List<Hypothesis> best = new BeamSearch(steps, start, processors, beams, stops).run();
      Duration decode = Duration.ofNanos(System.nanoTime() - steps.prefilled);
      for (Hypothesis one : best) {
        Sequence ids = Progress.sequence(0, prompt, context, ending, tokenizer);
        Progress progress = new Progress(ids, context, ending, tokenizer);
        for (int i = 0; i < one.ids().length; i++) {
          ids.add(one.ids()[i]);
          progress.add(one.logprobs()[i]);
        }
        all.add(
            progress.completion(one.score(), Duration.ofNanos(steps.prefilled - started), decode));
      }
    }
    return all;
  }

  private static Processors checked(Sampling sampling) {
    boolean plain = sampling.temperature() == 0 || sampling.temperature() == 1;
    boolean samples =
        !plain || sampling.topK() != 0 || sampling.topP() != 1 || sampling.minP() != 0;
    samples |= sampling.processors().stream().anyMatch(one -> Processors.stage(one).samples());
    if (samples) {
      throw new IllegalArgumentException(
          "beam search does not sample; leave out temperature, top-k, top-p and their like");
    }
    return Processors.of(sampling.withTemperature(0));
  }

  private static boolean stopped(Sequence ids, Ending ending, Tokenizer tokenizer) {
    int[] all = ids.ids();
    String text = tokenizer.decode(Arrays.copyOfRange(all, ids.promptLength(), all.length));
    return ending.stop().stream().anyMatch(text::contains);
  }

  /** A model's decoder: all beams share its batch. */
  private static final class DecoderSteps implements StepFunction {
    private final Decoder decoder;
    private final int vocabulary;
    private final int[] prompt;
    private long prefilled;

    DecoderSteps(Decoder decoder, int vocabulary, int[] prompt) {
      this.decoder = decoder;
      this.vocabulary = vocabulary;
      this.prompt = prompt;
    }

    @Override
    public int vocabulary() {
      return vocabulary;
    }

    @Override
    public void start(float[] logits) {
      decoder.start(prompt, logits);
      prefilled = System.nanoTime();
    }

    @Override
    public void step(int[] tokens, int[] parents, float[][] logits) {
      decoder.reorder(parents);
      decoder.lastLogits(tokens, logits);
    }
  }

  private List<Hypothesis> run() {
    int count = beams.count();
    float[][] logits = new float[count][model.vocabulary()];
    model.start(logits[0]);
    for (int i = 0; i < count; i++) {
      logits[i] = i == 0 ? logits[0] : logits[0].clone();
      running.add(new Beam(start, null, i == 0 ? 0 : OUT, 0, false));
    }
    for (boolean goesOn = true; goesOn; ) {
      List<Beam> best = extend(logits);
      running = goOn(best);
      setAside(best);
      goesOn = best.stream().anyMatch(beam -> !beam.done) && canImprove();
      if (goesOn) {
        int[] tokens = running.stream().mapToInt(beam -> last(beam.ids)).toArray();
        int[] parents = running.stream().mapToInt(Beam::parent).toArray();
        model.step(tokens, parents, logits);
      }
    }
    return finished.stream().limit(beams.returned()).map(this::hypothesis).toList();
  }

  private static int last(Sequence ids) {
    return ids.id(ids.length() - 1);
  }

  private int generated() {
    return running.get(0).ids.length() - start.promptLength();
  }

  /** The best continuations of all beams together. */
  private List<Beam> extend(float[][] logits) {
    int vocabulary = model.vocabulary();
    float[][] scores = new float[logits.length][];
    for (int i = 0; i < logits.length; i++) {
      if (Distribution.best(logits[i]) < 0) {
        throw Distribution.notFinite(running.get(i).ids.length());
      }
      Distribution.logSoftmax(logits[i]);
      scores[i] = logits[i].clone();
    }
    processors.process(scores, running.stream().map(Beam::ids).toList());
    float[] all = new float[scores.length * vocabulary];
    for (int i = 0; i < all.length; i++) {
      all[i] = scores[i / vocabulary][i % vocabulary] + running.get(i / vocabulary).score;
    }
    int[] ranked = Distribution.best(all, candidates);
    List<Beam> best = new ArrayList<>();
    for (int at : ranked) {
      int parent = at / vocabulary;
      int token = at % vocabulary;
      Beam from = running.get(parent);
      Sequence ids = from.ids.then(token);
      boolean done =
          ids.endTokens().contains(token) || ids.length() >= ids.maxLength() || stops.test(ids);
      LogProbs logprobs = new LogProbs(from.logprobs, logits[parent][token]);
      best.add(new Beam(ids, logprobs, all[at], parent, done));
    }
    return best;
  }

  /** Of the continuations those that go on: what has ended comes last. */
  private List<Beam> goOn(List<Beam> best) {
    return best.stream()
        .map(beam -> beam.done ? beam.scored(beam.score + OUT) : beam)
        .sorted(byScore())
        .limit(beams.count())
        .toList();
  }

  /** Takes what has ended among the best {@code count}, and keeps the best of all that have. */
  private void setAside(List<Beam> best) {
    if (full() && beams.earlyStopping() == Beams.EarlyStopping.TRUE) {
      return;
    }
    List<Beam> all = new ArrayList<>(finished);
    for (Beam beam : best.subList(0, Math.min(best.size(), beams.count()))) {
      if (beam.done) {
        int length = beam.ids.length() - start.promptLength();
        all.add(beam.scored(beams.lengthPenalty().apply(beam.score, length)));
      }
    }
    finished = all.stream().sorted(byScore()).limit(beams.count()).toList();
  }

  /** Best first; equals stay as they are. */
  private static Comparator<Beam> byScore() {
    return Collections.reverseOrder(Comparator.comparing(Beam::score));
  }

  private boolean full() {
    return finished.size() == beams.count();
  }

  /** Whether a running beam could still be among the finished ones. */
  private boolean canImprove() {
    if (!full()) {
      return true;
    }
    if (beams.earlyStopping() == Beams.EarlyStopping.TRUE) {
      return false;
    }
    boolean longest =
        beams.earlyStopping() == Beams.EarlyStopping.NEVER && beams.lengthPenalty().alpha() > 0;
    int length = longest ? start.maxLength() - start.promptLength() : generated();
    float possible = beams.lengthPenalty().apply(running.get(0).score, length);
    return possible > finished.get(finished.size() - 1).score;
  }

  private Hypothesis hypothesis(Beam beam) {
    int[] ids = beam.ids.ids();
    int[] own = Arrays.copyOfRange(ids, start.promptLength(), ids.length);
    float[] logprobs = new float[own.length];
    LogProbs at = beam.logprobs;
    for (int i = own.length - 1; i >= 0; i--, at = at.before) {
      logprobs[i] = at.last;
    }
    return new Hypothesis(own, logprobs, beam.score);
  }
}
