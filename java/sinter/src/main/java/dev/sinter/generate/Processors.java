package dev.sinter.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntPredicate;
import java.util.function.Predicate;

/**
 * The processors of the field, to be given to {@link Sampling#with}. In whatever order they are
 * named, they act in that of Hugging Face's {@code generate}; each sees what the one before it
 * made. "End tokens" are those of {@link Ending#tokens}.
 */
public final class Processors {
  /** The places of the order. */
  enum Stage {
    SEQUENCE_BIAS,
    ENCODER_REPETITION_PENALTY,
    REPETITION_PENALTY,
    NO_REPEAT_NGRAM,
    ENCODER_NO_REPEAT_NGRAM,
    BAD_WORDS,
    MIN_LENGTH,
    MIN_NEW_TOKENS,
    ALLOWED,
    FORCED_BEGIN,
    FORCED_END,
    REMOVE_INVALID,
    EXPONENTIAL_DECAY,
    SUPPRESS,
    BEGIN_SUPPRESS,
    CUSTOM,
    // What follows takes part in sampling alone, but for the last.
    TEMPERATURE,
    TOP_H,
    TOP_K,
    TOP_P,
    MIN_P,
    TYPICAL,
    EPSILON,
    ETA,
    RENORMALIZE;

    boolean samples() {
      return compareTo(CUSTOM) > 0 && this != RENORMALIZE;
    }
  }

  /** A processor with a place of its own. */
  private record Placed(Stage stage, Processor processor) implements Processor {
    @Override
    public void process(float[] scores, Sequence sequence) {
      processor.process(scores, sequence);
    }

    @Override
    public String toString() {
      return stage.toString();
    }
  }

  private final List<Processor> inOrder;

  private Processors(List<Processor> inOrder) {
    this.inOrder = inOrder;
  }

  /** All that the settings ask for; those of sampling where the temperature is not 0. */
  static Processors of(Sampling sampling) {
    List<Processor> all = new ArrayList<>(sampling.processors());
    if (sampling.repetitionPenalty() != 1) {
      all.add(repetitionPenalty(sampling.repetitionPenalty()));
    }
    if (sampling.temperature() != 1 && sampling.temperature() != 0) {
      all.add(temperature(sampling.temperature()));
    }
    if (sampling.topK() != 0) {
      all.add(topK(sampling.topK()));
    }
    if (sampling.topP() != 1) {
      all.add(topP(sampling.topP()));
    }
    if (sampling.minP() != 0) {
      all.add(minP(sampling.minP()));
    }
    all.removeIf(one -> stage(one).samples() && sampling.temperature() == 0);
    if (all.stream().anyMatch(one -> stage(one) == Stage.FORCED_BEGIN)) {
      all.replaceAll(Processors::behindForcedBegin);
    }
    return new Processors(ordered(all));
  }

  /** In the order of the field: of two for the same place the later counts, but for custom ones. */
  static List<Processor> ordered(List<Processor> processors) {
    Map<Stage, Processor> last = new EnumMap<>(Stage.class);
    processors.forEach(one -> last.put(stage(one), one));
    return processors.stream()
        .filter(one -> stage(one) == Stage.CUSTOM || last.get(stage(one)) == one)
        .sorted(Comparator.comparing(Processors::stage))
        .toList();
  }

  static Stage stage(Processor processor) {
    return processor instanceof Placed placed ? placed.stage : Stage.CUSTOM;
  }

