package dev.sinter.generate;

/**
 * A finished beam.
 *
 * @param ids of its generated tokens, an end token included
 * @param logprobs of each under the unprocessed logits
 * @param score sum of the processed log-probabilities, divided by the length penalty
 */
@SuppressWarnings("ArrayRecordComponent") // a value that is handed over, never compared
public record Hypothesis(int[] ids, float[] logprobs, double score) {}
