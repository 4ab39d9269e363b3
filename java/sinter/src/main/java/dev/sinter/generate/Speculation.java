package dev.sinter.generate;

import dev.sinter.model.FrozenModel;
import java.util.Objects;

/**
 * How tokens are proposed before the model has chosen them (Leviathan et al. 2023). One step of the
 * model then looks at a whole proposal; what it would have chosen itself counts, so that the tokens
 * are exactly those without speculation, only sooner. Each sequence stops to propose while that
 * does not pay, as measured.
 */
public final class Speculation {
  private enum Kind {
    NONE,
    LOOKUP,
    DRAFT
  }

  private static final Speculation NONE = new Speculation(Kind.NONE, null, 0, 0);

  private final Kind kind;
  private final FrozenModel model;
  private final int ngram;
  private final int tokens;

  private Speculation(Kind kind, FrozenModel model, int ngram, int tokens) {
    this.kind = kind;
    this.model = model;
    this.ngram = ngram;
    this.tokens = tokens;
  }

  /**
   * No speculation.
   *
   * @return a token a step
   */
  public static Speculation none() {
    return NONE;
  }

  /**
   * Proposes what came the last time that the same tokens had been there, in prompt or completion
   * (Saxena 2023): for texts that repeat their prompt, as edits and summaries do.
   *
   * @param maxNgram the most last tokens to look for; fewer, down to two, where there are none
   * @param maxTokens the most to propose; with seven a step has eight rows
   * @return the way to propose
   */
  public static Speculation promptLookup(int maxNgram, int maxTokens) {
    if (maxNgram < 1) {
      throw new IllegalArgumentException("n-grams of " + maxNgram + " tokens; 1 or more");
    }
    return new Speculation(Kind.LOOKUP, null, maxNgram, checked(maxTokens));
  }

  /**
   * Proposes what a smaller model chooses, which draws with the same random numbers: where both
   * have the same distribution, they choose the same. It has a cache of its own, with as many
   * pages.
   *
   * @param model of the same vocabulary, and of a context at least as long; it stays the caller's,
   *     and open as long as the engine
   * @param tokens the most to propose
   * @return the way to propose
   */
  public static Speculation draft(FrozenModel model, int tokens) {
    return new Speculation(Kind.DRAFT, Objects.requireNonNull(model, "model"), 0, checked(tokens));
  }

  /** By a draft model, whichever. */
  static Speculation draft(int tokens) {
    return new Speculation(Kind.DRAFT, null, 0, checked(tokens));
  }

  private static int checked(int tokens) {
    if (tokens < 1) {
      throw new IllegalArgumentException("proposals of " + tokens + " tokens; 1 or more");
    }
    return tokens;
  }

  /** The draft model; null: none. */
  FrozenModel model() {
    return model;
  }

  boolean drafts() {
    return kind == Kind.DRAFT;
  }

  /** The most tokens of a proposal; 0: none. */
  int tokens() {
    return tokens;
  }

  /**
   * Finds the last place where a sequence had its last tokens before, and what came then.
   *
   * @param ids of the sequence
   * @param length how many there are
   * @param most tokens wanted
   * @param into the proposal
   * @return how many were found
   */
  int lookUp(int[] ids, int length, int most, int[] into) {
    int shortest = Math.min(2, ngram);
    for (int size = Math.min(ngram, length - 1); size >= shortest; size--) {
      for (int end = length - 1; end >= size; end--) {
        if (same(ids, end - size, length - size, size)) {
          for (int i = 0; i < most; i++) { // past the end it goes on with itself
            into[i] = end + i < length ? ids[end + i] : into[end + i - length];
          }
          return most;
        }
      }
    }
    return 0;
  }

  private static boolean same(int[] ids, int a, int b, int count) {
    for (int i = count - 1; i >= 0; i--) {
      if (ids[a + i] != ids[b + i]) {
        return false;
      }
    }
    return true;
  }
}
