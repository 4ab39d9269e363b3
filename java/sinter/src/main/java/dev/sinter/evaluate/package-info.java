/**
 * How good a model is: losses and scores that run a model ({@link dev.sinter.evaluate.Perplexity},
 * {@link dev.sinter.evaluate.Scorer}, {@link dev.sinter.evaluate.ChoiceScorer}), and the field's
 * metrics over predictions and references, which need none.
 */
package dev.sinter.evaluate;
