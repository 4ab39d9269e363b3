/**
 * Sinter, the GPT engine of the JVM. {@link dev.sinter.Gpt} is where to start: load or create a
 * model, train it, complete text with it, save it. {@link dev.sinter.Generator} only completes, for
 * many callers at once.
 */
package dev.sinter;