  /**
   * Changes the scores of the beams of one prompt, or of one sequence.
   *
   * @param scores [beams][vocabulary]
   */
  void process(float[][] scores, List<Sequence> sequences) {
    for (Processor one : inOrder) {
      if (one instanceof Placed placed && placed.processor instanceof Allowed allowed) {
        allowed.process(scores, sequences);
        continue;
      }
      for (int i = 0; i < scores.length; i++) {
        one.process(scores[i], sequences.get(i));
      }
    }
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  private static void rule(float[] scores, int id, float score) {
    if (id < scores.length) { // a prompt may hold ids that the model cannot give
      scores[id] = score;
    }
  }

  private static void drop(float[] scores, int id) {
    rule(scores, id, Float.NEGATIVE_INFINITY);
  }

  private static void dropAll(float[] scores, Iterable<Integer> ids) {
    ids.forEach(id -> drop(scores, id));
  }

  private static void force(float[] scores, Iterable<Integer> ids) {
    Arrays.fill(scores, Float.NEGATIVE_INFINITY);
    ids.forEach(id -> rule(scores, id, 0));
  }

  private static Set<Integer> known(Set<Integer> ids, String name) {
    check(ids.stream().allMatch(id -> id >= 0), name + ": ids are 0 or more");
    return Set.copyOf(ids);
  }

  /**
   * Adds to the score of a token where it would complete a sequence of tokens.
   *
   * @param biases what is added for each sequence
   * @return the processor
   */
  public static Processor sequenceBias(Map<List<Integer>, Float> biases) {
    return new Placed(Stage.SEQUENCE_BIAS, new SequenceBias(biases));
  }

  /**
   * Rules out the token that would complete one of some sequences. A sequence that is an end token
   * alone is not ruled out.
   *
   * @param words sequences of tokens
   * @return the processor
   */
  public static Processor badWords(List<List<Integer>> words) {
    Map<List<Integer>, Float> biases = new LinkedHashMap<>();
    words.forEach(word -> biases.put(word, Float.NEGATIVE_INFINITY));
    SequenceBias ruling = new SequenceBias(biases);
    return new Placed(
        Stage.BAD_WORDS,
        (scores, sequence) ->
            ruling.process(
                scores,
                sequence,
                word -> word.length == 1 && sequence.endTokens().contains(word[0])));
  }

  private static final class SequenceBias implements Processor {
    private final List<int[]> sequences = new ArrayList<>();
    private final List<Float> biases = new ArrayList<>();

    SequenceBias(Map<List<Integer>, Float> given) {
      given.forEach(
          (sequence, bias) -> {
            check(!sequence.isEmpty(), "a sequence of tokens is empty");
            check(sequence.stream().allMatch(id -> id >= 0), "ids are 0 or more");
            sequences.add(sequence.stream().mapToInt(Integer::intValue).toArray());
            biases.add(bias);
          });
    }

    @Override
    public void process(float[] scores, Sequence sequence) {
      process(scores, sequence, word -> false);
    }

    void process(float[] scores, Sequence sequence, Predicate<int[]> spared) {
      // Summed before they are added, as their rounding is then Hugging Face's.
      float[] sums = new float[scores.length];
      for (int i = 0; i < sequences.size(); i++) {
        int[] word = sequences.get(i);
        int last = word[word.length - 1];
        check(last < scores.length, "token " + last + "; the vocabulary has " + scores.length);
        if (!spared.test(word) && sequence.endsWith(word, 0, word.length - 1)) {
          sums[last] += biases.get(i);
        }
      }
      for (int i = 0; i < scores.length; i++) {
        scores[i] += sums[i];
      }
    }
  }

  /**
   * Makes the tokens of the encoder's text likelier, or of the prompt where there is no encoder:
   * each is divided by the inverse of the penalty where positive, else multiplied.
   *
   * @param penalty more than 1: likelier
   * @return the processor
   */
  public static Processor encoderRepetitionPenalty(double penalty) {
    checkPenalty(penalty);
    return new Placed(
        Stage.ENCODER_REPETITION_PENALTY,
        (scores, sequence) -> penalize(scores, sequence.source(), (float) (1 / penalty)));
  }

  /** Keskar et al. 2019, each token once. */
  static Processor repetitionPenalty(double penalty) {
    checkPenalty(penalty);
    return new Placed(
        Stage.REPETITION_PENALTY,
        (scores, sequence) -> penalize(scores, sequence.ids(), (float) penalty));
  }

  private static void checkPenalty(double penalty) {
    check(penalty > 0 && penalty <= 1000, "penalty " + penalty + "; more than 0, 1 for none");
  }

  private static void penalize(float[] scores, int[] ids, float penalty) {
    for (int id : Arrays.stream(ids).filter(id -> id < scores.length).distinct().toArray()) {
      scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
    }
  }

  /**
   * Rules out tokens that would complete a run of tokens which is already there, prompt included.
   *
   * @param size tokens of a run
   * @return the processor
   */
  public static Processor noRepeatNgram(int size) {
    check(size >= 1, "n-gram of " + size + " tokens; 1 or more");
    return new Placed(
        Stage.NO_REPEAT_NGRAM,
        (scores, sequence) -> banNgrams(scores, sequence, sequence.ids(), size));
  }

  /**
   * Rules out tokens that would complete a run of tokens which the encoder read, or which the
   * prompt has where there is no encoder.
   *
   * @param size tokens of a run
   * @return the processor
   */
  public static Processor encoderNoRepeatNgram(int size) {
    check(size >= 1, "n-gram of " + size + " tokens; 1 or more");
    return new Placed(
        Stage.ENCODER_NO_REPEAT_NGRAM,
        (scores, sequence) -> banNgrams(scores, sequence, sequence.source(), size));
  }

  private static void banNgrams(float[] scores, Sequence sequence, int[] text, int size) {
    for (int at = 0; at + size <= text.length; at++) {
      if (sequence.endsWith(text, at, size - 1)) {
        drop(scores, text[at + size - 1]);
      }
    }
  }

  /**
   * Rules end tokens out while the sequence is short.
   *
   * @param length tokens that it has at least before its end token, prompt included
   * @return the processor
   */
  public static Processor minLength(int length) {
    check(length >= 0, "min length " + length + "; 0 or more");
    return new Placed(
        Stage.MIN_LENGTH,
        (scores, sequence) -> {
          if (sequence.length() < length) {
            dropAll(scores, sequence.endTokens());
          }
        });
  }

  /**
   * Rules end tokens out while the completion is short.
   *
   * @param tokens that it has at least before its end token
   * @return the processor
   */
  public static Processor minNewTokens(int tokens) {
    check(tokens >= 0, "min new tokens " + tokens + "; 0 or more");
    return new Placed(
        Stage.MIN_NEW_TOKENS,
        (scores, sequence) -> {
          if (sequence.length() - sequence.promptLength() < tokens) {
            dropAll(scores, sequence.endTokens());
          }
        });
  }

  /** Says which tokens may come next. */
  @FunctionalInterface
  public interface AllowedTokens {
    /**
     * Names the tokens that may follow.
     *
     * @param sequence the tokens so far
     * @return ids, at least one
     */
    int[] after(Sequence sequence);
  }

  /**
   * Rules all tokens out but those that a function names. Where other processors have ruled out all
   * of these, they are allowed again.
   *
   * @param allowed the function
   * @return the processor
   */
  public static Processor allowed(AllowedTokens allowed) {
    return new Placed(Stage.ALLOWED, new Allowed(allowed));
  }

  private record Allowed(AllowedTokens allowed) implements Processor {
    @Override
    public void process(float[] scores, Sequence sequence) {
      process(new float[][] {scores}, List.of(sequence));
    }

    /** Of one prompt's beams: they are allowed again only where no beam has any. */
    void process(float[][] scores, List<Sequence> sequences) {
      float[][] masks = new float[scores.length][];
      boolean any = false;
      for (int i = 0; i < scores.length; i++) {
        int[] ids = allowed.after(sequences.get(i));
        check(ids.length > 0, "no token is allowed after " + sequences.get(i).length());
        masks[i] = new float[scores[i].length];
        force(masks[i], Arrays.stream(ids).boxed().toList());
        for (int id : ids) {
          any |= id < scores[i].length && scores[i][id] != Float.NEGATIVE_INFINITY;
        }
      }
      for (int i = 0; i < scores.length; i++) {
        for (int j = 0; j < scores[i].length; j++) {
          scores[i][j] = any ? scores[i][j] + masks[i][j] : masks[i][j];
        }
      }
    }
  }

  /**
   * Forces the token behind a prompt of one token, which is how encoder-decoders begin.
   *
   * @param id the token
   * @return the processor
   */
  public static Processor forcedBegin(int id) {
    List<Integer> forced = List.copyOf(known(Set.of(id), "forced begin"));
    return new Placed(
        Stage.FORCED_BEGIN,
        (scores, sequence) -> {
          if (sequence.length() == 1) {
            force(scores, forced);
          }
        });
  }

  /**
   * Forces an end at the last place that the sequence may have.
   *
   * @param ids one of these comes
   * @return the processor
   */
  public static Processor forcedEnd(Set<Integer> ids) {
    Set<Integer> forced = known(ids, "forced end");
    return new Placed(
        Stage.FORCED_END,
        (scores, sequence) -> {
          if (sequence.length() == sequence.maxLength() - 1) {
            force(scores, forced);
          }
        });
  }

  /**
   * Makes NaN 0 and infinities the largest numbers: a damaged model goes on. Tokens that were ruled
   * out before stay the least likely.
   *
   * @return the processor
   */
  public static Processor removeInvalid() {
    return new Placed(
        Stage.REMOVE_INVALID,
        (scores, sequence) -> {
          for (int i = 0; i < scores.length; i++) {
            float score = Float.isNaN(scores[i]) ? 0 : scores[i];
            scores[i] = Math.max(-Float.MAX_VALUE, Math.min(Float.MAX_VALUE, score));
          }
        });
  }

  /**
   * Makes end tokens likelier with each token: adds |score| (factor^n - 1), n tokens past the
   * start.
   *
   * @param start tokens of the completion before it begins
   * @param factor more than 1: likelier
   * @return the processor
   */
  public static Processor exponentialDecay(int start, double factor) {
    check(start >= 0 && factor > 0, "decay from " + start + " by " + factor);
    return new Placed(
        Stage.EXPONENTIAL_DECAY,
        (scores, sequence) -> {
          int past = sequence.length() - sequence.promptLength() - start;
          if (past > 0) {
            float grown = (float) (Math.pow(factor, past) - 1);
            for (int id : sequence.endTokens()) {
              // What was ruled out stays out: infinities of both signs would make NaN.
              if (id < scores.length && scores[id] != Float.NEGATIVE_INFINITY) {
                scores[id] += Math.abs(scores[id]) * grown;
              }
            }
          }
        });
  }

  /**
   * Rules tokens out.
   *
   * @param ids the tokens
   * @return the processor
   */
  public static Processor suppress(Set<Integer> ids) {
    Set<Integer> out = known(ids, "suppress");
    return new Placed(Stage.SUPPRESS, (scores, sequence) -> dropAll(scores, out));
  }

  /**
   * Rules tokens out as the first of a completion: as its second where {@link #forcedBegin} says
   * the first.
   *
   * @param ids the tokens
   * @return the processor
   */
  public static Processor beginSuppress(Set<Integer> ids) {
    Set<Integer> out = known(ids, "begin suppress");
    return new Placed(Stage.BEGIN_SUPPRESS, new BeginSuppress(out, 0));
  }

  private static Processor behindForcedBegin(Processor one) {
    return one instanceof Placed placed && placed.processor instanceof BeginSuppress begin
        ? new Placed(Stage.BEGIN_SUPPRESS, new BeginSuppress(begin.ids, 1))
        : one;
  }

  private record BeginSuppress(Set<Integer> ids, int behindShortPrompt) implements Processor {
    @Override
    public void process(float[] scores, Sequence sequence) {
      int prompt = sequence.promptLength();
      if (sequence.length() == prompt + (prompt > 1 ? 0 : behindShortPrompt)) {
        dropAll(scores, ids);
      }
    }
  }

  static Processor temperature(double temperature) {
    return new Placed(
        Stage.TEMPERATURE,
        (scores, sequence) -> {
          // From the best on down, so that the best stays however low the temperature is.
          int best = Distribution.best(scores);
          float most = best < 0 ? 0 : scores[best];
          float inverse = (float) Math.min(1 / temperature, Float.MAX_VALUE);
          for (int i = 0; i < scores.length; i++) {
            scores[i] = (scores[i] - most) * inverse;
          }
        });
  }

  /**
   * Keeps the likeliest tokens whose terms of the entropy add up to this fraction of it; of the
   * hundred likeliest.
   *
   * @param fraction more than 0, at most 1
   * @return the processor
   */
  public static Processor topH(double fraction) {
    check(fraction > 0 && fraction <= 1, "top-h " + fraction + "; more than 0, at most 1");
    return new Placed(
        Stage.TOP_H,
        (scores, sequence) -> {
          int[] ranked = Distribution.ranking(scores);
          int listed = Math.min(100, ranked.length);
          float[] top = new float[listed];
          for (int i = 0; i < listed; i++) {
            top[i] = scores[ranked[i]];
          }
          double[] p = Distribution.probabilities(top);
          double least = fraction * Distribution.entropy(p);
          double sum = 0;
          for (int i = 0; i < ranked.length; i++) {
            sum += i < listed && p[i] > 0 ? -p[i] * Math.log(p[i]) : 0;
            if (i > 0 && (i >= listed || sum > least)) {
              drop(scores, ranked[i]);
            }
          }
        });
  }

  static Processor topK(int count) {
    return new Placed(
        Stage.TOP_K,
        (scores, sequence) -> {
          int[] ranked = Distribution.ranking(scores);
          float least = scores[ranked[Math.min(count, ranked.length) - 1]];
          dropWhere(scores, id -> scores[id] < least); // ties with the k-th stay
        });
  }

  static Processor topP(double mass) {
    return new Placed(
        Stage.TOP_P,
        (scores, sequence) -> {
          int[] ranked = Distribution.ranking(scores);
          double[] p = Distribution.probabilities(scores);
          double below = 0;
          for (int i = ranked.length - 1; i > 0; i--) {
            below += p[ranked[i]];
            if (below > 1 - mass) { // the token that crosses the mass stays
              return;
            }
            drop(scores, ranked[i]);
          }
        });
  }

  static Processor minP(double fraction) {
    return new Placed(
        Stage.MIN_P,
        (scores, sequence) -> {
          double[] p = Distribution.probabilities(scores);
          double least = fraction * Arrays.stream(p).max().orElse(0);
          dropWhere(scores, id -> p[id] < least);
        });
  }

  /**
   * Keeps the tokens whose surprise is nearest to the entropy, up to this mass (Meister et al.
   * 2022).
   *
   * @param mass more than 0, at most 1
   * @return the processor
   */
  public static Processor typical(double mass) {
    check(mass > 0 && mass <= 1, "typical " + mass + "; more than 0, at most 1");
    return new Placed(
        Stage.TYPICAL,
        (scores, sequence) -> {
          double[] p = Distribution.probabilities(scores);
          double entropy = Distribution.entropy(p);
          float[] nearness = new float[p.length];
          for (int i = 0; i < p.length; i++) {
            nearness[i] = (float) -Math.abs(-Math.log(p[i]) - entropy);
          }
          int[] ranked = Distribution.ranking(nearness);
          double sum = 0;
          int crossing = 0;
          while (crossing < ranked.length - 1 && (sum += p[ranked[crossing]]) < mass) {
            crossing++;
          }
          float least = nearness[ranked[crossing]];
          dropWhere(scores, id -> nearness[id] < least && id != ranked[0]);
        });
  }

  /**
   * Drops tokens below a probability (Hewitt et al. 2022).
   *
   * @param epsilon from 0 to 1, neither included
   * @return the processor
   */
  public static Processor epsilon(double epsilon) {
    check(epsilon > 0 && epsilon < 1, "epsilon " + epsilon + "; between 0 and 1");
    return new Placed(
        Stage.EPSILON,
        (scores, sequence) -> dropUnlikely(scores, epsilon, Distribution.probabilities(scores)));
  }

  /**
   * Drops tokens below the lesser of epsilon and sqrt(epsilon) e^-entropy (Hewitt et al. 2022).
   *
   * @param epsilon from 0 to 1, neither included
   * @return the processor
   */
  public static Processor eta(double epsilon) {
    check(epsilon > 0 && epsilon < 1, "eta " + epsilon + "; between 0 and 1");
    return new Placed(
        Stage.ETA,
        (scores, sequence) -> {
          double[] p = Distribution.probabilities(scores);
          double least = Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-Distribution.entropy(p)));
          dropUnlikely(scores, least, p);
        });
  }

  private static void dropUnlikely(float[] scores, double least, double[] p) {
    int best = Distribution.best(scores);
    float most = best < 0 ? Float.NEGATIVE_INFINITY : scores[best];
    dropWhere(scores, id -> p[id] < least && scores[id] < most);
  }

  private static void dropWhere(float[] scores, IntPredicate unwanted) {
    for (int id = 0; id < scores.length; id++) {
      if (unwanted.test(id)) {
        scores[id] = Float.NEGATIVE_INFINITY;
      }
    }
  }

  /**
   * Makes the scores log-probabilities again, behind all others.
   *
   * @return the processor
   */
  public static Processor renormalize() {
    return new Placed(Stage.RENORMALIZE, (scores, sequence) -> Distribution.logSoftmax(scores));
  }
}
