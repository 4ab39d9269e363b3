package dev.sinter.generate;

/**
 * A generated token.
 *
 * @param id in the vocabulary
 * @param text that this token completed: whole characters, empty while a character or a stop text
 *     may still go on
 * @param logprob its log-probability under the unprocessed logits
 */
public record Token(int id, String text, float logprob) {}
