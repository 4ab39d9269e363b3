package dev.sinter.generate;

import java.util.Objects;
import java.util.Optional;

/** What an {@link Engine} is asked to complete. Immutable. */
public final class Request {
  /** No sliding: the completion ends where the context is full. */
  private static final int NOT_SLIDING = -1;

  private final String text;
  private final int[] ids;
  private final Sampling sampling;
  private final int kept;
  private final Speculation speculation;
  private final String adapter;

  private Request(
      String text,
      int[] ids,
      Sampling sampling,
      int kept,
      Speculation speculation,
      String adapter) {
    this.text = text;
    this.ids = ids;
    this.sampling = Objects.requireNonNull(sampling, "sampling");
    this.kept = kept;
    this.speculation = speculation;
    this.adapter = adapter;
  }

  /**
   * Asks for the completion of a text.
   *
   * @param prompt at least one token of text
   * @param sampling how tokens are chosen, and when it ends
   * @return the request
   */
  public static Request of(String prompt, Sampling sampling) {
    return new Request(
        Objects.requireNonNull(prompt, "prompt"), null, sampling, NOT_SLIDING, null, null);
  }

  /**
   * Asks for the completion of tokens.
   *
   * @param prompt at least one token
   * @param sampling how tokens are chosen, and when it ends
   * @return the request
   */
  public static Request of(int[] prompt, Sampling sampling) {
    return new Request(null, prompt.clone(), sampling, NOT_SLIDING, null, null);
  }

  /**
   * Lets prompt and completion be longer than the model's context: where that is full, the first
   * tokens stay, and of the others the last half; what the model then sees is computed anew.
   *
   * @param first tokens that always stay, less than the context
   * @return a new request
   */
  public Request sliding(int first) {
    if (first < 0) {
      throw new IllegalArgumentException("first " + first + " tokens; 0 or more");
    }
    return new Request(text, ids, sampling, first, speculation, adapter);
  }

  /**
   * Changes how tokens are proposed; which are chosen does not depend on it.
   *
   * @param value in the place of the engine's; a draft model can only be the engine's
   * @return a new request
   */
  public Request withSpeculation(Speculation value) {
    return new Request(
        text, ids, sampling, kept, Objects.requireNonNull(value, "speculation"), adapter);
  }

  /**
   * Has the model complete it with an adapter. Other requests, which decode together with it, have
   * their own, or none.
   *
   * @param name of an adapter that the engine has when the request is submitted
   * @return a new request
   */
  public Request withAdapter(String name) {
    return new Request(
        text, ids, sampling, kept, speculation, Objects.requireNonNull(name, "adapter"));
  }

  /** The text of the prompt, where it is one. */
  Optional<String> text() {
    return Optional.ofNullable(text);
  }

  /** The tokens of the prompt, where it is not a text. */
  int[] ids() {
    return ids.clone();
  }

  /**
   * Returns how tokens are chosen.
   *
   * @return as given
   */
  public Sampling sampling() {
    return sampling;
  }

  boolean slides() {
    return kept != NOT_SLIDING;
  }

  /** Tokens that stay where the context slides. */
  int kept() {
    return kept;
  }

  /** The request's own, where it has one. */
  Optional<Speculation> speculation() {
    return Optional.ofNullable(speculation);
  }

  /** The name of its adapter, where it has one. */
  Optional<String> adapter() {
    return Optional.ofNullable(adapter);
  }
}
