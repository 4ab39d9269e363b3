package dev.sinter.generate;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * How a completion is chosen and when it ends. Processors act in the order of Hugging Face's {@code
 * generate}: those that {@link #with} adds have their places between repetition penalty,
 * temperature, top-k, top-p and min-p. Equal settings, seed and device give equal text.
 *
 * @param temperature divides the logits; 0: greedy
 * @param topK keeps the k likeliest tokens; 0: all
 * @param topP keeps the likeliest tokens up to this mass; 1: all
 * @param minP keeps tokens at least this fraction as likely as the likeliest; 0: all
 * @param repetitionPenalty divides positive and multiplies negative scores of tokens seen before;
 *     1: none
 * @param seed of the draws
 * @param ending when it ends
 * @param processors what else changes the scores, in the order in which they act
 */
public record Sampling(
    float temperature,
    int topK,
    float topP,
    float minP,
    float repetitionPenalty,
    long seed,
    Ending ending,
    List<Processor> processors) {

  /** Checks the ranges and puts the processors in order. */
  public Sampling {
    check(
        temperature >= 0 && temperature <= 1000,
        "temperature " + temperature + "; 0 (greedy) to 1000");
    check(topK >= 0, "top-k " + topK + "; 0 (all) or more");
    check(topP > 0 && topP <= 1, "top-p " + topP + "; more than 0, at most 1 (all)");
    check(minP >= 0 && minP <= 1, "min-p " + minP + "; 0 (all) to 1");
    check(
        repetitionPenalty > 0 && repetitionPenalty <= 1000,
        "repetition penalty " + repetitionPenalty + "; more than 0, 1 for none");
    processors = Processors.ordered(processors);
  }

  private static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /**
   * Plain sampling from the model's distribution, 256 tokens at most.
   *
   * @return the settings
   */
  public static Sampling defaults() {
    return new Sampling(1, 0, 1, 0, 1, 0, new Ending(256, 0, Set.of(), List.of()), List.of());
  }

  /**
   * Always the likeliest token, 256 tokens at most.
   *
   * @return the settings
   */
  public static Sampling greedy() {
    return defaults().withTemperature(0);
  }

  /**
   * Changes the temperature.
   *
   * @param value divides the logits; 0: greedy
   * @return new settings
   */
  public Sampling withTemperature(double value) {
    return new Sampling(
        (float) value, topK, topP, minP, repetitionPenalty, seed, ending, processors);
  }

  /**
   * Changes top-k.
   *
   * @param value number of tokens kept; 0: all
   * @return new settings
   */
  public Sampling withTopK(int value) {
    return new Sampling(
        temperature, value, topP, minP, repetitionPenalty, seed, ending, processors);
  }

  /**
   * Changes top-p.
   *
   * @param value mass kept; 1: all
   * @return new settings
   */
  public Sampling withTopP(double value) {
    return new Sampling(
        temperature, topK, (float) value, minP, repetitionPenalty, seed, ending, processors);
  }

  /**
   * Changes min-p.
   *
   * @param value fraction of the likeliest token's probability; 0: all
   * @return new settings
   */
  public Sampling withMinP(double value) {
    return new Sampling(
        temperature, topK, topP, (float) value, repetitionPenalty, seed, ending, processors);
  }

  /**
   * Changes the repetition penalty.
   *
   * @param value 1: none
   * @return new settings
   */
  public Sampling withRepetitionPenalty(double value) {
    return new Sampling(temperature, topK, topP, minP, (float) value, seed, ending, processors);
  }

  /**
   * Changes the seed.
   *
   * @param value of the draws
   * @return new settings
   */
  public Sampling withSeed(long value) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, value, ending, processors);
  }

  /**
   * Changes when the completion ends.
   *
   * @param value length, end tokens and stop texts
   * @return new settings
   */
  public Sampling withEnding(Ending value) {
    return new Sampling(temperature, topK, topP, minP, repetitionPenalty, seed, value, processors);
  }

  /**
   * Changes how long the completion may be.
   *
   * @param value the most tokens
   * @return new settings
   */
  public Sampling withMaxNewTokens(int value) {
    check(value >= 1, "max new tokens " + value + "; 1 or more");
    return withEnding(new Ending(value, 0, ending.tokens(), ending.stop()));
  }

  /**
   * Changes how long prompt and completion together may be.
   *
   * @param value the most tokens; takes the place of {@link #withMaxNewTokens}
   * @return new settings
   */
  public Sampling withMaxLength(int value) {
    check(value >= 1, "max length " + value + "; 1 or more");
    return withEnding(new Ending(0, value, ending.tokens(), ending.stop()));
  }

  /**
   * Changes the tokens that end the completion.
   *
   * @param ids any of these; none: the tokenizer's end-of-text
   * @return new settings
   */
  public Sampling withEndTokens(Set<Integer> ids) {
    return withEnding(new Ending(ending.maxNewTokens(), ending.maxLength(), ids, ending.stop()));
  }

  /**
   * Changes the texts that end the completion.
   *
   * @param values not empty ones
   * @return new settings
   */
  public Sampling withStop(String... values) {
    return withEnding(
        new Ending(ending.maxNewTokens(), ending.maxLength(), ending.tokens(), List.of(values)));
  }

  /**
   * Adds processors. Of two for the same place in the order the later counts.
   *
   * @param more of {@link Processors}, or own ones
   * @return new settings
   */
  public Sampling with(Processor... more) {
    List<Processor> all = new ArrayList<>(processors);
    all.addAll(List.of(more));
    return new Sampling(temperature, topK, topP, minP, repetitionPenalty, seed, ending, all);
  }
}
